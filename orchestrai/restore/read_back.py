"""Copies kept files out of the vault, every hash checked on the way."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter

from orchestrai.core.parallel import in_order
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.pieces.pack_reader import read_packed
from orchestrai.vault.vault import Vault

Put = Callable[[StoredFile, Iterable[bytes]], None]


def copy_out(vault: Vault, files: Sequence[StoredFile], put: Put, *, workers: int = 2, reuse: bool = False) -> Iterator[int]:
    """Hand each file's verified bytes to `put`; yields how many files each finished piece of work held.

    A small file's bytes are proven before `put` is called; a large one's while it reads, so `put` must keep nothing when the
    iterable raises. With `reuse`, a chunk is valid only until the next is asked for. Raises MissingObject, DigestMismatch.
    """
    tasks = [_packed(vault, group, put, reuse) for group in _packs(files)]
    tasks += [_single(vault, file, put, reuse) for file in files if file.pack < 0]
    yield from in_order(tasks, workers)


def _packs(files: Sequence[StoredFile]) -> Iterator[list[StoredFile]]:
    packed = sorted((file for file in files if file.pack >= 0), key=attrgetter("session", "pack", "offset", "path"))
    for _, group in groupby(packed, key=attrgetter("session", "pack")):
        yield list(group)


def _packed(vault: Vault, group: Sequence[StoredFile], put: Put, reuse: bool) -> Callable[[], int]:
    def task() -> int:
        for file, data in read_packed(vault.store, vault.identity(), vault.cipher, group, reuse=reuse):
            put(file, [data])
        return len(group)

    return task


def _single(vault: Vault, file: StoredFile, put: Put, reuse: bool) -> Callable[[], int]:
    def task() -> int:
        put(file, vault.stream(file, reuse=reuse))
        return 1

    return task
