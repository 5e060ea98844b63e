"""The verdicts of a receipt are read when they are asked for, and say what reading all of them at once says."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrai.core.canonical import canonical_json
from orchestrai.core.verdict import Audit, Verdict
from orchestrai.errors import NotReceipted
from orchestrai.ledger.receipt import Receipt, open_receipt
from orchestrai.ledger.signing import STATEMENT_TYPE, Signer

SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
KEYS = st.integers(min_value=1, max_value=28).map(lambda day: f"2026-02-{day:02d}")
SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5)
VERDICTS = st.builds(
    Verdict,
    check=st.sampled_from(["schema", "row_volume", "values", "freshness"]),
    passed=st.booleans(),
    message=st.text(max_size=8),
    severity=st.sampled_from(["error", "warn"]),
    details=st.dictionaries(st.text(max_size=4), SCALARS | st.lists(SCALARS, max_size=2), max_size=2),
)
JUDGED = st.dictionaries(
    KEYS, st.lists(VERDICTS, max_size=3, unique_by=lambda verdict: verdict.check).map(tuple), max_size=6
)


def receipt_of(verdicts: dict[str, tuple[Verdict, ...]]) -> Receipt:
    roots = {key: "sha256:" + "ab" * 32 for key in sorted(verdicts)}
    version = "sha256:" + "cd" * 32
    return Receipt("a/b/raw_events", "raw_events", version, roots, "s", "t0", "t1", code_version="c", verdicts=verdicts)


@given(JUDGED)
@settings(max_examples=60, deadline=None)
def test_read_one_by_one_they_say_what_was_signed(verdicts: dict[str, tuple[Verdict, ...]]) -> None:
    eager = receipt_of(verdicts)
    lazy = open_receipt(eager.sign(SIGNER), SIGNER.keyring())
    assert len(lazy.verdicts) == len(verdicts)
    assert sorted(lazy.verdicts) == sorted(verdicts)
    # in any order, a second time, and of partitions that are not there
    for key in [*reversed(sorted(verdicts)), *verdicts, "2026-03-01"]:
        assert (key in lazy.verdicts) == (key in verdicts)
        assert lazy.verdicts.get(key, ()) == verdicts.get(key, ())
        assert lazy.closed_checks(key) == eager.closed_checks(key)
    assert lazy.verdicts == verdicts and verdicts == lazy.verdicts
    assert lazy == eager
    assert Audit.of(lazy.verdicts).closed == Audit.of(verdicts).closed
    assert canonical_json(lazy.statement()) == canonical_json(eager.statement())


def test_what_is_no_verdict_is_refused_where_it_stands_and_nowhere_else() -> None:
    statement = receipt_of({"2026-02-01": (Verdict("schema", True),), "2026-02-02": (Verdict("schema", True),)}).statement()
    statement["predicate"]["verdicts"]["2026-02-02"] = [{"check": "schema", "passed": True, "by": "nobody"}]
    receipt = open_receipt(SIGNER.sign(STATEMENT_TYPE, json.dumps(statement).encode()), SIGNER.keyring())
    # a step over one day of a long backfill does not read the verdicts of all the others
    assert receipt.closed_checks("2026-02-01") == []
    with pytest.raises(NotReceipted, match="verdicts on 2026-02-02"):
        receipt.closed_checks("2026-02-02")
