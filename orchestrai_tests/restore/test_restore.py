"""Restore reads the vault alone, proves what it read, and publishes nothing that is not equal."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from orchestrai.core.verdict import Verdict
from orchestrai.errors import DigestMismatch, IntegrityError, MissingObject, RestoreError
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import StageReport
from orchestrai.ledger.signing import Signer
from orchestrai.restore.drill import drill
from orchestrai.restore.plan import RestorePlan, plan_restore
from orchestrai.storage.cloud.control import control_plane
from orchestrai.storage.memory import MemoryStore
from orchestrai.vault.commit.source import SourceFile
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.lifecycle.legal_hold import place_hold
from orchestrai.vault.spec import BackupSpec
from orchestrai.vault.vault import Vault
from orchestrai_tests.producers import producer
from orchestrai_tests.running import restore, snapshot

RAW, KEPT, RESTORED = "churn/orders/raw_events", "churn/orders/snapshot", "churn/orders/restored"
DAYS = ["2026-01-01", "2026-01-02"]


def publish(ledger: Ledger, content: dict[str, dict[str, bytes]], role: str = "data") -> StageReport:
    session = ledger.session(RAW, producer("raw_events"))
    for partition, files in content.items():
        for path, data in files.items():
            session.add_bytes(
                partition, path, data, rows=len(data) % 7, role="landed" if path.startswith("landed") else "data"
            )
    return session.commit({partition: [Verdict("schema", True)] for partition in content})


CONTENT = {
    "2026-01-01": {"part-0.parquet": b"one" * 100, "landed/a.csv": b"a,b\n1,2\n", "big.parquet": bytes(range(256)) * 1200},
    "2026-01-02": {"part-0.parquet": b"two" * 100, "same.parquet": b"one" * 100},
}


@pytest.fixture
def signer(ledger: Ledger) -> Signer:
    return ledger.signer


@pytest.fixture
def vault(ledger: Ledger) -> Vault:
    assert ledger.vault is not None
    return Vault(ledger.vault, ledger.signer, ledger.keyring, clock=ledger.clock, new_id=ledger.new_id)


@pytest.fixture
def kept(ledger: Ledger, vault: Vault) -> StageReport:
    publish(ledger, CONTENT)
    return snapshot(ledger, vault, source=RAW, asset=KEPT, partitions=DAYS)


def test_raw_snapshot_and_restored_have_one_version(ledger: Ledger, vault: Vault, kept: StageReport) -> None:
    report = restore(ledger, vault, snapshot=KEPT, asset=RESTORED, partitions=DAYS)
    assert ledger.open(RAW).version == kept.version == report.version == ledger.open(RESTORED).version
    assert report.facts["bytes"] == sum(len(data) for files in CONTENT.values() for data in files.values())
    with ledger.open(RESTORED).fetched(DAYS, role=None) as files:
        found = {day: {f.entry.path: f.path.read_bytes() for f in files[day]} for day in DAYS}
    assert found == CONTENT


def test_restored_bytes_that_rot_are_mended_by_a_restore(ledger: Ledger, vault: Vault, kept: StageReport) -> None:
    first = restore(ledger, vault, snapshot=KEPT, asset=RESTORED, partitions=DAYS)
    path = ledger.lake.local_path(ledger.open(RESTORED).files(DAYS[0]).files[0].key)
    assert path is not None
    rotten = bytearray(path.read_bytes())
    rotten[0] ^= 1
    path.unlink()
    path.write_bytes(rotten)
    again = restore(ledger, vault, snapshot=KEPT, asset=RESTORED, partitions=DAYS)
    assert again.version == first.version
    with ledger.open(RESTORED).fetched(DAYS, role=None) as files:
        assert {day: {f.entry.path: f.path.read_bytes() for f in files[day]} for day in DAYS} == CONTENT


def test_restore_never_reads_the_raw_bytes(ledger: Ledger, vault: Vault, kept: StageReport) -> None:
    for day in DAYS:
        for entry in ledger.open(RAW).files(day).files:
            ledger.lake.delete(entry.key)
    report = restore(ledger, vault, snapshot=KEPT, asset=RESTORED, partitions=DAYS)
    assert report.version == kept.version


def test_an_unchanged_object_is_not_read_again(ledger: Ledger, vault: Vault, kept: StageReport) -> None:
    for entry in ledger.open(RAW).files(DAYS[0]).files:
        ledger.lake.delete(entry.key)
    report = snapshot(ledger, vault, source=RAW, asset=KEPT, partitions=DAYS)
    assert report.facts["new_bytes"] == 0
    assert report.version == kept.version


def test_same_content_in_another_partition_is_stored_once(ledger: Ledger, vault: Vault, kept: StageReport) -> None:
    one, two = (vault.files(vault.latest(RAW), day) for day in DAYS)
    assert {f.sha256: f.key for f in one if f.path == "part-0.parquet"} == {
        f.sha256: f.key for f in two if f.path == "same.parquet"
    }


@pytest.mark.parametrize("victim", ["packs", "objects"])
def test_restore_refuses_altered_bytes(ledger: Ledger, vault: Vault, kept: StageReport, victim: str) -> None:
    for info in list(vault.store.list(f"vault/{victim}/")):
        data = bytearray(vault.store.read(info.key))
        data[5] ^= 1
        vault.store.write(info.key, bytes(data))
    with pytest.raises(DigestMismatch):
        restore(ledger, vault, snapshot=KEPT, asset=RESTORED, partitions=DAYS)
    assert ledger.find(RESTORED) is None


@pytest.mark.parametrize("victim", ["packs", "objects", "listings", "trees"])
def test_restore_refuses_a_missing_object(ledger: Ledger, vault: Vault, kept: StageReport, victim: str) -> None:
    for info in list(vault.store.list(f"vault/{victim}/")):
        vault.store.delete(info.key)
    fresh = Vault(vault.store, vault.signer, vault.keyring)
    with pytest.raises(MissingObject):
        restore(ledger, fresh, snapshot=KEPT, asset=RESTORED, partitions=DAYS)
    assert ledger.find(RESTORED) is None


def test_restore_refuses_a_snapshot_that_is_gone(ledger: Ledger, vault: Vault, kept: StageReport) -> None:
    vault.forget(str(kept.facts["snapshot_id"]))
    with pytest.raises(RestoreError):
        restore(ledger, vault, snapshot=KEPT, asset=RESTORED, partitions=DAYS)


def test_restore_finds_an_equal_snapshot_when_the_receipted_one_was_forgotten(
    ledger: Ledger, vault: Vault, kept: StageReport
) -> None:
    publish(ledger, {"2026-01-03": {"c.parquet": b"three"}})
    snapshot(ledger, vault, source=RAW, asset=KEPT, partitions=["2026-01-03"])
    vault.forget(str(kept.facts["snapshot_id"]))
    report = restore(ledger, vault, snapshot=KEPT, asset=RESTORED, partitions=DAYS)
    assert [outcome.root for outcome in report.outcomes] == [outcome.root for outcome in kept.outcomes]


def test_what_the_audit_refuses_is_not_published(ledger: Ledger, vault: Vault, kept: StageReport) -> None:
    seen: dict[str, list[str]] = {}

    def audit(partition: str, files: list[Path], sound: list[Path]) -> list[Verdict]:
        seen[partition] = [sha256(path.read_bytes()).hexdigest() for path in files]
        return [Verdict("schema", partition == DAYS[0], "no")]

    report = restore(ledger, vault, snapshot=KEPT, asset=RESTORED, partitions=DAYS, audit=audit)
    assert [outcome.published for outcome in report.outcomes] == [True, False]
    staged = ledger.open(RESTORED).files(DAYS[0]).files
    assert seen[DAYS[0]] == [entry.sha256 for entry in staged if entry.role == "data"] and len(seen[DAYS[0]]) == 2
    assert list(ledger.open(RESTORED).partitions) == [DAYS[0]]


def test_restore_refuses_a_root_that_is_not_the_raw_one(ledger: Ledger, vault: Vault, kept: StageReport) -> None:
    session = ledger.session(KEPT, producer("snapshot"))
    for entry in ledger.open(KEPT).files(DAYS[1]).files:
        session.add_entry(DAYS[0], entry)
    session.commit({}, inputs=[ledger.receipt(ledger.open(KEPT).partitions[DAYS[0]].receipt).inputs[0]])
    with pytest.raises(IntegrityError):
        restore(ledger, vault, snapshot=KEPT, asset=RESTORED, partitions=[DAYS[0]])


@pytest.fixture
def lying(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A vault that names another file than was stored in the first day, as a bug or a thief with the keys would."""
    honest = Vault.files

    def files(vault: Vault, commit: SnapshotCommit, partition: str) -> list[StoredFile]:
        first, *others = honest(vault, commit, partition)
        return [first._replace(sha256="0" * 64) if partition == DAYS[0] else first, *others]

    with monkeypatch.context() as patch:
        patch.setattr(Vault, "files", files)
        yield patch


