"""Step 3 of the commit protocol: contents and lists are stored, and what a snapshot that counts holds already is referred to."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from orchestrai.core.canonical import JsonValue, sha256_hex
from orchestrai.core.progress import Progress
from orchestrai.vault.commit.known_content import Known
from orchestrai.vault.commit.source import SourceFile
from orchestrai.vault.format.layout import listing_key
from orchestrai.vault.format.lists import StoredFile, StoredPartition, partition_root
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.format.tree_pages import Tree
from orchestrai.vault.vault_store import OpenedVault

if TYPE_CHECKING:
    from orchestrai.vault.commit.writer import Writer

# how many older lists are searched for content; the newest hold what is most likely met again
SEARCHED_SNAPSHOTS = 8
SEARCHED_LISTINGS = 256
# of the lists of other partitions, so few for little content, and one more for so many bytes that would be stored: reading a list
# costs about what storing these does
_AT_LEAST = 8
_BYTES_A_LIST = 64 * 1024


@dataclass(frozen=True)
class Request:
    """What a session is asked to commit; `after` is the number of a commit that is known to be there, so that none before it is listed.

    `only_changes`: where nothing differs from the newest snapshot that one stands, whatever the tags.
    """

    dataset: str
    contents: Mapping[str, Sequence[SourceFile]]
    drop: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    source: Mapping[str, JsonValue] = field(default_factory=dict)
    facts: Mapping[str, JsonValue] = field(default_factory=dict)
    after: int = 0
    only_changes: bool = False


class Wanted(NamedTuple):
    """One partition to be stored: its sources, what is known of it, which file each source is (None where nobody knows yet), and the
    places of those that are stored for it."""

    partition: str
    sources: Sequence[SourceFile]
    known: Known
    files: Sequence[StoredFile | None]
    missing: Sequence[int]

    @property
    def fresh(self) -> list[SourceFile]:
        """What is stored for it."""
        return [self.sources[number] for number in self.missing]


class StoringSession:
    """What a session stores, each object under a key of its own; not to be used twice."""

    def __init__(self, vault: OpenedVault, request: Request, progress: Progress | None = None) -> None:
        self.vault = vault
        self.request = request
        self.progress = progress
        self.id = vault.new_id()
        self.started = self.began = datetime.min.replace(tzinfo=UTC)
        self.fence = 0
        self.last = 0
        self.new_bytes = 0
        self.reused_bytes = 0
        self.reused_objects = 0
        self.fresh: list[SourceFile] = []
        # plain bytes that had to be stored, by partition
        self.stored_bytes: dict[str, int] = {}
        self.others = Known()
        self._unsearched: Iterator[str] | None = None
        self._searched = 0
        self._writer: Writer | None = None

    def store_partitions(self, seen: Sequence[SnapshotCommit]) -> dict[str, StoredPartition]:
        """Store what is new, list it; a partition that a seen snapshot holds unchanged is referred to whole."""
        before: Mapping[str, StoredPartition] = self.vault.catalog.tree(seen[-1]) if seen else {}
        entries: dict[str, StoredPartition] = {}
        changed: dict[str, Sequence[SourceFile]] = {}
        for partition, sources in sorted(self.request.contents.items()):
            entry = before.get(partition)
            if entry is not None and self.same_content(entry, sources):
                entries[partition] = entry
                self.reused_bytes += entry.size
                self.reused_objects += entry.files
            else:
                changed[partition] = sorted(sources, key=lambda source: source.path)
        trees = [self.vault.catalog.tree(commit) for commit in reversed(seen[-SEARCHED_SNAPSHOTS:])] if changed else []
        number = 0
        for batch in self.batches(changed):
            claimed: set[tuple[str, int]] = set()
            wanted = [self.look_up(partition, sources, trees, claimed) for partition, sources in batch.items()]
            for one, files in zip(wanted, self.store_batch(wanted), strict=True):
                number += 1
                entry = self.put_listing(number, one.partition, files, before.get(one.partition), one.known)
                entries[one.partition] = entry
                self.others.entries += [entry] if self._unsearched is not None else []
        return entries

    def batches(self, changed: Mapping[str, Sequence[SourceFile]]) -> Iterator[Mapping[str, Sequence[SourceFile]]]:
        """The partitions that are stored in one go: on executors many, here each by itself."""
        spread = self.vault.spread
        if spread is not None and spread.takes_contents(changed):
            yield from spread.batches(changed)
        else:
            yield from ({partition: sources} for partition, sources in changed.items())

    def same_content(self, entry: StoredPartition, sources: Sequence[SourceFile]) -> bool:
        """True when all hashes are known and give the partition's root."""
        if entry.files != len(sources) or not all(source.sha256 for source in sources):
            return False
        return entry.root == partition_root(map(_as_stored, sources))

    def known_content(self, trees: Sequence[Tree], partition: str) -> Known:
        """Content that the seen snapshots hold of one partition, newest first."""
        known = Known()
        rows = (tree.get(partition) for tree in trees)
        for entry in {entry.key: entry for entry in rows if entry is not None}.values():
            known.add(self.vault.catalog.files(entry), entry.key)
            known.entries.append(entry)
        return known

    def other_content(self, trees: Sequence[Tree], size: int) -> Known:
        """Content that the newest snapshot holds of any partition, and what this session stored.

        The newest partitions come first, and the more is looked for, the more of their lists are read, each once.
        """
        if self._unsearched is None:
            self._unsearched = islice(reversed(trees[0]) if trees else iter(()), SEARCHED_LISTINGS)
        wanted = _AT_LEAST + size // _BYTES_A_LIST - self._searched
        for partition in islice(self._unsearched, max(0, wanted)):
            self._searched += 1
            self.others.add(self.vault.catalog.files(trees[0][partition]))
            self.others.entries.append(trees[0][partition])
        return self.others

    def look_up(
        self, partition: str, sources: Sequence[SourceFile], trees: Sequence[Tree], claimed: set[tuple[str, int]]
    ) -> Wanted:
        """What of a partition is known, and what has to be stored: each content once, so not what is `claimed` already."""
        # an older list finds a file by its hash alone: no token comes back once the file has had another
        known = self.known_content(trees if any(source.sha256 for source in sources) else trees[:1], partition)
        files = [known.find(source) for source in sources]
        unknown = [source for file, source in zip(files, sources, strict=True) if file is None and source.sha256]
        if unknown:
            others = self.other_content(trees, sum(source.size for source in unknown))
            files = [others.find(source) if file is None else file for file, source in zip(files, sources, strict=True)]
        missing = []
        for number, (file, source) in enumerate(zip(files, sources, strict=True)):
            content = (source.sha256 or f"{partition}#{number}", source.size)
            if file is None and content not in claimed:
                claimed.add(content)
                missing.append(number)
        return Wanted(partition, sources, known, files, missing)

    def store_batch(self, batch: Sequence[Wanted]) -> list[list[StoredFile]]:
        """Store what is missing of some partitions; the files of each, in the order of the sources."""
        spread = self.vault.spread
        if spread is not None and spread.takes_contents({one.partition: one.fresh for one in batch}):
            stored = spread.put_contents(self, batch)
        else:
            # where nothing is new nothing that stores is made, and none of what it needs is loaded
            stored = [self.put_contents(one.fresh, one.partition, one.known) if one.fresh else [] for one in batch]
        for one, files in zip(batch, stored, strict=True):
            self.fresh += one.fresh
            one.known.add(files)
            if self._unsearched is not None:
                self.others.add(files)
        return [self.settle(one, files) for one, files in zip(batch, stored, strict=True)]

    def settle(self, one: Wanted, stored: Sequence[StoredFile]) -> list[StoredFile]:
        """The files of a partition, once what was missing is stored; counts what was reused."""
        files = list(one.files)
        for number, file in zip(one.missing, stored, strict=True):
            files[number] = file
        new = self.stored_bytes.pop(one.partition, 0)
        self.new_bytes += new
        self.reused_bytes += sum(source.size for source in one.sources) - new
        self.reused_objects += len(one.sources) - len(one.missing)
        results = [
            one.known.find(source) or self.others.find(source) if file is None else file
            for file, source in zip(files, one.sources, strict=True)
        ]
        return [file for file in results if file is not None]

    def put_contents(self, sources: Sequence[SourceFile], partition: str, known: Known | None = None) -> list[StoredFile]:
        """Write contents, each hashed as it passes; chunks that are known are referred to."""
        tell = self.progress

        def done(number: int, total: int) -> None:
            if tell is not None:
                tell(f"store {partition}", number, total)

        if known is not None and self.others is not None:
            known.beside(self.others)
        before = self.writer.new_bytes
        files = self.writer.put_all(sources, done, known)
        self.stored_bytes[partition] = self.writer.new_bytes - before
        by_path = {file.path: file for file in files}
        return [by_path[source.path] for source in sources]

    def put_listing(
        self, number: int, partition: str, files: list[StoredFile], before: StoredPartition | None, known: Known
    ) -> StoredPartition:
        """Write the list of a partition's files."""
        if before is not None and known.lists.get(before.key) == files:
            return before
        key = listing_key(self.id, number)
        root = partition_root(files)
        data = self.vault.seal("listing", key, self.id, self.vault.codec.encode_files(files))
        version = self.vault.store.write(key, data).version or ""
        rows = sum(file.rows for file in files if file.role == "data")
        size = sum(file.size for file in files)
        return StoredPartition(partition, root, rows, size, len(files), key, self.id, sha256_hex(data), len(data), version)

    @property
    def writer(self) -> "Writer":
        """What stores this session's contents."""
        if self._writer is None:
            from orchestrai.vault.commit.writer import Writer

            vault = self.vault
            self._writer = Writer(vault.store, vault.identity(), self.id, vault.cipher, vault.workers)
        return self._writer


def _as_stored(source: SourceFile) -> StoredFile:
    return StoredFile(source.path, source.role, source.size, source.rows, source.sha256, "", "", -1, 0, 0)
