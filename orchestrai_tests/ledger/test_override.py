"""An override opens one gate for one content, says so in signed records, and never opens what guards the bytes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrai.contracts.checks import check_names
from orchestrai.contracts.contract import Column, Contract
from orchestrai.core.verdict import Verdict
from orchestrai.errors import ConfigError, DigestMismatch, NotReceipted, SignatureInvalid
from orchestrai.ingest.anomaly.hold_audit import hold_check
from orchestrai.ingest.keys.key_audit import key_check
from orchestrai.ledger.decisions.overrides import WAIVABLE, Override
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import blob_key
from orchestrai.ledger.quarantine import last_refusal
from orchestrai.ledger.receipt import Receipt, open_receipt
from orchestrai.ledger.report import StageReport, shown_verdicts
from orchestrai.storage.local import LocalStore
from orchestrai_tests.copies import copies
from orchestrai_tests.producers import producer

ASSET = "churn/orders/raw_events"
DAY, NEXT = "2026-01-01", "2026-01-02"
BAD = (Verdict("schema", True), Verdict("row_volume", False, "expected 300 rows or so, found 3"))
WORSE = (*BAD, Verdict("freshness", False, "expected an event after 16:00, found none"))


def publish(
    ledger: Ledger, data: bytes, *overrides: Override, verdicts: tuple[Verdict, ...] = BAD, day: str = DAY
) -> StageReport:
    session = ledger.session(ASSET, producer("raw_events"))
    session.add_bytes(day, "part-00000.parquet", data, rows=len(data))
    return session.commit({day: verdicts}, overrides=overrides)


def waiver(ledger: Ledger, *checks: str, day: str = DAY) -> Override:
    return Override(ASSET, day, last_refusal(ledger.lake, ASSET, day).root, checks, "a public holiday", "ann")


def test_an_override_publishes_what_was_refused_and_says_so_in_signed_records(ledger: Ledger, tmp_path: Path) -> None:
    assert publish(ledger, b"few").refused
    given = waiver(ledger, "row_volume")
    report = publish(ledger, b"few", given)
    assert report.version and not report.refused
    (outcome,) = report.outcomes
    assert (outcome.verdicts, outcome.override) == (BAD, given)
    assert [(v.check, v.passed, v.severity) for v in shown_verdicts(outcome)] == [
        ("schema", True, "error"),
        ("row_volume", False, "warn"),
    ]
    assert shown_verdicts(outcome)[1].message == "waived by ann (a public holiday): expected 300 rows or so, found 3"
    head = ledger.head(ASSET)
    assert head is not None and (head.action, head.reason) == ("override", "a public holiday (ann)")
    dataset = Ledger(ledger.lake, ledger.signer, vault=ledger.vault).open(ASSET)
    receipt = dataset.receipt(DAY)
    assert receipt.verdicts[DAY] == BAD
    assert (receipt.override(DAY), receipt.closed_checks(DAY)) == (given, [])
    assert [file.path.read_bytes() for file in copies(dataset, DAY, tmp_path)] == [b"few"]


def test_every_closed_check_must_be_named(ledger: Ledger) -> None:
    publish(ledger, b"few", verdicts=WORSE)
    assert publish(ledger, b"few", waiver(ledger, "row_volume"), verdicts=WORSE).refused
    assert publish(ledger, b"few", waiver(ledger, "freshness"), verdicts=WORSE).refused
    assert ledger.find(ASSET) is None
    assert not publish(ledger, b"few", waiver(ledger, "row_volume", "freshness"), verdicts=WORSE).refused


def test_other_content_another_partition_and_another_asset_stay_refused(ledger: Ledger) -> None:
    publish(ledger, b"few")
    publish(ledger, b"few", day=NEXT)
    given = waiver(ledger, "row_volume")
    assert publish(ledger, b"fewer", given).refused
    assert publish(ledger, b"few", replace(given, asset="churn/orders/restored")).refused
    assert publish(ledger, b"few", given, day=NEXT).refused
    assert ledger.find(ASSET) is None


@pytest.mark.parametrize("check", ["digest", "signature", "version", "upstream", "batch", "refused", "drill", ""])
def test_integrity_can_not_be_waived(ledger: Ledger, check: str) -> None:
    with pytest.raises(ConfigError, match="integrity is never waived"):
        Override(ASSET, DAY, "sha256:00", ("row_volume", check), "why", "ann")


def test_a_verdict_that_nobody_may_waive_keeps_the_gate_closed(ledger: Ledger) -> None:
    verdicts = (*BAD, Verdict("version", False, "expected the root of the snapshot, found another"))
    publish(ledger, b"few", verdicts=verdicts)
    assert publish(ledger, b"few", waiver(ledger, *WAIVABLE), verdicts=verdicts).refused


def test_damaged_bytes_under_an_override_are_refused_like_any(ledger: Ledger, tmp_path: Path) -> None:
    publish(ledger, b"few")
    publish(ledger, b"few", waiver(ledger, "row_volume"))
    (entry,) = ledger.open(ASSET).files(DAY).files
    ledger.lake.write(entry.key, b"fex")
    with pytest.raises(DigestMismatch):
        copies(ledger.open(ASSET), DAY, tmp_path)


@pytest.mark.parametrize(
    ("checks", "reason", "by"), [((), "why", "ann"), (("schema",), " ", "ann"), (("schema",), "why", "")]
)
def test_an_override_needs_a_check_a_reason_and_a_name(checks: tuple[str, ...], reason: str, by: str) -> None:
    with pytest.raises(ConfigError):
        Override(ASSET, DAY, "sha256:00", checks, reason, by)


def test_what_was_never_refused_has_nothing_to_override(ledger: Ledger) -> None:
    with pytest.raises(ConfigError, match="not closed"):
        last_refusal(ledger.lake, ASSET, DAY)


def test_the_same_content_again_changes_nothing_and_other_content_is_judged_anew(ledger: Ledger) -> None:
    publish(ledger, b"few")
    given = waiver(ledger, "row_volume")
    version = publish(ledger, b"few", given).version
    assert publish(ledger, b"few").version == publish(ledger, b"few", given).version == version
    assert ledger.head(ASSET).seq == 1  # type: ignore[union-attr]
    assert publish(ledger, b"fewer").refused
    assert publish(ledger, b"few", verdicts=WORSE).refused
    assert ledger.open(ASSET).version == version


def test_an_override_stays_with_its_partition_when_others_are_published(ledger: Ledger) -> None:
    publish(ledger, b"few")
    given = waiver(ledger, "row_volume")
    publish(ledger, b"few", given)
    session = ledger.session(ASSET, producer("raw_events"))
    session.add_bytes(DAY, "part-00000.parquet", b"few", rows=3)
    session.add_bytes(NEXT, "part-00000.parquet", b"many", rows=4)
    session.commit({DAY: BAD, NEXT: (Verdict("schema", True),)})
    dataset = ledger.open(ASSET)
    assert dataset.head.action == "publish"
    assert dataset.receipt(DAY).override(DAY) == given
    assert dataset.receipt(NEXT).override(NEXT) is None


def receipt_of(ledger: Ledger) -> Receipt:
    publish(ledger, b"few")
    publish(ledger, b"few", waiver(ledger, "row_volume"))
    return ledger.open(ASSET).receipt(DAY)


def test_a_signed_receipt_with_an_override_of_other_content_is_closed(ledger: Ledger) -> None:
    receipt = receipt_of(ledger)
    moved = replace(receipt.overrides[DAY], root="sha256:" + "0" * 64)
    forged = replace(receipt, overrides={DAY: moved})
    assert open_receipt(forged.sign(ledger.signer), ledger.keyring).closed_checks(DAY) == ["row_volume"]


def test_a_signed_receipt_waives_only_the_checks_it_names(ledger: Ledger) -> None:
    receipt = receipt_of(ledger)
    other = replace(receipt, overrides={DAY: replace(receipt.overrides[DAY], checks=("freshness",))})
    assert open_receipt(other.sign(ledger.signer), ledger.keyring).closed_checks(DAY) == ["row_volume"]


def test_a_signed_receipt_that_waives_integrity_is_refused(ledger: Ledger) -> None:
    receipt = receipt_of(ledger)
    statement = receipt.statement()
    statement["predicate"]["overrides"][DAY]["checks"].append("digest")
    envelope = ledger.signer.sign("application/vnd.in-toto+json", json.dumps(statement).encode())
    with pytest.raises(NotReceipted, match="integrity"):
        open_receipt(envelope, ledger.keyring)


def test_an_override_slipped_into_a_receipt_breaks_its_signature(ledger: Ledger) -> None:
    receipt_of(ledger)
    digest = ledger.open(ASSET).head.receipt
    envelope = json.loads(ledger.blob("receipts", digest))
    envelope["payload"] = envelope["payload"][:-8] + "AAAAAAA="
    with pytest.raises(SignatureInvalid):
        open_receipt(json.dumps(envelope).encode(), ledger.keyring)


def test_receipts_without_an_override_are_written_and_read_as_before(ledger: Ledger) -> None:
    publish(ledger, b"many", verdicts=(Verdict("schema", True),))
    receipt = ledger.open(ASSET).receipt(DAY)
    assert "overrides" not in receipt.statement()["predicate"]
    assert receipt.overrides == {}


def test_only_what_contracts_judge_can_be_waived() -> None:
    contract = Contract("orders", "1.0.0", (Column("id", "BIGINT", "id", key=1),), event_time="at")
    assert {
        info.name for info in (*check_names(contract), *key_check(contract, "day"), *hold_check(contract, "day"))
    } == set(WAIVABLE)


def test_the_witness_in_the_vault_tells_of_the_override_too(ledger: Ledger) -> None:
    receipt_of(ledger)
    digest = ledger.open(ASSET).head.receipt
    assert isinstance(ledger.vault, LocalStore)
    assert open_receipt(ledger.vault.read(blob_key("receipts", digest)), ledger.keyring).override(DAY) is not None
