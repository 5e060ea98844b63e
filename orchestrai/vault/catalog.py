"""What the vault holds: which snapshots count, what they list."""

from collections.abc import Callable

from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import DigestMismatch, NotCounted
from orchestrai.ledger.signing import Keyring
from orchestrai.storage.base import Store
from orchestrai.vault.chain.chain_head import Head
from orchestrai.vault.chain.chain_reader import ChainReader
from orchestrai.vault.format.layout import FORGOTTEN, SNAPSHOTS, commit_key, numbered, tombstone_key
from orchestrai.vault.format.lists import Codec, PagePlace, StoredFile, StoredPartition
from orchestrai.vault.format.records import ChainNote, ChainRecord, SnapshotCommit
from orchestrai.vault.format.tree_pages import Tree, TreePages, root_span
from orchestrai.vault.keys.encryption import Cipher, context
from orchestrai.vault.pieces.object_reads import pinned

# how many records are looked at for each snapshot that is wanted
PASSED_OVER = 4
# how many numbers back a snapshot is looked for that still counts
_LOOKED_BACK = 32
# objects of trees whose bytes are kept: a tree's newest pages lie in the object of its root
_OBJECTS_KEPT = 64
# lists of files that were decoded: the partition that grows is asked for by each stage of a minute
_LISTS_KEPT = 16


