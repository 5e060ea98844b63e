"""Publish and open: atomic, fenced, idempotent, and closed to whatever has no passing receipt."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrai.core.verdict import Audit, Verdict
from orchestrai.errors import (
    ConcurrentCommit,
    DigestMismatch,
    IntegrityError,
    MissingObject,
    NotReceipted,
    SignatureInvalid,
)
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.heads import read_head
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import FileEntry, make_partition
from orchestrai.ledger.receipt import InputRef
from orchestrai.ledger.report import StageReport
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.storage.local import LocalStore
from orchestrai_tests.copies import copies
from orchestrai_tests.producers import producer

ASSET = "churn/orders/raw_events"
GOOD = (Verdict("schema", True),)
BAD = (Verdict("row_volume", False, "expected 300 rows or so, found 3"),)


def publish(ledger: Ledger, days: dict[str, bytes], verdicts: dict[str, tuple[Verdict, ...]] | None = None) -> StageReport:
    session = ledger.session(ASSET, producer("raw_events"))
    for day, data in days.items():
        session.add_bytes(day, "part-00000.parquet", data, rows=len(data))
    return session.commit(verdicts or {day: GOOD for day in days})


def read(dataset: Dataset, day: str, folder: Path) -> bytes:
    return b"".join(file.path.read_bytes() for file in copies(dataset, day, folder))


def lake_file(ledger: Ledger, pattern: str) -> Path:
    root = Path(ledger.lake.url.removeprefix("file://"))
    return next(path for path in sorted(root.glob(pattern)) if path.is_file())


def test_what_is_published_is_read_back_whole(ledger: Ledger, tmp_path: Path) -> None:
    report = publish(ledger, {"2026-01-01": b"one", "2026-01-02": b"two!"})
    dataset = ledger.open(ASSET)
    assert dataset.version == report.version
    assert dataset.rows == 7
    assert read(dataset, "2026-01-02", tmp_path) == b"two!"


def test_staged_data_is_invisible_until_it_is_committed(ledger: Ledger) -> None:
    session = ledger.session(ASSET, producer("raw_events"))
    session.add_bytes("2026-01-01", "part-00000.parquet", b"one")
    assert ledger.find(ASSET) is None
    with pytest.raises(NotReceipted):
        ledger.open(ASSET)


def test_a_closed_gate_publishes_nothing_and_keeps_the_last_good_version(ledger: Ledger, tmp_path: Path) -> None:
    before = publish(ledger, {"2026-01-01": b"good"}).version
    report = publish(ledger, {"2026-01-01": b"bad"}, {"2026-01-01": BAD})
    assert [outcome.published for outcome in report.outcomes] == [False]
    assert [verdict.check for verdict in report.refused[0].verdicts if verdict.closes_gate] == ["row_volume"]
    dataset = ledger.open(ASSET)
    assert dataset.version == before
    assert read(dataset, "2026-01-01", tmp_path) == b"good"


def test_good_partitions_are_published_beside_a_refused_one(ledger: Ledger) -> None:
    report = publish(ledger, {"2026-01-01": b"a", "2026-01-02": b"b"}, {"2026-01-01": GOOD, "2026-01-02": BAD})
    assert [(o.partition, o.published) for o in report.outcomes] == [("2026-01-01", True), ("2026-01-02", False)]
    assert list(ledger.open(ASSET).partitions) == ["2026-01-01"]
    record = json.loads(lake_file(ledger, "quarantine/**/*.json").read_bytes())
    assert record["partitions"]["2026-01-02"]["verdicts"][0]["check"] == "row_volume"


def test_publishing_the_same_again_changes_nothing(ledger: Ledger) -> None:
    publish(ledger, {"2026-01-01": b"a"})
    head = ledger.head(ASSET)
    publish(ledger, {"2026-01-01": b"a"})
    assert ledger.head(ASSET) == head


@pytest.mark.parametrize("harm", ["rot", "loss"])
def test_publishing_again_mends_what_rotted_or_went(ledger: Ledger, tmp_path: Path, harm: str) -> None:
    publish(ledger, {"2026-01-01": b"some rows", "2026-01-02": b"others"})
    version = ledger.open(ASSET).version
    victim = lake_file(ledger, "data/**/2026-01-01/**/part-00000.parquet")
    victim.unlink()
    if harm == "rot":
        victim.write_bytes(b"soma rows")
    publish(ledger, {"2026-01-01": b"some rows", "2026-01-02": b"others"})
    assert read(ledger.open(ASSET), "2026-01-01", tmp_path) == b"some rows"
    assert ledger.open(ASSET).version == version


def test_equal_data_has_an_equal_version_wherever_it_lies(ledger: Ledger, tmp_path: Path) -> None:
    other = Ledger(LocalStore(tmp_path / "elsewhere"), load_or_create_signer(tmp_path / "k2"))
    days = {"2026-01-02": b"b", "2026-01-01": b"a"}
    assert publish(ledger, days).version == publish(other, dict(reversed(days.items()))).version


def test_one_byte_in_one_of_3650_partitions_changes_the_version(ledger: Ledger) -> None:
    roots = {f"p{i:04d}": "sha256:" + "0" * 64 for i in range(3650)}
    from orchestrai.ledger.manifest import dataset_version

    before = dataset_version(roots)
    for key in ("p0000", "p1234", "p3649"):
        assert dataset_version({**roots, key: "sha256:" + "0" * 63 + "1"}) != before


def test_two_writers_of_different_partitions_both_survive(ledger: Ledger) -> None:
    first, second = ledger.session(ASSET, producer("raw_events")), ledger.session(ASSET, producer("raw_events"))
    first.add_bytes("2026-01-01", "part-00000.parquet", b"a")
    second.add_bytes("2026-01-02", "part-00000.parquet", b"b")
    first.commit({"2026-01-01": GOOD})
    second.commit({"2026-01-02": GOOD})
    assert sorted(ledger.open(ASSET).partitions) == ["2026-01-01", "2026-01-02"]


def test_a_zombie_writer_of_the_same_partition_loses(ledger: Ledger, tmp_path: Path) -> None:
    zombie, heir = ledger.session(ASSET, producer("raw_events")), ledger.session(ASSET, producer("raw_events"))
    zombie.add_bytes("2026-01-01", "part-00000.parquet", b"old")
    heir.add_bytes("2026-01-01", "part-00000.parquet", b"new")
    heir.commit({"2026-01-01": GOOD})
    with pytest.raises(ConcurrentCommit):
        zombie.commit({"2026-01-01": GOOD})
    assert read(ledger.open(ASSET), "2026-01-01", tmp_path) == b"new"


@pytest.mark.parametrize(
    ("pattern", "error"),
    [
        ("data/**/part-00000.parquet", DigestMismatch),
        ("receipts/**/*.json", DigestMismatch),
        ("manifests/**/*.json", DigestMismatch),
        ("heads/**/*.json", SignatureInvalid),
    ],
)
def test_a_flipped_byte_anywhere_is_found(ledger: Ledger, tmp_path: Path, pattern: str, error: type[Exception]) -> None:
    publish(ledger, {"2026-01-01": b"some rows"})
    victim = lake_file(ledger, pattern)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.chmod(0o600)
    victim.write_bytes(bytes(data))
    with pytest.raises(error):
        read(ledger.open(ASSET), "2026-01-01", tmp_path)


def test_a_missing_file_is_named(ledger: Ledger, tmp_path: Path) -> None:
    publish(ledger, {"2026-01-01": b"some rows"})
    lake_file(ledger, "data/**/*.parquet").unlink()
    with pytest.raises(MissingObject, match=r"part-00000\.parquet"):
        read(ledger.open(ASSET), "2026-01-01", tmp_path)


def test_a_head_signed_by_a_stranger_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    stranger = Ledger(ledger.lake, load_or_create_signer(tmp_path / "stranger"))
    publish(stranger, {"2026-01-01": b"poison"})
    with pytest.raises(SignatureInvalid):
        ledger.open(ASSET)


def test_a_receipt_with_a_failed_check_opens_nothing(ledger: Ledger, tmp_path: Path) -> None:
    """A signed head over data whose gate was closed (a bug, or a thief with the code but no rule) is still refused."""
    session = ledger.session(ASSET, producer("raw_events"))
    session.add_bytes("2026-01-01", "part-00000.parquet", b"bad")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Audit, "is_open", lambda audit, partition: True)
        session.commit({"2026-01-01": BAD})
    with pytest.raises(NotReceipted, match="row_volume"):
        copies(ledger.open(ASSET), "2026-01-01", tmp_path)


def test_an_older_head_put_in_place_of_a_newer_is_found(ledger: Ledger) -> None:
    publish(ledger, {"2026-01-01": b"a"})
    publish(ledger, {"2026-01-01": b"b"})
    root = Path(ledger.lake.url.removeprefix("file://"))
    first, second = sorted(root.glob("heads/**/*.json"))
    second.chmod(0o600)
    second.write_bytes(first.read_bytes())
    with pytest.raises(IntegrityError, match="moved or replayed"):
        ledger.open(ASSET)


def test_history_names_an_altered_predecessor(ledger: Ledger) -> None:
    for data in (b"a", b"b", b"c"):
        publish(ledger, {"2026-01-01": data})
    assert [head.seq for head in ledger.history(ASSET)] == [3, 2, 1]
    middle = read_head(ledger.lake, ledger.keyring, ASSET, 2)
    forged = type(middle)(**{**middle.__dict__, "reason": "another"})
    path = sorted(Path(ledger.lake.url.removeprefix("file://")).glob("heads/**/*.json"))[1]
    path.chmod(0o600)
    path.write_bytes(forged.sign(ledger.signer))
    with pytest.raises(IntegrityError, match="history was altered"):
        list(ledger.history(ASSET))


def test_receipts_and_heads_are_witnessed_by_the_vault(ledger: Ledger) -> None:
    publish(ledger, {"2026-01-01": b"a"})
    assert ledger.vault is not None
    for prefix in ("heads/", "receipts/", "manifests/"):
        lake = {info.key: ledger.lake.read(info.key) for info in ledger.lake.list(prefix)}
        assert lake
        assert lake == {info.key: ledger.vault.read(info.key) for info in ledger.vault.list(prefix)}


def test_an_input_version_is_pinned_in_the_receipt(ledger: Ledger) -> None:
    publish(ledger, {"2026-01-01": b"a"})
    raw = ledger.open(ASSET)
    session = ledger.session("churn/orders/features", producer("features"))
    session.add_bytes("all", "part-00000.parquet", b"f", rows=1)
    session.commit({"all": GOOD}, inputs=[InputRef(raw.asset, raw.version, raw.roots())])
    receipt = ledger.open("churn/orders/features").receipt("all")
    assert receipt.inputs == (InputRef(ASSET, raw.version, raw.roots()),)


def test_a_list_of_files_is_read_once_a_stage_and_again_by_the_next(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(ledger, {"2026-01-01": b"one"})
    lists: list[str] = []
    read = LocalStore.read
    monkeypatch.setattr(LocalStore, "read", lambda store, key, **more: (lists.append(key), read(store, key, **more))[1])
    entry = ledger.open(ASSET).partitions["2026-01-01"]

    def reads() -> int:
        return sum(entry.manifest in key for key in lists)

    with ledger.reading():
        first = ledger.open(ASSET).files("2026-01-01")
        assert ledger.open(ASSET).files("2026-01-01") is first and reads() == 1
    assert ledger.open(ASSET).files("2026-01-01") == first and reads() == 2


def test_a_number_that_only_looks_alike_gives_a_root_of_its_own() -> None:
    whole = FileEntry("part-00000.parquet", 1, 1, "ab" * 32, "data/a")
    odd = replace(whole, size=1.0)  # type: ignore[arg-type]
    roots = {make_partition("all", [entry]).root for entry in (whole, odd, whole)}
    assert len(roots) == 2 and whole.leaf() != odd.leaf()
