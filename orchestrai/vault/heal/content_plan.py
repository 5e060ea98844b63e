"""Which lists, packs and objects of which copy are mended, and from where: all that a counted snapshot of it names, and nothing else.

What is forgotten and pruned in one copy is named by none of its snapshots, so it does not come back from another.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from orchestrai.core.progress import Progress
from orchestrai.core.tree.paged_tree import Content, Subtree
from orchestrai.errors import (
    AccessRefused,
    DigestMismatch,
    IntegrityError,
    MissingObject,
    ObjectNotFound,
    StorageError,
    TransientStorageError,
)
from orchestrai.storage.base import Store
from orchestrai.vault.format.chunk_table import chunks_of
from orchestrai.vault.format.lists import PagePlace, StoredFile, StoredPartition
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.pieces.chunk_reader import proven_chunks
from orchestrai.vault.pieces.object_reads import pinned
from orchestrai.vault.pieces.pack_reader import read_packed
from orchestrai.vault.reader import chunk_source
from orchestrai.vault.replica.copies import MendedView
from orchestrai.vault.vault import Vault

T = TypeVar("T")
# reads what a snapshot needs by a vault, and raises where it is not as it was written
Proof = Callable[[Vault], object]
Users = dict[tuple[str, int, str], tuple[str, ...]]


@dataclass
class CopyContents:
    """What one copy lacks: `wrong` by key with the problem (`missing` are those that are not there), `sources` where another store
    proves right, `unread` what did not answer, `lost` what loses by a key that no copy has. `proofs` look at a key again.
    """

    wrong: dict[str, str] = field(default_factory=dict)
    sources: dict[str, Store] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    proofs: dict[str, Proof] = field(default_factory=dict)
    lost: dict[str, Users] = field(default_factory=dict)
    bytes: int = 0


class ContentReader:
    """Reads all that the counted snapshots of a copy need, each object from the copy or else from another."""

    def __init__(self, vault: Vault, view: MendedView, others: Sequence[Store], progress: Progress | None = None) -> None:
        self.vault = vault
        self.view = view
        self.others = others
        self.progress = progress
        self.contents = CopyContents()
        self._culprit = ""

    def run(self) -> CopyContents:
        """Read every list, then every byte."""
        files = self._lists()
        lost: set[str] = set()
        for number, (key, group) in enumerate(files.items(), 1):
            self.contents.bytes += next(place.length for place in group[0].places if place.key == key)
            if self._proven(key, _reading(key, group)) is None:
                lost.add(key)
            if self.progress is not None:
                self.progress(f"read {self.view.url}", number, len(files))
        for key, commit, entry in self.naming(lost):
            self._lose(key, commit, entry.partition)
        return self.contents

    def commits(self) -> list[SnapshotCommit]:
        """The snapshots that count in the copy once its records are mended."""
        return self.vault.catalog.visible(strict=False)

    def _lists(self) -> dict[str, list[StoredFile]]:
        files: dict[tuple[str | int, ...], StoredFile] = {}
        lists: dict[tuple[str, str], str] = {}
        seen: set[Subtree[PagePlace]] = set()
        for commit in self.commits():
            for entry in self._rows(commit, seen) or ():
                if (entry.key, entry.sha256) not in lists:
                    listed = self._proven(entry.key, _listing(entry))
                    # under which key nothing proves right, where that is so
                    lists[entry.key, entry.sha256] = "" if listed is not None else self._culprit
                    files |= {file.where: file for file in listed or ()}
        if any(lists.values()):
            for commit in self.commits():
                for entry in self._rows(commit) or ():
                    if culprit := lists[entry.key, entry.sha256]:
                        self._lose(culprit, commit, entry.partition)
        by_key: dict[str, list[StoredFile]] = {}
        for file in files.values():
            for place in file.places:
                by_key.setdefault(place.key, []).append(file)
        return dict(sorted(by_key.items()))

    def _rows(self, commit: SnapshotCommit, seen: set[Subtree[PagePlace]] | None = None) -> list[StoredPartition] | None:
        """The partitions of a snapshot, of those pages that were not `seen`, which are added; None where none proves right."""
        fresh = self._proven(commit.tree, _pages(commit, frozenset(seen or ())))
        if fresh is None:
            if seen is not None:
                self._lose(self._culprit, commit)
            return None
        if seen is not None:
            seen.update(page for page, _ in fresh)
        return [entry for page, content in fresh if page.height == 0 for entry in content]

    def _proven(self, key: str, read: Callable[[Vault], T]) -> T | None:
        """What is read, from the copy or where it is not right there from another; None where none proves right."""
        left: dict[str, list[Store]] = {}
        while True:
            try:
                value = read(self.vault)
            except (TransientStorageError, AccessRefused):
                raise
            except (IntegrityError, StorageError) as exc:
                # a list is read by others on the way, which are named
                named = str(exc.fields.get("key") or key) if isinstance(exc, IntegrityError) else key
                first = named not in left
                sources = left.setdefault(named, list(self.others))
                if first and named not in self.contents.wrong:
                    table = self.contents.wrong if isinstance(exc, IntegrityError | ObjectNotFound) else self.contents.unread
                    table[named] = exc.message
                    if isinstance(exc, MissingObject | ObjectNotFound):
                        self.contents.missing.add(named)
                    self.contents.proofs[named] = read
                if not sources:
                    self.view.redirected.pop(named, None)
                    self.contents.sources.pop(named, None)
                    self._culprit = named
                    return None
                self.view.redirected[named] = self.contents.sources[named] = sources.pop(0)
                continue
            return value

    def _lose(self, key: str, commit: SnapshotCommit, partition: str | None = None) -> None:
        losses = self.contents.lost.setdefault(key, {})
        place = (commit.dataset, commit.seq, commit.snapshot_id)
        losses[place] = (*losses.get(place, ()), *(() if partition is None else (partition,)))

    def naming(self, keys: Collection[str]) -> Iterator[tuple[str, SnapshotCommit, StoredPartition]]:
        """Of these objects each, with the snapshots and partitions that need it."""
        needs: dict[tuple[str, str], set[str]] = {}
        wanted = set(keys)
        for commit in self.commits() if keys else ():
            pages = self._proven(commit.tree, _pages(commit, frozenset())) or []
            above = {commit.tree, *(page.place.key for page, _ in pages)} & wanted
            for page, content in pages:
                for entry in content if page.height == 0 else ():
                    place = (entry.key, entry.sha256)
                    if place not in needs:
                        listed = self._proven(entry.key, _listing(entry)) or []
                        needs[place] = {entry.key, *(stored.key for file in listed for stored in file.places)} & wanted
                    for key in sorted(needs[place] | above):
                        yield key, commit, entry


def _pages(
    commit: SnapshotCommit, seen: frozenset[Subtree[PagePlace]]
) -> Callable[[Vault], list[tuple[Subtree[PagePlace], Content]]]:
    def read(vault: Vault) -> list[tuple[Subtree[PagePlace], Content]]:
        # one that has read nothing: what was read of another copy proves nothing of this one
        return list(vault.catalog.anew().tree(commit).fresh(seen=set(seen)))

    return read


def _listing(entry: StoredPartition) -> Callable[[Vault], list[StoredFile]]:
    return lambda vault: vault.catalog.files(entry)


def _reading(key: str, group: Sequence[StoredFile]) -> Callable[[Vault], bool]:
    """The proof of one object: it is as long as its files say, and each of their bytes in it hashes as they say."""
    stored = next(place for place in group[0].places if place.key == key)

    def read(vault: Vault) -> bool:
        size = pinned(key, stored.version, lambda version: vault.store.head(key, version=version).size)
        if size != stored.length:
            raise DigestMismatch(f"expected {stored.length} bytes, found {size}", key=key)
        whole = [file for file in group if not file.objects]
        if whole and whole[0].pack < 0:
            for one in whole:
                for _ in vault.stream(one, reuse=True):
                    pass
        elif whole:
            for _ in read_packed(vault.store, vault.identity(), vault.cipher, whole, reuse=True):
                pass
        _read_chunks(vault, key, [file for file in group if file.objects])
        return True

    return read


def _read_chunks(vault: Vault, key: str, files: Sequence[StoredFile]) -> None:
    """Read the chunks of files that lie in one object, each once; raises MissingObject, DigestMismatch."""
    read: set[tuple[int, bytes]] = set()
    for file in files:
        here = [chunk for chunk in chunks_of(file.table) if file.objects[chunk.place].key == key]
        new = [chunk for chunk in here if (chunk.offset, chunk.sha256) not in read]
        read.update((chunk.offset, chunk.sha256) for chunk in new)
        rows = file._replace(table=b"".join(chunk.pack() for chunk in new))
        with chunk_source(vault.store, vault.identity(), vault.cipher, file) as source:
            for _ in proven_chunks(source, rows) if new else ():
                pass
