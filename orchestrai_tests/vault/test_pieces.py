"""Contents in pieces: stored once, compressed where it pays, found damaged wherever a byte is altered, opened no wider than listed."""

import itertools
import random
from pathlib import Path
from types import SimpleNamespace

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrai.backup.folder_files import list_folder
from orchestrai.errors import DigestMismatch, IntegrityError, MissingObject, PreconditionFailed
from orchestrai.ledger.signing import Signer
from orchestrai.restore.folder import restore_folder
from orchestrai.storage.base import Store
from orchestrai.storage.local import LocalStore
from orchestrai.storage.memory import MemoryStore
from orchestrai.vault.format.chunk_table import Chunk, chunks_of
from orchestrai.vault.keys import data_keys
from orchestrai.vault.keys.key_file import FileKey
from orchestrai.vault.lifecycle.prune import plan_prune
from orchestrai.vault.lifecycle.reachable import reach
from orchestrai.vault.pieces.chunker import CHUNKED_FROM
from orchestrai.vault.pieces.piece_compression import PIECE_BYTES, compressed, expanded
from orchestrai.vault.replica.replicate import replicate
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.vault.contents import files

TEXT = b"2026-11-30,shop,blue teapot,12,4.25\n"
LARGE = random.Random(1).randbytes(CHUNKED_FROM + 3_000_000)


def opened(signer: Signer, store: Store, key: FileKey | None = None) -> Vault:
    numbers = itertools.count()
    taken = len(list(store.list("vault/snapshots/")))
    return Vault(store, signer, new_id=lambda: f"s{taken:02d}{next(numbers):04d}", workers=0, encryption=key)


def stored(vault: Vault) -> int:
    return sum(info.size for prefix in ("vault/objects/", "vault/packs/") for info in vault.store.list(prefix))


