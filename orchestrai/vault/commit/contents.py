"""Step 3 of the commit protocol: contents and lists are stored, and what a snapshot that counts holds already is referred to."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

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
    """What a session is asked to commit; `after` is the number of a commit that is known to be there, so that none before it is listed."""

    dataset: str
    contents: Mapping[str, Sequence[SourceFile]]
    drop: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    source: Mapping[str, JsonValue] = field(default_factory=dict)
    facts: Mapping[str, JsonValue] = field(default_factory=dict)
    after: int = 0


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
        self._others = Known()
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
        for number, (partition, sources) in enumerate(changed.items(), 1):
            # an older list finds a file by its hash alone: no token comes back once the file has had another
            known = self.known_content(trees if any(source.sha256 for source in sources) else trees[:1], partition)
            files = self.store_files(partition, sources, known, trees)
            entries[partition] = self.put_listing(number, partition, files, before.get(partition), known)
        return entries

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
            self._others.add(self.vault.catalog.files(trees[0][partition]))
        return self._others

    def store_files(
        self,
        partition: str,
        sources: Sequence[SourceFile],
        known: Known,
        trees: Sequence[Tree],
    ) -> list[StoredFile]:
        """Refer to what is known, store the rest, in the order of the sources."""
        files = [known.find(source) for source in sources]
        unknown = [source for file, source in zip(files, sources, strict=True) if file is None and source.sha256]
        if unknown:
            others = self.other_content(trees, sum(source.size for source in unknown))
            files = [others.find(source) if file is None else file for file, source in zip(files, sources, strict=True)]
        first: dict[str, int] = {}
        missing = [
            number
            for number, (file, source) in enumerate(zip(files, sources, strict=True))
            if file is None and first.setdefault(source.sha256 or f"#{number}", number) == number
        ]
        fresh = [sources[number] for number in missing]
        # where nothing is new nothing that stores is made, and none of what it needs is loaded
        stored = self.put_contents(fresh, partition, known) if fresh else []
        self.fresh += fresh
        known.add(stored)
        if self._unsearched is not None:
            self._others.add(stored)
        for number, file in zip(missing, stored, strict=True):
            files[number] = file
        new = self._writer.new_bytes - self.new_bytes if self._writer is not None else 0
        self.new_bytes += new
        self.reused_bytes += sum(source.size for source in sources) - new
        self.reused_objects += len(sources) - len(missing)
        results = [known.find(source) if file is None else file for file, source in zip(files, sources, strict=True)]
        return [file for file in results if file is not None]

    def put_contents(self, sources: Sequence[SourceFile], partition: str, known: Known | None = None) -> list[StoredFile]:
        """Write contents, each hashed as it passes; chunks that are known are referred to."""
        tell = self.progress

        def done(number: int, total: int) -> None:
            if tell is not None:
                tell(f"store {partition}", number, total)

        if known is not None and self._others is not None:
            known.beside(self._others)
        files = self.writer.put_all(sources, done, known)
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