def test_a_vault_that_keeps_other_bytes_publishes_no_snapshot_and_its_commit_is_forgotten(
    ledger: Ledger, vault: Vault, lying: pytest.MonkeyPatch
) -> None:
    publish(ledger, CONTENT)
    report = snapshot(ledger, vault, source=RAW, asset=KEPT, partitions=DAYS)
    assert [outcome.published for outcome in report.outcomes] == [False, False]
    assert {v.check for outcome in report.outcomes for v in outcome.verdicts if v.closes_gate} == {"same_version"}
    assert (report.version, ledger.find(KEPT)) == (None, None)
    assert report.facts["forgotten"] is True and "snapshot_id" not in report.facts
    assert vault.snapshots(RAW) == []
    lying.undo()
    kept = snapshot(ledger, vault, source=RAW, asset=KEPT, partitions=DAYS)
    assert kept.version == ledger.open(RAW).version == vault.latest(RAW).version
    assert restore(ledger, vault, snapshot=KEPT, asset=RESTORED, partitions=DAYS).version == kept.version


def test_a_snapshot_that_a_receipt_names_is_not_forgotten(
    ledger: Ledger, vault: Vault, kept: StageReport, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("lying")
    report = snapshot(ledger, vault, source=RAW, asset=KEPT, partitions=DAYS, drop=[])
    assert len(report.refused) == 2 and report.facts["forgotten"] is False
    assert [commit.snapshot_id for commit in vault.snapshots(RAW)] == [kept.facts["snapshot_id"]]
    assert ledger.open(KEPT).version == kept.version


def test_nothing_is_dropped_from_a_snapshot_that_is_refused(
    ledger: Ledger, vault: Vault, kept: StageReport, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("lying")
    report = snapshot(ledger, vault, source=RAW, asset=KEPT, partitions=DAYS[:1], drop=DAYS[1:])
    assert report.refused and report.facts["forgotten"] is True
    assert list(ledger.open(KEPT).partitions) == DAYS
    assert vault.latest(RAW).snapshot_id == kept.facts["snapshot_id"]


def test_a_commit_under_a_legal_hold_stays_and_is_named_by_no_receipt(
    ledger: Ledger, vault: Vault, kept: StageReport, request: pytest.FixtureRequest
) -> None:
    place_hold(vault, RAW, None, control_plane(vault.store), reason="a court asks")
    request.getfixturevalue("lying")
    publish(ledger, {DAYS[0]: {"part-0.parquet": b"changed"}})
    report = snapshot(ledger, vault, source=RAW, asset=KEPT, partitions=DAYS[:1])
    assert report.facts["forgotten"] is False and "hold" in str(report.facts["kept_because"])
    assert ledger.open(KEPT).version == kept.version


def test_a_restore_of_other_files_is_refused_whole_before_anything_is_published(
    ledger: Ledger, vault: Vault, kept: StageReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plan(*args: Any, **more: Any) -> RestorePlan:
        made = plan_restore(*args, **more)
        first, second = made.partitions
        return replace(made, partitions=(replace(first, files=second.files), second))

    monkeypatch.setattr("orchestrai.restore.run.plan_restore", plan)
    judged: list[str] = []

    def audit(partition: str, files: list[Path], sound: list[Path]) -> list[Verdict]:
        judged.append(partition)
        return [Verdict("schema", True)]

    report = restore(ledger, vault, snapshot=KEPT, asset=RESTORED, partitions=DAYS, audit=audit)
    assert [outcome.published for outcome in report.outcomes] == [False, False]
    assert ledger.find(RESTORED) is None and judged == []
    unequal, equal = (outcome.verdicts[0] for outcome in report.outcomes)
    assert unequal.details["snapshot_root"] == unequal.details["raw_events_root"] != unequal.details["restored_root"]
    assert equal.closes_gate and DAYS[0] in equal.message


def test_snapshot_and_restored_receipts_carry_what_was_compared(ledger: Ledger, vault: Vault, kept: StageReport) -> None:
    restore(ledger, vault, snapshot=KEPT, asset=RESTORED, partitions=DAYS)
    for asset, stages in ((KEPT, ("raw_events", "snapshot")), (RESTORED, ("raw_events", "snapshot", "restored"))):
        for day in DAYS:
            (verdict,) = ledger.open(asset).receipt(day).verdicts[day]
            assert (verdict.check, verdict.passed) == ("same_version", True)
            root = ledger.open(RAW).partitions[day].root
            assert verdict.details == {f"{stage}_root": root for stage in stages}


def test_the_plan_tells_bytes_and_time_before_anything_is_read(ledger: Ledger, vault: Vault, kept: StageReport) -> None:
    plan = plan_restore(ledger, vault, snapshot=KEPT, asset=RESTORED, partitions=DAYS)
    assert plan.bytes == sum(len(data) for files in CONTENT.values() for data in files.values())
    assert plan.predicted_seconds > 0


def test_a_drill_proves_and_leaves_nothing(
    ledger: Ledger, vault: Vault, kept: StageReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(ledger, {"2026-01-01": {"part-0.parquet": b"changed"}})
    snapshot(ledger, vault, source=RAW, asset=KEPT, partitions=DAYS)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    report = drill(vault, dataset=RAW, spec=BackupSpec(), seed=1, current_version=ledger.open(RAW).version)
    assert report.passed and report.rpo_seconds == 0
    assert {run.chosen for run in report.runs} <= {"latest", "random"}
    assert list(scratch.iterdir()) == []


def test_a_drill_tells_damage(ledger: Ledger, vault: Vault, kept: StageReport) -> None:
    for info in list(vault.store.list("vault/packs/")):
        vault.store.write(info.key, b"x" * info.size)
    report = drill(vault, dataset=RAW)
    assert not report.passed
    assert [verdict.check for verdict in report.verdicts if not verdict.passed] == ["proof"]


def test_a_drill_tells_a_missed_target(signer: Signer) -> None:
    now = [datetime(2026, 11, 1, tzinfo=UTC)]
    vault = Vault(MemoryStore(lambda: now[0]), signer, clock=lambda: now[0])
    vault.commit("d", {"p": [SourceFile("a", 1, b"a")]})
    now[0] += timedelta(hours=30)
    late = drill(vault, dataset="d", spec=BackupSpec(rpo="26h"), current_version="sha256:other")
    assert late.rpo_seconds == 30 * 3600 and not late.passed
    assert [verdict.check for verdict in late.verdicts if not verdict.passed] == ["rpo"]
    same = drill(vault, dataset="d", spec=BackupSpec(rpo="26h"), current_version=vault.latest("d").version)
    assert same.rpo_seconds == 0 and same.passed
