"""A dataset of many partitions: each version writes a few small pages, and says what one long list said."""

from pathlib import Path

import pytest

from orchestrai.core.canonical import canonical_json, dataset_version
from orchestrai.errors import IntegrityError
from orchestrai.ledger.format.dataset_pages import DatasetPages
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import DatasetManifest, PartitionEntry, blob_key
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.provenance.export import offline_verifier
from orchestrai.provenance.recall.rebuild import rebuild
from orchestrai.provenance.verified_records import Records
from orchestrai.storage.local import LocalStore
from orchestrai_tests.producers import producer

ASSET = "churn/orders/raw_events"


def opened(folder: Path) -> Ledger:
    return Ledger(LocalStore(folder / "lake"), load_or_create_signer(folder), vault=LocalStore(folder / "vault"))


def day(number: int) -> str:
    return f"2026-{number // 28 + 1:02d}-{number % 28 + 1:02d}"


def publish(ledger: Ledger, *numbers: int, drop: tuple[int, ...] = ()) -> None:
    session = ledger.session(ASSET, producer("raw_events"))
    for number in numbers:
        session.add_bytes(day(number), "a.parquet", b"%d" % number, rows=1)
    session.commit({day(number): () for number in numbers}, drop=[day(number) for number in drop])


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    # so that a few dozen partitions make pages of pages
    monkeypatch.setattr(DatasetPages, "width", 16)
    ledger = opened(tmp_path)
    for number in (*range(50), 60, 55):
        publish(ledger, number)
    publish(ledger, drop=(7,))
    return ledger


def test_versions_and_partitions_are_those_of_the_list(many: Ledger, tmp_path: Path) -> None:
    dataset = opened(tmp_path).open(ASSET)
    days = sorted(day(number) for number in (*range(50), 60, 55) if number != 7)
    assert list(dataset.partitions) == days and dataset.rows == len(days)
    assert dataset.version == dataset_version(dataset.roots()) == dataset.head.version
    assert dataset.files(day(49)).root == dataset.partitions[day(49)].root
    with pytest.raises(KeyError):
        dataset.partitions[day(7)]


def test_a_version_writes_a_path_and_its_copy_lets_the_lake_be_rebuilt(many: Ledger, tmp_path: Path) -> None:
    lake = many.lake
    before = {info.key for info in lake.list("manifests/")}
    publish(many, 61)
    written = [info for info in lake.list("manifests/") if info.key not in before]
    assert len(written) == 3 and sum(info.size for info in written) < 8_000
    newest = opened(tmp_path).open(ASSET)
    for info in [*lake.list()]:
        lake.delete(info.key)
    fresh = opened(tmp_path)
    rebuild(fresh)
    assert fresh.open(ASSET).roots() == newest.roots()


def test_a_long_list_of_format_1_is_read_and_goes_on_in_pages(many: Ledger, tmp_path: Path) -> None:
    current = many.open(ASSET)
    listed = DatasetManifest(ASSET, dict(current.partitions))
    digest = many.put_blob("manifests", listed.encode(), witness=True)
    from dataclasses import replace

    from orchestrai.ledger.heads import append_head

    head = replace(current.head, seq=current.head.seq + 1, previous=current.head.digest, manifest=digest)
    append_head(many.lake, many.signer, head)
    ledger = opened(tmp_path)
    assert ledger.open(ASSET).roots() == current.roots()
    publish(ledger, 62)
    after = opened(tmp_path).open(ASSET)
    assert set(after.roots()) == {*current.roots(), day(62)} and after.version == dataset_version(after.roots())


def test_an_audit_and_a_stranger_compute_every_version_again(many: Ledger, tmp_path: Path) -> None:
    records = Records(LocalStore(tmp_path / "vault"), many.keyring)
    stranger = offline_verifier.Records(offline_verifier.Place(str(tmp_path / "vault")), {})
    for head in records.log(ASSET):
        entries = records.entries(head)
        lines = stranger.partitions({"asset": ASSET, "manifest": head.manifest, "version": head.version})
        assert {key: entry.root for key, entry in entries.items()} == {key: line[1] for key, line in lines.items()}


def test_a_page_that_is_altered_or_lies_about_its_hash_is_refused(many: Ledger, tmp_path: Path) -> None:
    head = many.open(ASSET).head
    tree = many.open(ASSET).manifest.partitions
    children = tree.pages.read(tree.root)  # type: ignore[attr-defined]
    key = blob_key("manifests", children[0].place)
    data = many.lake.read(key)
    many.lake.delete(key)
    many.lake.write(key, data.replace(b'"format":1', b'"format": 1'))
    with pytest.raises(IntegrityError):
        dict(opened(tmp_path).open(ASSET).partitions)
    # a page above it with another Merkle hash, well named: only computing all again tells
    rows = [[one.first, *one.sums, one.hash.hex(), one.place] for one in children]
    rows[0][-2] = rows[1][-2]
    body = {"format": 2, "asset": ASSET, "height": tree.root.height, "pages": rows}  # type: ignore[attr-defined]
    from dataclasses import replace

    vault = many.vault
    assert vault is not None
    digest = many.put_blob("manifests", canonical_json(body), witness=True)
    for _ in "12":
        with pytest.raises(IntegrityError, match=r"hash above it|to give"):
            Records(vault, many.keyring).entries(replace(head, manifest=digest))


def test_rows_stay_entries(many: Ledger) -> None:
    assert all(isinstance(entry, PartitionEntry) for entry in many.open(ASSET).partitions.values())