class Catalog(ChainReader):
    """Reads commits and lists, each verified; keeps what it read, since nothing in the vault changes."""

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        vault: Callable[[], str],
        codec: Codec,
        cipher: Callable[[], Cipher | None],
    ) -> None:
        super().__init__(store, keyring, vault)
        self.codec = codec
        self.cipher = cipher
        self.pages = TreePages(codec, self._page)
        self._trees: dict[str, Tree] = {}
        self._objects: dict[str, bytes] = {}
        self._lists: dict[tuple[str, str], list[StoredFile]] = {}

    def anew(self) -> "Catalog":
        """One that has read nothing, for who must see the store as it is now."""
        return type(self)(self.store, self.keyring, self.vault, self.codec, self.cipher)

    # -- which snapshots count -------------------------------------------------------------------------------

    def commits(self, dataset: str | None = None, *, strict: bool = True) -> list[SnapshotCommit]:
        """Every commit by dataset and number, the forgotten ones too.

        A damaged record raises, unless it was forgotten or `strict` is off.
        """
        return [record for record in self.records(dataset, strict=strict) if isinstance(record, SnapshotCommit)]

    def visible(self, dataset: str | None = None, *, strict: bool = True) -> list[SnapshotCommit]:
        """The snapshots that count: those that are signed for their place and were not forgotten, by dataset and number."""
        stones = self.tombstones(dataset, strict=strict)
        records = self.records(dataset, strict=strict)
        holds = {note.dataset: note.seq for note in records if isinstance(note, ChainNote) and note.kind == "hold"}
        gone = {
            (name, seq)
            for name in {name for name, _ in stones}
            for seq in self.standing(name, {seq for of, seq in stones if of == name}, holds.get(name, 0))
        }
        gone |= {(note.dataset, seq) for note in records if isinstance(note, ChainNote) for seq in note.forgotten_numbers}
        return [c for c in records if isinstance(c, SnapshotCommit) and (c.dataset, c.seq) not in gone]

    def recent(self, dataset: str, limit: int, last: int = 0) -> list[SnapshotCommit]:
        """The newest snapshots that count, at most `limit`, by number; what is older is not read.

        `last` is the number of a record that is there: from far enough before it on the records are listed, at first. Raises as `commits`
        does for what it meets. Tombstones are listed first, so that what is forgotten meanwhile is still told.
        """
        after = max(0, (last or self.near_end(dataset)) - limit * PASSED_OVER)
        gone = {numbered(FORGOTTEN, info.key): info for info in self.infos(FORGOTTEN, dataset, after)}
        fenced: set[int] | None = None
        standing: set[int] | None = None
        commits: list[SnapshotCommit] = []
        for looked, info in enumerate(reversed(list(self.infos(SNAPSHOTS, dataset, after)))):
            if len(commits) == limit or (commits and looked >= limit * PASSED_OVER):
                break
            tombstone = gone.get(numbered(SNAPSHOTS, info.key))
            if tombstone is not None and self.is_tombstone(tombstone):
                if standing is None:
                    standing = self.standing(dataset, {place[1] for place in gone if place}, self.head(dataset, after).holds)
                if (numbered(SNAPSHOTS, info.key) or ("", 0))[1] in standing:
                    continue
            try:
                record = self.record(info)
            except NotCounted:
                continue
            if fenced is None:
                fenced = self._fenced_by(record)
            if isinstance(record, SnapshotCommit) and record.seq not in fenced:
                commits.append(record)
        return commits[::-1] if commits or not after else self.visible(dataset)[-limit:]

    def at(self, dataset: str, seq: int) -> SnapshotCommit | None:
        """One snapshot by its number, where it counts; None otherwise. Raises as `commits`."""
        info = self.info(commit_key(dataset, seq))
        if info is None:
            return None
        stone = self.info(tombstone_key(dataset, seq))
        if stone is not None and self.is_tombstone(stone):
            if self.standing(dataset, {seq}, self.head(dataset, seq).holds):
                return None
        try:
            record = self.record(info)
        except NotCounted:
            return None
        # a fence that calls it forgotten lies behind it
        forgotten = seq in self.fenced(dataset, self.head(dataset, seq).fence)
        return None if isinstance(record, ChainNote) or forgotten else record

    def shown_before(self, dataset: str, seq: int, head: Head | None = None) -> SnapshotCommit | None:
        """The newest snapshot up to number `seq` that counts; None where there is none among the last numbers. Raises as `commits`.

        `head` is the end of the chain, where it is known.
        """
        if not seq or not self.has(dataset, seq):
            return None
        head = self.head(dataset, seq) if head is None else head
        fenced = self.fenced(dataset, head.fence)
        for number in range(seq, max(0, seq - _LOOKED_BACK), -1):
            info = None if number in fenced else self.info(commit_key(dataset, number))
            stone = self.info(tombstone_key(dataset, number)) if info is not None else None
            if info is None or (
                stone is not None and self.is_tombstone(stone) and self.standing(dataset, {number}, head.holds)
            ):
                continue
            try:
                record = self.record(info)
            except NotCounted:
                continue
            if isinstance(record, SnapshotCommit):
                return record
        return None

    def _fenced_by(self, record: ChainRecord) -> set[int]:
        """The numbers that the newest fence up to a record calls forgotten."""
        newest = record.seq if isinstance(record, ChainNote) and record.kind == "fence" else record.fence
        return self.fenced(record.dataset, newest)

    # -- what they list --------------------------------------------------------------------------------------

    def tree(self, commit: SnapshotCommit) -> Tree:
        """The partitions of a snapshot, whose pages are read as they are needed; raises MissingObject, DigestMismatch."""
        tree = self._trees.get(commit.tree_sha256)
        if tree is None:
            data = self._proven(commit.tree, commit.tree_sha256, commit.tree_version)
            if len(self._objects) >= _OBJECTS_KEPT:
                self._objects.clear()
            self._objects[commit.tree] = data
            offset, length = root_span(data)
            session, number = commit.tree.split("/")[2:]
            stored = data[offset : offset + length]
            place = PagePlace(session, int(number), offset, length, sha256_hex(stored), commit.tree_version)
            tree = self._trees[commit.tree_sha256] = self.pages.root(place, self._opened("tree", commit.tree, place, stored))
        return tree

    def files(self, entry: StoredPartition) -> list[StoredFile]:
        """The files of a partition; raises MissingObject, DigestMismatch."""
        data = self._proven(entry.key, entry.sha256, entry.version)
        place = (entry.key, entry.sha256)
        found = self._lists.get(place)
        if found is None:
            found = self.codec.decode_files(self._opened("listing", entry.key, PagePlace(entry.session, 0, 0, 0, ""), data))
            if len(self._lists) >= _LISTS_KEPT:
                self._lists.clear()
            self._lists[place] = found
        return list(found)

    def _page(self, place: PagePlace) -> bytes:
        """A page of a tree, opened; raises MissingObject, DigestMismatch."""
        key, start, length = place.key, place.offset, place.length
        data = self._objects.get(key)
        if data is None:
            stored = pinned(key, place.version, lambda at: self.store.read(key, version=at, start=start, length=length))
        else:
            stored = data[start : start + length]
        self.require_page(place, stored)
        return self._opened("tree", key, place, stored)

    def require_page(self, place: PagePlace, stored: bytes) -> None:
        """Raise DigestMismatch unless these are the bytes of the page that is referred to."""
        if sha256_hex(stored) != place.sha256:
            raise DigestMismatch(
                f"expected the page at {place.offset} of {place.key} to hash to what refers to it, found other bytes: "
                "run `orchestrai vault heal --apply`",
                key=place.key,
            )

    def _proven(self, key: str, sha256: str, version: str) -> bytes:
        data = pinned(key, version, lambda at: self.store.read(key, version=at))
        if sha256_hex(data) != sha256:
            raise DigestMismatch(
                f"expected {key} to hash to what its commit says, found other bytes: run `orchestrai vault heal --apply`",
                key=key,
            )
        return data

    def _opened(self, kind: str, key: str, place: PagePlace, stored: bytes) -> bytes:
        cipher = self.cipher()
        if cipher is None:
            return stored
        return b"".join(cipher.open(context(self.vault(), kind, key, place.session, place.offset), [stored]))
