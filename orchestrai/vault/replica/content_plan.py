"""Which lists, packs and objects of which copy are mended, and from where: all that a counted snapshot of it names, and nothing else.

What is forgotten and pruned in one copy is named by none of its snapshots, so it does not come back from another.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from orchestrai.core.progress import Progress
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
from orchestrai.vault.format.lists import StoredFile, StoredPartition
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.reader import pinned, read_packed
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
            self.contents.bytes += group[0].object_length
            if self._proven(key, _reading(group)) is None:
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
        files: dict[tuple[str, int, int], StoredFile] = {}
        lists: dict[tuple[str, str], str] = {}
        for commit in self.commits():
            for entry in self._tree(commit):
                if (entry.key, entry.sha256) not in lists:
                    listed = self._proven(entry.key, _listing(entry))
                    # under which key nothing proves right, where that is so
                    lists[entry.key, entry.sha256] = "" if listed is not None else self._culprit
                    files |= {(file.key, file.offset, file.length): file for file in listed or ()}
                culprit = lists[entry.key, entry.sha256]
                if culprit:
                    self._lose(culprit, commit, entry.partition)
        by_key: dict[str, list[StoredFile]] = {}
        for file in files.values():
            by_key.setdefault(file.key, []).append(file)
        return dict(sorted(by_key.items()))

    def _tree(self, commit: SnapshotCommit) -> list[StoredPartition]:
        entries = self._proven(commit.tree, _partitions(commit))
        if entries is None:
            self._lose(self._culprit, commit)
        return entries or []

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
        for commit in self.commits() if keys else ():
            for entry in self._tree(commit):
                place = (entry.key, entry.sha256)
                if place not in needs:
                    listed = self._proven(entry.key, _listing(entry)) or []
                    needs[place] = {key for key in (entry.key, *(file.key for file in listed)) if key in keys}
                for key in sorted(needs[place] | ({commit.tree} & set(keys))):
                    yield key, commit, entry


def _partitions(commit: SnapshotCommit) -> Callable[[Vault], list[StoredPartition]]:
    def read(vault: Vault) -> list[StoredPartition]:
        vault.catalog.forget_read(commit)
        return vault.catalog.tree(commit)

    return read


def _listing(entry: StoredPartition) -> Callable[[Vault], list[StoredFile]]:
    return lambda vault: vault.catalog.files(entry)


def _reading(group: Sequence[StoredFile]) -> Callable[[Vault], bool]:
    def read(vault: Vault) -> bool:
        file = group[0]
        size = pinned(file.key, file.version, lambda version: vault.store.head(file.key, version=version)).size
        if size != file.object_length:
            raise DigestMismatch(f"expected {file.object_length} bytes, found {size}", key=file.key)
        if file.pack < 0:
            for one in group:
                for _ in vault.stream(one, reuse=True):
                    pass
            return True
        for _ in read_packed(vault.store, vault.identity(), vault.cipher, group, reuse=True):
            pass
        return True

    return read
