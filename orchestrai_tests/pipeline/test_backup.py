"""After a snapshot: sealed, locked, copied, anchored as declared; drilled; and equal to what it was taken of."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrai.errors import ConfigError, IntegrityError, StorageError
from orchestrai.ledger.ledger import Ledger
from orchestrai.pipeline.load import load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.restore.drill_run import publish_drill
from orchestrai.storage.cloud.control import control_plane
from orchestrai.storage.local import LocalStore
from orchestrai.storage.url import open_store
from orchestrai.vault.commit.source import SourceFile
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.keys.key_file import KEY_FILE
from orchestrai.vault.lifecycle.anchor import Anchor
from orchestrai.vault.protection import (
    Protection,
    is_sealed,
    open_vault,
    protect,
)
from orchestrai.vault.replica.replicate import opened_replica
from orchestrai.vault.spec import BackupSpec
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.cli.conftest import DATASET, KEPT, RAW, RESTORED, MakeRuntime, run
from orchestrai_tests.servers.s3 import S3Server
from orchestrai_tests.storage.conftest import s3_options


def same_version(runtime: Runtime, days: list[str], stage: str) -> list[dict[str, object]]:
    report = run(runtime, days, stage)[stage]  # type: ignore[arg-type]
    return [dict(v.details) | {"passed": v.passed} for o in report.outcomes for v in o.verdicts if v.check == "same_version"]


# -- equality ----------------------------------------------------------------------------------------------------


def test_each_partition_tells_the_roots_it_was_compared_by(make: MakeRuntime, days: list[str]) -> None:
    runtime = make()
    run(runtime, days[:2], "raw_events")
    root = {day: entry.root for day, entry in runtime.ledger.open(RAW).partitions.items()}
    kept, back = same_version(runtime, days[:2], "snapshot"), same_version(runtime, days[:2], "restored")
    assert kept == [{"raw_events_root": root[d], "snapshot_root": root[d], "passed": True} for d in days[:2]]
    assert back == [{**found, "restored_root": root[d]} for found, d in zip(kept, days, strict=False)]


def test_raw_events_published_meanwhile_do_not_unprove_what_was_restored(
    make: MakeRuntime, days: list[str], landing: Path
) -> None:
    runtime = make()
    run(runtime, days[:1], "raw_events", "snapshot")
    day = landing / f"{days[0]}.csv"
    day.write_text("\n".join(day.read_text().splitlines()[:-1]) + "\n")
    run(runtime, days[:1], "raw_events")
    assert runtime.ledger.open(RAW).version != runtime.ledger.open(KEPT).version
    report = run(runtime, days[:1], "restored")["restored"]
    assert not report.refused
    run(runtime, days[:1], "snapshot")
    assert runtime.ledger.open(RAW).version == runtime.ledger.open(KEPT).version != report.version
    assert runtime.ledger.open(RESTORED).receipt(days[0]).closed_checks(days[0]) == []


@pytest.fixture
def lying(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A vault that names other files than were stored."""
    honest = Vault.files

    def files(vault: Vault, commit: SnapshotCommit, partition: str) -> list[StoredFile]:
        return [file._replace(sha256="0" * 64) for file in honest(vault, commit, partition)]

    monkeypatch.setattr(Vault, "files", files)
    return monkeypatch


def test_a_snapshot_of_other_data_is_neither_published_nor_locked_nor_copied(
    make: MakeRuntime, days: list[str], tmp_path: Path, lying: pytest.MonkeyPatch
) -> None:
    replica = tmp_path / "replica"
    runtime = make(replica_url=f"file://{replica}")
    run(runtime, days[:2], "raw_events")
    report = run(runtime, days[:2], "snapshot")["snapshot"]
    assert [outcome.partition for outcome in report.refused] == days[:2]
    assert {v.check for outcome in report.refused for v in outcome.verdicts if v.closes_gate} == {"same_version"}
    assert runtime.ledger.find(KEPT) is None and runtime.vault.snapshots() == []
    assert not replica.exists() and "locked" not in report.facts
    lying.undo()
    run(runtime, days[:2], "snapshot", "restored")
    assert runtime.ledger.open(RAW).version == runtime.ledger.open(RESTORED).version


# -- encryption --------------------------------------------------------------------------------------------------


