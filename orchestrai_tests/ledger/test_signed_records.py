"""Signed decisions: the same bytes as ever, put once, each at the place that its name says, whatever the kind."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrai.core.canonical import canonical_json
from orchestrai.errors import ConfigError, IntegrityError, SignatureInvalid, UnknownFormatVersion
from orchestrai.ledger.costs.cost_record import COSTS
from orchestrai.ledger.decisions.overrides import Override
from orchestrai.ledger.decisions.recalls import RecallRecord
from orchestrai.ledger.decisions.signed_record import RecordKind, open_body
from orchestrai.ledger.decisions.skips import SKIPS, Skip
from orchestrai.ledger.decisions.standing import Decision
from orchestrai.ledger.signing import Signer
from orchestrai.observability.alerts.alert_log import ALERTS
from orchestrai.provenance.decision_log import KINDS, decision_keys, read_decision
from orchestrai.storage.memory import MemoryStore
from orchestrai.vault.lifecycle.hold_records import HOLD_RECORDS, Hold
from orchestrai.vault.verify.verification_record import VERIFICATIONS

GOLDEN = Path(__file__).parent / "golden"
ALL: dict[str, RecordKind[Any]] = {
    **KINDS,
    HOLD_RECORDS.folder: HOLD_RECORDS,
    VERIFICATIONS.folder: VERIFICATIONS,
    ALERTS.folder: ALERTS,
    COSTS.folder: COSTS,
}
FILES = sorted(str(path.relative_to(GOLDEN)) for path in GOLDEN.rglob("*.json"))


def kind_of(key: str) -> RecordKind[Any]:
    return next(kind for folder, kind in ALL.items() if key.startswith(folder))


def envelope_of(key: str) -> bytes:
    return (GOLDEN / key).read_bytes()


@pytest.fixture
def signer() -> Signer:
    return Signer(Ed25519PrivateKey.from_private_bytes(b"golden key of orchestrai's tests"))


@pytest.fixture
def store() -> MemoryStore:
    """A store with every golden record in its place."""
    held = MemoryStore()
    for key in FILES:
        held.write(key, envelope_of(key))
    return held


def test_every_kind_has_a_golden_record() -> None:
    assert {kind_of(key).folder for key in FILES} == set(ALL)


@pytest.mark.parametrize("key", FILES)
def test_a_golden_record_is_read_and_signed_again_to_the_same_bytes(key: str, signer: Signer, store: MemoryStore) -> None:
    kind = kind_of(key)
    record = kind.read(store, signer.keyring(), key)
    assert kind.sign(signer, record) == envelope_of(key)
    assert kind.key(kind.name(record)) == key
    assert kind.find(store, signer.keyring(), kind.name(record)) == record
    fresh = MemoryStore()
    assert kind.put([fresh], signer, record) == envelope_of(key) == fresh.read(key)


def test_golden_records_say_what_they_said(signer: Signer, store: MemoryStore) -> None:
    read = {key: kind_of(key).read(store, signer.keyring(), key) for key in FILES}
    assert read["skips/a1.json"] == Skip(
        "a1",
        "churn/orders/raw_events",
        "2026-01-02",
        "sha256:aa",
        "supplier is down",
        "ana",
        "2026-01-03T00:00:00+00:00",
        ("row_volume",),
    )
    assert read["skips/a2.json"].action == "lift"
    assert read["transactions/t1.json"] == Decision(
        "t1", "commit", {"a/x": "d1", "b/x": "d2"}, "rollback", "2026-01-06T00:00:00+00:00"
    )
    (recall,) = (record for record in read.values() if isinstance(record, RecallRecord))
    assert recall.receipts == {"r1": ("all",), "r2": ("2026-01-01", "2026-01-02")}
    (hold,) = (record for record in read.values() if isinstance(record, Hold))
    assert (hold.dataset, hold.seq, hold.on) == ("d", 2, True)


@pytest.mark.parametrize("key", FILES)
def test_a_record_that_lies_at_the_place_of_another_is_refused(key: str, signer: Signer, store: MemoryStore) -> None:
    moved = key.rsplit("/", 1)[0] + "/elsewhere.json"
    store.write(moved, envelope_of(key))
    with pytest.raises(IntegrityError, match="it was moved"):
        kind_of(key).read(store, signer.keyring(), moved)


@pytest.mark.parametrize("key", FILES)
def test_a_record_of_a_later_format_of_another_type_or_by_a_stranger_is_refused(key: str, signer: Signer) -> None:
    kind, store = kind_of(key), MemoryStore()
    body = json.loads(signer.keyring().open(kind.payload_type, envelope_of(key)))
    store.write(key, signer.sign(kind.payload_type, canonical_json({**body, "format": 2})))
    with pytest.raises(UnknownFormatVersion, match=rf"expected {kind.what} format 1, found 2: use a newer release"):
        kind.read(store, signer.keyring(), key)
    store.write(key, signer.sign("application/json", canonical_json(body)))
    with pytest.raises(SignatureInvalid):
        kind.read(store, signer.keyring(), key)
    store.write(key, Signer(Ed25519PrivateKey.generate()).sign(kind.payload_type, canonical_json(body)))
    with pytest.raises(SignatureInvalid):
        kind.read(store, signer.keyring(), key)


@pytest.mark.parametrize("key", FILES)
def test_the_first_of_a_name_counts_and_every_store_holds_it(key: str, signer: Signer) -> None:
    kind, first, second = kind_of(key), MemoryStore(), MemoryStore()
    second.write(key, envelope_of(key))
    record = kind.read(second, signer.keyring(), key)
    later = Signer(Ed25519PrivateKey.generate())
    assert kind.put([first, second], later, record) == envelope_of(key) == first.read(key) == second.read(key)


def test_stores_that_hold_two_records_of_one_name_are_told(signer: Signer) -> None:
    one, other = MemoryStore(), MemoryStore()
    skip = SKIPS.read(_with("skips/a1.json"), signer.keyring(), "skips/a1.json")
    SKIPS.put([one], signer, skip)
    SKIPS.put([other], Signer(Ed25519PrivateKey.generate()), skip)
    with pytest.raises(IntegrityError, match="found other bytes"):
        SKIPS.put([one, other], signer, skip)


def test_all_decisions_of_a_store_are_listed_and_read(signer: Signer, store: MemoryStore) -> None:
    keys = decision_keys(store)
    assert sorted(keys) == [
        key for key in FILES if not key.startswith((HOLD_RECORDS.folder, VERIFICATIONS.folder, ALERTS.folder, COSTS.folder))
    ]
    for key in keys:
        body = read_decision(store, signer.keyring(), key)
        assert {**body, "format": 1} == json.loads(signer.keyring().open(kind_of(key).payload_type, envelope_of(key)))


def test_a_document_may_have_had_later_formats() -> None:
    signer = Signer(Ed25519PrivateKey.generate())
    envelope = signer.sign("application/x", canonical_json({"format": 2, "a": 1}))
    assert open_body(signer.keyring(), "application/x", envelope, "vault", newest=2) == {"a": 1}
    with pytest.raises(UnknownFormatVersion, match="expected vault format 1, found 2"):
        open_body(signer.keyring(), "application/x", envelope, "vault")


@pytest.mark.parametrize(("reason", "by"), [("", "ana"), ("late", " "), (" ", "")])
def test_a_decision_says_why_and_who(reason: str, by: str) -> None:
    with pytest.raises(ConfigError, match="expected a reason and a name for a skip"):
        Skip("a", "x", "p", "r", reason, by, "t")
    with pytest.raises(ConfigError, match="expected a reason and a name for an override"):
        Override("x", "p", "r", ("schema",), reason, by)


def _with(key: str) -> MemoryStore:
    store = MemoryStore()
    store.write(key, envelope_of(key))
    return store