@pytest.fixture(autouse=True)
def same_data_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Borders follow from the data key: by one of chance, now and then a change reaches further than another one does."""
    monkeypatch.setattr(data_keys, "os", SimpleNamespace(urandom=random.Random(11).randbytes))


@pytest.fixture(params=["plain", "sealed"])
def key(request: pytest.FixtureRequest, tmp_path: Path) -> FileKey | None:
    return FileKey(tmp_path / "data.key") if request.param == "sealed" else None


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_a_large_file_that_changes_is_stored_again_only_where_it_changed(
    signer: Signer, tmp_path: Path, key: FileKey | None, where: str
) -> None:
    store: Store = MemoryStore() if where == "memory" else LocalStore(tmp_path / "vault")
    vault = opened(signer, store, key)
    vault.commit("d", {"p": files(big=LARGE)})
    before = stored(vault)
    changed = LARGE[:9_000_000] + b"!" + LARGE[9_000_001:]
    commit = opened(signer, store, key).commit("d", {"p": files(big=changed)})
    assert 0 < stored(vault) - before < 2_000_000 and commit.new_bytes < 2_000_000
    assert commit.new_bytes + commit.reused_bytes == len(changed)
    longer = LARGE[:5_000_000] + b"!" + LARGE[5_000_000:]
    # in another partition, under another name
    newest = opened(signer, store, key).commit("d", {"q": files(other=longer)})
    assert newest.new_bytes < 2_500_000
    again = opened(signer, store, key)
    for snapshot, partition, path, data in (
        (again.snapshots()[0], "p", "big", LARGE), (newest, "p", "big", changed), (newest, "q", "other", longer)
    ):  # fmt: skip
        assert again.read_file(snapshot.snapshot_id, partition, path) == data
    report = verify(opened(signer, store, key), level="read")
    assert report.ok and report.files_read == 3
    restore_folder(opened(signer, store, key), newest, tmp_path / "back", sync=False)
    assert (tmp_path / "back" / "p" / "big").read_bytes() == changed


def test_shared_chunks_stay_as_long_as_one_snapshot_needs_them(signer: Signer) -> None:
    store = MemoryStore()
    vault = opened(signer, store)
    first = vault.commit("d", {"p": files(big=LARGE)})
    changed = LARGE[:9_000_000] + b"!" + LARGE[9_000_001:]
    second = opened(signer, store).commit("d", {"p": files(big=changed)})
    objects = {info.key for info in store.list("vault/objects/")}
    assert len(objects) == 2
    vault = opened(signer, store)
    assert objects <= reach(vault, second).keys()
    vault.forget(first.snapshot_id)
    assert not objects & {*plan_prune(vault).mark, *plan_prune(vault).delete}
    target = MemoryStore()
    assert replicate(vault, target).verified.ok
    assert opened(signer, target).read_file(second.snapshot_id, "p", "big") == changed
    # each object is looked for: the one that only the chunks of an older snapshot lie in too
    store.delete(min(objects))
    report = verify(opened(signer, store))
    assert [finding.key for finding in report.findings] == [min(objects)]
    with pytest.raises(MissingObject):
        opened(signer, store).read_file(second.snapshot_id, "p", "big")


def test_small_files_are_compressed_together_and_one_is_read_alone(signer: Signer, key: FileKey | None) -> None:
    store = MemoryStore()
    vault = opened(signer, store, key)
    small = {f"f{number:03d}": TEXT * (number + 1) for number in range(200)} | {"empty": b""}
    commit = vault.commit("d", {"p": files(**small)})
    assert stored(vault) < sum(map(len, small.values())) / 10
    again = opened(signer, store, key)
    for name in ("f000", "f123", "empty", "f199"):
        assert again.read_file(commit.snapshot_id, "p", name) == small[name]
    # an unchanged file is referred to inside its piece, under another name too
    more = opened(signer, store, key).commit("d", {"q": files(copy=small["f123"])})
    assert more.new_bytes == 0
    assert opened(signer, store, key).read_file(more.snapshot_id, "q", "copy") == small["f123"]
    assert verify(opened(signer, store, key), level="read").ok


def test_what_does_not_compress_is_stored_as_it_is(signer: Signer) -> None:
    vault = opened(signer, MemoryStore())
    noise = {f"n{number}": random.Random(number).randbytes(40_000) for number in range(20)}
    vault.commit("d", {"p": files(**noise, big=random.Random(99).randbytes(400_000))})
    assert stored(vault) == 20 * 40_000 + 400_000
    assert all(not file.piece and not file.objects for file in vault.files(vault.latest("d"), "p"))


def test_a_file_that_grows_at_its_end_keeps_its_first_pieces(signer: Signer) -> None:
    store = MemoryStore()
    vault, data = opened(signer, store), TEXT * 100_000
    vault.commit("d", {"p": files(log=data)})
    grown = data + TEXT * 100
    commit = opened(signer, store).commit("d", {"p": files(log=grown)})
    assert commit.new_bytes <= PIECE_BYTES
    assert opened(signer, store).read_file(commit.snapshot_id, "p", "log") == grown


@pytest.mark.parametrize("size", [300_000, 2_000_000, CHUNKED_FROM])
@pytest.mark.parametrize("by", [-1, 1, 5_000_000])
def test_a_file_that_grows_or_shrinks_after_it_was_listed_is_not_kept(
    signer: Signer, tmp_path: Path, size: int, by: int
) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    data = TEXT * (size // len(TEXT) + 1)
    (folder / "log").write_bytes(data)
    listed = list_folder(folder)
    (folder / "log").write_bytes((data + data + bytes(5_000_000))[: len(data) + by])
    vault = opened(signer, MemoryStore())
    with pytest.raises(PreconditionFailed):
        vault.commit("d", listed)
    assert vault.snapshots() == []


def test_zeros_are_stored_once(signer: Signer, tmp_path: Path, key: FileKey | None) -> None:
    vault = opened(signer, MemoryStore(), key)
    commit = vault.commit("d", {"p": files(sparse=bytes(CHUNKED_FROM * 2))})
    assert stored(vault) < 2_000 and commit.new_bytes <= 2 * PIECE_BYTES
    assert vault.read_file(commit.snapshot_id, "p", "sparse") == bytes(CHUNKED_FROM * 2)


def test_every_altered_byte_of_compressed_contents_is_found(signer: Signer, key: FileKey | None) -> None:
    store = MemoryStore()
    vault = opened(signer, store, key)
    commit = vault.commit("d", {"p": files(a=TEXT * 9, b=TEXT * 20), "q": files(log=TEXT * 8_000)})
    rows = vault.files(commit, "p") + vault.files(commit, "q")
    assert all(file.piece or file.objects for file in rows)
    for info in [*store.list("vault/objects/"), *store.list("vault/packs/")]:
        data = store.read(info.key)
        for place in range(len(data)):
            store.write(info.key, data[:place] + bytes([data[place] ^ 0x21]) + data[place + 1 :])
            with pytest.raises(IntegrityError):
                for file in rows:
                    if info.key == file.key:
                        list(vault.stream(file))
        store.write(info.key, data)
    assert verify(opened(signer, store, key), level="read").ok


def test_a_frame_that_claims_more_than_its_row_is_refused_before_it_is_opened() -> None:
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(1 << 30))
    for size in (100, PIECE_BYTES, 1 << 30):
        with pytest.raises(DigestMismatch):
            expanded(bomb, size, "vault/objects/s/1")
    # one that does not say how much it holds is none of ours
    writer = zstandard.ZstdCompressor().compressobj()
    unsized = writer.compress(TEXT * 100) + writer.flush()
    with pytest.raises(DigestMismatch):
        expanded(unsized, len(TEXT) * 100, "vault/objects/s/1")
    for broken in (b"", b"junk", compressed(TEXT * 100) or b"", (compressed(TEXT * 100) or b"") + b"more"):
        with pytest.raises(DigestMismatch):
            expanded(broken, 5, "vault/objects/s/1")


def test_a_row_whose_chunks_are_too_long_or_of_no_object_is_refused(signer: Signer) -> None:
    vault = opened(signer, MemoryStore())
    commit = vault.commit("d", {"p": files(log=TEXT * 20_000)})
    file = vault.files(commit, "p")[0]
    first = next(chunks_of(file.table))
    for wrong in (first._replace(size=PIECE_BYTES + 1), first._replace(place=7), first._replace(length=1 << 30)):
        with pytest.raises(IntegrityError):
            list(vault.stream(file._replace(table=wrong.pack())))
    with pytest.raises(IntegrityError):
        list(vault.stream(file._replace(table=first._replace(size=first.size - 1).pack())))


@given(st.binary(max_size=5000) | st.integers(0, 60_000).map(lambda count: TEXT * (count % 3000)))
def test_what_is_compressed_comes_back(data: bytes) -> None:
    frame = compressed(data)
    assert frame is None or (len(frame) < len(data) and expanded(frame, len(data), "k") == data)


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.booleans())
def test_a_chunk_is_its_row(sha256: bytes, place: int, offset: int, is_compressed: bool) -> None:
    chunk = Chunk(sha256, place, offset, 77, PIECE_BYTES, is_compressed)
    assert [*chunks_of(chunk.pack() * 2)] == [chunk, chunk]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 700_000), st.booleans()), min_size=1, max_size=6))
def test_files_of_any_size_and_kind_come_back_from_one_snapshot(sizes: list[tuple[int, bool]]) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    contents = {
        f"f{number}": random.Random(number).randbytes(size) if noise else (TEXT * (size // len(TEXT) + 1))[:size]
        for number, (size, noise) in enumerate(sizes)
    }
    vault = opened(Signer(Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)), MemoryStore())
    commit = vault.commit("d", {"p": files(**contents)})
    assert {name: vault.read_file(commit.snapshot_id, "p", name) for name in contents} == contents
    assert verify(vault, level="read").ok
