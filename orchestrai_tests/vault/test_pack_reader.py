"""Files that share a pack: read piece by piece they are what each is when it is read alone, and no piece is opened twice."""

import itertools
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from orchestrai.errors import DigestMismatch
from orchestrai.ledger.signing import Signer
from orchestrai.restore.folder import restore_folder
from orchestrai.storage.base import Store
from orchestrai.storage.local import LocalStore
from orchestrai.storage.memory import MemoryStore
from orchestrai.vault.commit import writer
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.keys.encryption import Cipher
from orchestrai.vault.keys.key_file import FileKey
from orchestrai.vault.pieces import pack_reader
from orchestrai.vault.pieces.object_reads import read_into
from orchestrai.vault.pieces.pack_reader import read_packed
from orchestrai.vault.pieces.piece_compression import expanded
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.vault.contents import files

LONGEST = 6_000
# equal contents are stored once, and one content alone lies in no pack
TWO = [b"one of two", b"the other"]
KINDS = ("plain", "sealed")
numbers = itertools.count()

# what does not shrink, what does, and what is not there at all
content = st.one_of(
    st.just(b""),
    st.integers(1, LONGEST).flatmap(lambda size: st.randoms(use_true_random=False).map(lambda rng: rng.randbytes(size))),
    st.integers(1, LONGEST // 32).map(lambda times: b"2026-11-30,blue teapot,12,4.25\n" * times),
)
many = st.lists(content, max_size=24).map(lambda drawn: [*drawn, *TWO])


def opened(folder: Path, signer: Signer, kind: str, where: str) -> Vault:
    store: Store = MemoryStore() if where == "memory" else LocalStore(folder / f"vault{next(numbers)}")
    return Vault(store, signer, workers=0, encryption=FileKey(folder / "data.key") if kind == "sealed" else None)


def packed(vault: Vault, data: list[bytes], cut: int) -> list[StoredFile]:
    """These files in packs, in groups of `cut` bytes at most."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "GROUP_BYTES", cut)
        vault.commit("d", {"p": files(**{f"f{number:03d}": part for number, part in enumerate(data)})})
    return [file for file in vault.files(vault.latest("d"), "p") if file.pack >= 0]


def pieces(kept: list[StoredFile]) -> set[tuple[int, int]]:
    return {(file.pack, file.offset) for file in kept if file.length}


@pytest.mark.parametrize("where", ["memory", "disk"])
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=many, cut=st.integers(LONGEST, 4 * LONGEST), asked=st.randoms(use_true_random=False), reuse=st.booleans())
def test_files_read_together_are_what_each_is_alone(
    signer: Signer, tmp_path: Path, where: str, kind: str, data: list[bytes], cut: int, asked: random.Random, reuse: bool
) -> None:
    vault = opened(tmp_path, signer, kind, where)
    kept = packed(vault, data, cut)
    # any of them, in any order
    some = asked.sample(kept, asked.randint(1, len(kept)))
    together = {
        file.path: bytes(part) for file, part in read_packed(vault.store, vault.identity(), vault.cipher, some, reuse=reuse)
    }
    alone = {file.path: b"".join(vault.stream(file)) for file in some}
    assert together == alone == {file.path: data[int(file.path[1:])] for file in some}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=many, cut=st.integers(LONGEST, 4 * LONGEST), where=st.floats(0, 1, exclude_max=True), kind=st.sampled_from(KINDS)
)
def test_a_damaged_piece_is_refused_and_its_object_named(
    signer: Signer, tmp_path: Path, data: list[bytes], cut: int, where: float, kind: str
) -> None:
    vault = opened(tmp_path, signer, kind, "memory")
    kept = packed(vault, data, cut)
    key = kept[0].key
    stored = bytearray(vault.store.read(key))
    at = int(where * len(stored))
    stored[at] ^= 1
    vault.store.write(key, bytes(stored))
    with pytest.raises(DigestMismatch) as refused:
        for file, part in read_packed(vault.store, vault.identity(), vault.cipher, kept, reuse=True):
            # nothing wrong is ever handed out
            assert bytes(part) == data[int(file.path[1:])]
        if kind == "plain" and any(file.compressed for file in kept):
            reject()  # a bit of a frame that says nothing
    assert refused.value.fields["key"] == key and key in refused.value.message
    assert [finding.key for finding in verify(vault, level="read").findings] == [key]
    with pytest.raises(DigestMismatch):
        restore_folder(vault, vault.latest("d"), tmp_path / "out", sync=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("shrinks", [True, False], ids=["compressed", "as-it-is"])
@pytest.mark.parametrize("kind", KINDS)
def test_each_piece_is_read_and_opened_once_however_many_files_lie_in_it(
    signer: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, shrinks: bool
) -> None:
    rng = random.Random(1)
    data = [(b"%09d,teapot\n" % number) * 2_000 if shrinks else rng.randbytes(20_000) for number in range(100)]
    vault = opened(tmp_path, signer, kind, "disk")
    kept = packed(vault, data, writer.GROUP_BYTES)
    assert len(kept) == 100
    seen: Counter[str] = Counter()
    unsealed = Cipher.open_into

    def read(store: Store, key: str, descriptor: int, target: memoryview, start: int | None = None) -> int:
        seen["bytes read"] += len(target)
        return read_into(store, key, descriptor, target, start)

    def unseal(self: Cipher, context: bytes, sealed: memoryview, target: memoryview) -> None:
        seen["unsealed"] += 1
        unsealed(self, context, sealed, target)

    def unfold(frame: bytes | memoryview, size: int, key: str) -> bytes:
        seen["unfolded"] += 1
        return expanded(frame, size, key)

    monkeypatch.setattr(pack_reader, "read_into", read)
    monkeypatch.setattr(Cipher, "open_into", unseal)
    monkeypatch.setattr(pack_reader, "expanded", unfold)
    count = len(pieces(kept))
    once = {"bytes read": vault.store.head(kept[0].key).size}
    once |= {"unsealed": count} if kind == "sealed" else {}
    once |= {"unfolded": count} if shrinks else {}
    assert verify(vault, level="read").ok and seen == once
    seen.clear()
    restore_folder(vault, vault.latest("d"), tmp_path / "out", sync=False)
    assert seen == once