def test_encrypt_seals_the_vault_with_a_key_in_the_key_folder(make: MakeRuntime, days: list[str], tmp_path: Path) -> None:
    runtime = make("encrypt: true")
    reports = run(runtime, days[:2])
    assert reports["snapshot"].facts["encrypted"] is True
    assert reports["snapshot"].version == reports["restored"].version == reports["raw_events"].version
    key = tmp_path / "home" / "keys" / KEY_FILE
    assert key.stat().st_mode & 0o077 == 0
    raw = next(
        path
        for path in (tmp_path / "home" / "vault" / "vault").rglob("*")
        if path.parent.parent.name in ("packs", "objects")
    )
    assert raw.read_bytes().startswith(b"ORV1")


def test_a_vault_stays_sealed_when_nobody_declares_it_any_more(make: MakeRuntime, days: list[str]) -> None:
    run(make("encrypt: true"), days[:1])
    report = run(make("encrypt: false"), days[1:2])["snapshot"]
    assert report.facts["encrypted"] is True


def test_encrypt_over_a_plain_vault_is_refused_before_anything_is_kept(make: MakeRuntime, days: list[str]) -> None:
    run(make(), days[:1])
    runtime = make("encrypt: true")
    run(runtime, days[1:2], "raw_events")
    before = runtime.ledger.head(KEPT)
    with pytest.raises(ConfigError, match="sealed vault"):
        run(runtime, days[1:2], "snapshot")
    assert runtime.ledger.head(KEPT) == before
    assert len(runtime.vault.snapshots()) == 1


def test_a_lost_key_is_told_and_no_other_is_made(make: MakeRuntime, days: list[str], tmp_path: Path) -> None:
    run(make("encrypt: true"), days[:1])
    key = tmp_path / "home" / "keys" / KEY_FILE
    key.rename(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="put the file back"):
        run(make("encrypt: true"), days[:1])
    assert not key.exists()


def test_looking_for_a_vault_makes_none(ledger: Ledger, tmp_path: Path) -> None:
    assert ledger.vault is not None
    assert is_sealed(ledger.vault, ledger.keyring) is None
    open_vault(ledger, tmp_path / "keys", lambda: True)
    assert list(ledger.vault.list()) == []


# -- lock, replica, anchor ---------------------------------------------------------------------------------------


def test_a_store_that_cannot_lock_is_told_of_with_the_reason(make: MakeRuntime, days: list[str]) -> None:
    facts = run(make("lock: 30d"), days[:1])["snapshot"].facts
    assert facts["locked"] is False
    assert facts["lock_reason"]
    assert facts["locked_until"] is None
    assert "locked" not in run(make("encrypt: false"), days[1:2])["snapshot"].facts


@pytest.mark.emulator
def test_a_declared_lock_is_put_on_the_store_and_read_back(ledger: Ledger, rgw: S3Server, tmp_path: Path) -> None:
    store = open_store(f"s3://{rgw.bucket(locked=True)}/vault", s3_options(rgw))
    vault = Vault(store, ledger.signer)
    commit = vault.commit("orders", {"all": [SourceFile("a.csv", 3, b"a,b")]})
    facts = protect(
        vault,
        {"snapshot_id": commit.snapshot_id, "dataset": commit.dataset, "snapshot_seq": commit.seq},
        Protection(BackupSpec(lock="2d")),
    )
    assert facts["locked"] is True
    # this server lists times to the millisecond and describes an object to the second
    until = datetime.fromisoformat(str(facts["locked_until"]))
    assert abs(until - commit.committed - timedelta(days=2)) < timedelta(seconds=1)
    control = control_plane(store)
    assert control is not None
    held = control.retention(commit.tree)
    assert held is not None and held.until > datetime.now(UTC) + timedelta(days=1)


@pytest.mark.parametrize("declared", [True, False])
def test_the_replica_holds_all_that_was_kept(make: MakeRuntime, days: list[str], tmp_path: Path, declared: bool) -> None:
    url = str(tmp_path / "replica")
    runtime = _declaring_replica(make, tmp_path, url) if declared else make(replica_url=url)
    facts = run(runtime, days[:1])["snapshot"].facts
    assert facts["replica"] and facts["replica_verified"] == 1
    assert isinstance(facts["replica_bytes"], int) and facts["replica_bytes"] > 0
    copied = run(runtime, days[1:2])["snapshot"].facts
    # what an earlier run read back is not read again
    assert copied["replica_verified"] == 1
    replica = opened_replica(runtime.vault, LocalStore(tmp_path / "replica"))
    assert verify(replica, level="read").ok
    assert replica.latest(RAW).version == runtime.ledger.open(RAW).version


