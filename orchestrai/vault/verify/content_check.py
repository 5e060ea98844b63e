"""Is every kept byte of some files what their signed list says? Each is read once, here or by executors."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from orchestrai.core.progress import Progress
from orchestrai.errors import IntegrityError
from orchestrai.storage.base import Store
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.keys.encryption import Cipher
from orchestrai.vault.pieces.pack_reader import read_packed
from orchestrai.vault.reader import stream_file
from orchestrai.vault.verify.chunk_check import SeenChunks, read_chunks

if TYPE_CHECKING:
    from orchestrai.vault.verify.verification import Walk


class Held(NamedTuple):
    """A vault as its bytes are read: the store, the vault's name, what opens them."""

    store: Store
    vault: str
    cipher: Cipher | None


class Looked(NamedTuple):
    """What came of a group: how many files and bytes were looked at, and what is wrong, by object."""

    files: int
    bytes: int
    problems: list[tuple[str, str]]


def check_contents(walk: "Walk", sample: tuple[int, int] | None, progress: Progress | None) -> None:
    """Read back every file that the walk met, or a sample of them."""
    groups = _groups(walk, sample)
    vault = walk.vault
    results: Iterable[Looked]
    if vault.spread is not None and vault.spread.takes_bytes(sum(file.size for group in groups for file in group)):
        results = vault.spread.looked_at(vault, groups, progress)
    else:
        results = _looked_at(Held(vault.store, vault.identity(), vault.cipher), groups, progress)
    for looked in results:
        walk.read += looked.files
        walk.bytes += looked.bytes
        for key, problem in looked.problems:
            walk.note(key, problem)


def _groups(walk: "Walk", sample: tuple[int, int] | None) -> list[list[StoredFile]]:
    """Files that are read in one go, in a fixed order: those of one object, and one in chunks by itself."""
    by_key: dict[str, list[StoredFile]] = {}
    for file in walk.files.values():
        # chunks may be shared with any other file: each stands alone
        by_key.setdefault(file.sha256 if file.objects else file.key, []).append(file)
    return [by_key[key] for key in sorted(by_key) if _in_sample(key, sample)]


def _looked_at(held: Held, groups: Sequence[Sequence[StoredFile]], progress: Progress | None) -> Iterator[Looked]:
    seen: SeenChunks = {}
    for number, group in enumerate(groups, 1):
        yield look_at(held, group, seen)
        if progress is not None:
            progress("read back", number, len(groups))


def look_at(held: Held, group: Sequence[StoredFile], seen: SeenChunks) -> Looked:
    """Read a group; `seen` are the chunks that were read before, and is added to."""
    files = size = 0
    problems = []
    for file, problem in _read(held, group, seen):
        files += 1
        size += file.size
        if problem:
            problems.append((file.key, problem))
    return Looked(files, size, problems)


def _read(held: Held, group: Sequence[StoredFile], seen: SeenChunks) -> Iterator[tuple[StoredFile, str]]:
    if group[0].objects:
        for file in group:
            yield file, read_chunks(held, file, seen)
        return
    try:
        if group[0].pack >= 0:
            for file, _ in read_packed(*held, group, reuse=True):
                yield file, ""
        else:
            for file in group:
                for _ in stream_file(*held, file, reuse=True):
                    pass
                yield file, ""
    except IntegrityError as exc:
        yield group[0], exc.message


def _in_sample(key: str, sample: tuple[int, int] | None) -> bool:
    if sample is None:
        return True
    part, parts = sample
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % parts == part % parts