def _declaring_replica(make: MakeRuntime, tmp_path: Path, url: str) -> Runtime:
    runtime = make()
    project = load_project([tmp_path / "pipelines" / "churn"], {"ORDERS_URL": str(tmp_path / "orders"), "REPLICA_URL": url})
    return Runtime(runtime.settings, project)


def test_a_repeat_mends_a_replica_that_was_not_there(make: MakeRuntime, days: list[str], tmp_path: Path) -> None:
    (tmp_path / "replica").write_text("not a folder")
    runtime = make(replica_url=str(tmp_path / "replica"))
    with pytest.raises(StorageError, match="replica"):
        run(runtime, days[:1])
    assert len(runtime.vault.snapshots()) == 1
    (tmp_path / "replica").unlink()
    assert run(make(replica_url=str(tmp_path / "replica")), days[:1])["snapshot"].facts["replica_verified"] == 1


def test_the_vault_is_no_replica_of_itself(make: MakeRuntime, days: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="another store"):
        run(make(replica_url=str(tmp_path / "home" / "vault")), days[:1])


def test_the_anchor_follows_each_snapshot_and_finds_a_rollback(make: MakeRuntime, days: list[str], tmp_path: Path) -> None:
    anchor = tmp_path / "elsewhere" / "anchor.json"
    runtime = make(anchor=str(anchor))
    assert run(runtime, days[:1])["snapshot"].facts["anchor_seq"] == 1
    assert run(runtime, days[1:2])["snapshot"].facts["anchor_seq"] == 2
    checked = Anchor(anchor).check(runtime.vault.catalog)
    assert checked is not None and not checked.losses
    (tmp_path / "home" / "vault" / "vault" / "snapshots" / RAW / f"{2:012d}.json").unlink()
    again = make(anchor=str(anchor))
    run(again, days[2:3], "raw_events")
    kept, remembered = again.ledger.head(KEPT), anchor.read_bytes()
    with pytest.raises(IntegrityError, match="rolled back"):
        run(again, days[2:3], "snapshot")
    assert again.ledger.head(KEPT) == kept
    assert anchor.read_bytes() == remembered
    assert len(again.vault.snapshots()) == 1


# -- drills ------------------------------------------------------------------------------------------------------


def test_a_drill_is_published_with_what_it_measured(make: MakeRuntime, days: list[str]) -> None:
    runtime = make()
    run(runtime, days)
    report = runtime.run(runtime.project.nodes[f"{DATASET}/drill"], ["all"])
    (outcome,) = report.outcomes
    assert outcome.published
    assert {v.check: v.passed for v in outcome.verdicts} == {"proof": True, "rto": True, "rpo": True}
    assert report.facts["rpo_seconds"] == 0.0
    published = runtime.ledger.open(f"{DATASET}/drill")
    with published.fetched(["all"]) as files:
        told = json.loads(files["all"][0].path.read_text())
    assert told["passed"] and told["runs"][0]["rows"] == runtime.ledger.open(RAW).rows


def test_a_missed_target_is_told_and_the_drill_published(make: MakeRuntime, days: list[str]) -> None:
    runtime = make("encrypt: false")
    run(runtime, days[:1])
    run(runtime, days[1:2], "raw_events")
    dataset = runtime.project.dataset(DATASET)
    spec = dataset.spec.backup.model_copy(update={"rpo": timedelta(seconds=1)})
    tight = type(dataset)(
        dataset.pipeline, dataset.spec.model_copy(update={"backup": spec}), dataset.contract, dataset.folder
    )
    commit = runtime.vault.latest(RAW)
    runtime.vault.store_time = lambda: commit.committed + timedelta(minutes=1)  # type: ignore[method-assign]
    (outcome,) = publish_drill(runtime.context(), tight.asset("drill"), tight).outcomes
    assert outcome.published
    assert {v.check: (v.passed, v.severity) for v in outcome.verdicts}["rpo"] == (False, "warn")


def test_a_drill_of_a_damaged_snapshot_is_refused(make: MakeRuntime, days: list[str]) -> None:
    runtime = make()
    run(runtime, days[:1])
    vault = runtime.vault
    file = vault.files(vault.latest(RAW), days[0])[0]
    path = vault.store.local_path(file.key)
    assert path is not None
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[file.offset] ^= 1
    path.write_bytes(bytes(data))
    report = runtime.run(runtime.project.nodes[f"{DATASET}/drill"], ["all"])
    assert [v.check for o in report.refused for v in o.verdicts if v.closes_gate] == ["proof"]
    assert runtime.ledger.find(f"{DATASET}/drill") is None
