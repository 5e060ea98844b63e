"""The commit protocol: how a snapshot becomes visible, whole, to everybody at once.

1. The session's record is written; its time by the store is the session's start. No clock of a client is believed.
2. The snapshots that count are read. Content they hold is referred to; presence of an object proves nothing.
3. Contents, lists and tree are written under keys that carry the session, so that no key is ever written twice.
4. The commit is created under the next number by put-if-absent; who loses the race takes the newest snapshot as parent and tries
   the next number, so every commit survives.
5. The commit counts only if its own time is at most MAX_SESSION after the start; every reader judges so, and the writer reads the
   time back before it says that the snapshot is kept.

Each step is a method of its own, so that the simulator can break one and show that it is found.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from orchestrai.contracts.json_value import JsonValue
from orchestrai.errors import ConcurrentCommit, ObjectExists, ObjectNotFound, SessionExpired
from orchestrai.ledger.canonical import canonical_json, dataset_version, sha256_hex
from orchestrai.storage.base import ObjectInfo
from orchestrai.vault.known import Known
from orchestrai.vault.layout import SESSIONS, SNAPSHOTS, commit_key, listing_key, numbered, tree_key
from orchestrai.vault.records import SnapshotCommit, open_commit
from orchestrai.vault.rows import StoredFile, StoredPartition, partition_root
from orchestrai.vault.source import SourceFile
from orchestrai.vault.writer import Writer

if TYPE_CHECKING:
    from orchestrai.vault.vault import Progress, Vault

MAX_ATTEMPTS = 100
# how many older lists are searched for content; the newest hold what is most likely met again
SEARCHED_SNAPSHOTS = 32
SEARCHED_LISTINGS = 256


@dataclass(frozen=True)
class Request:
    """What a session is asked to commit."""

    dataset: str
    contents: Mapping[str, Sequence[SourceFile]]
    drop: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    source: Mapping[str, JsonValue] = field(default_factory=dict)
    facts: Mapping[str, JsonValue] = field(default_factory=dict)


class WriteSession:
    """One run of a vault write; not to be used twice."""

    def __init__(self, vault: "Vault", request: Request, progress: "Progress | None" = None) -> None:
        self.vault = vault
        self.request = request
        self.progress = progress
        self.id = vault.new_id()
        self.started = datetime.min.replace(tzinfo=UTC)
        self.new_bytes = 0
        self.reused_bytes = 0
        self.reused_objects = 0
        self._others: Known | None = None
        self._writer: Writer | None = None

    def run(self) -> SnapshotCommit:
        """Commit the request, or return the newest snapshot when it holds exactly this already."""
        self.begin()
        base = self.read_base()
        entries = self.store_partitions(base.seen)
        commit = self.append(base, entries)
        if commit.session == self.id:
            self.acknowledge(commit)
        self.end()
        return commit

    # -- steps -----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Write the session's record and learn the start from the store."""
        key = f"{SESSIONS}{self.id}.json"
        self.vault.store.write(key, canonical_json({"session": self.id, "dataset": self.request.dataset}))
        try:
            self.started = self.vault.store.head(key).modified
        except ObjectNotFound as exc:
            # a prune takes away the record of a session that is too old to count
            raise SessionExpired(f"expected the record of session {self.id}, found it expired: run it again") from exc

    def read_base(self) -> "Base":
        """What to build on. The last number is read before the snapshots: whoever commits in between takes the next number."""
        last = self.last_commit()
        return Base(last, self.read_snapshots())

    def read_snapshots(self) -> list[SnapshotCommit]:
        """The snapshots whose content may be referred to."""
        return self.vault.catalog.visible(self.request.dataset)

    def store_partitions(self, seen: Sequence[SnapshotCommit]) -> dict[str, StoredPartition]:
        """Store what is new, list it; a partition that a seen snapshot holds unchanged is referred to whole."""
        before = {entry.partition: entry for entry in self.vault.catalog.tree(seen[-1])} if seen else {}
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

    def known_content(self, trees: Sequence[Sequence[StoredPartition]], partition: str) -> Known:
        """Content that the seen snapshots hold of one partition, newest first."""
        known = Known()
        lists = {entry.key: entry for tree in trees for entry in tree if entry.partition == partition}
        for entry in lists.values():
            known.add(self.vault.catalog.files(entry), entry.key)
        return known

    def other_content(self, trees: Sequence[Sequence[StoredPartition]]) -> Known:
        """Content that the newest snapshot holds of any partition, and what this session stored; read once."""
        if self._others is None:
            self._others = Known()
            newest = sorted(trees[0], key=lambda found: found.partition, reverse=True) if trees else []
            for entry in newest[:SEARCHED_LISTINGS]:
                self._others.add(self.vault.catalog.files(entry))
        return self._others

    def store_files(
        self,
        partition: str,
        sources: Sequence[SourceFile],
        known: Known,
        trees: Sequence[Sequence[StoredPartition]],
    ) -> list[StoredFile]:
        """Refer to what is known, store the rest, in the order of the sources."""
        files = [known.find(source) for source in sources]
        if any(file is None and source.sha256 for file, source in zip(files, sources, strict=True)):
            others = self.other_content(trees)
            files = [others.find(source) if file is None else file for file, source in zip(files, sources, strict=True)]
        first: dict[str, int] = {}
        missing = [
            number
            for number, (file, source) in enumerate(zip(files, sources, strict=True))
            if file is None and first.setdefault(source.sha256 or f"#{number}", number) == number
        ]
        stored = self.put_contents([sources[number] for number in missing], partition)
        known.add(stored)
        if self._others is not None:
            self._others.add(stored)
        for number, file in zip(missing, stored, strict=True):
            files[number] = file
        self.new_bytes += sum(file.size for file in stored)
        self.reused_bytes += sum(source.size for source in sources) - sum(file.size for file in stored)
        self.reused_objects += len(sources) - len(missing)
        found = [known.find(source) if file is None else file for file, source in zip(files, sources, strict=True)]
        return [file for file in found if file is not None]

    def put_contents(self, sources: Sequence[SourceFile], partition: str) -> list[StoredFile]:
        """Write contents, each hashed as it passes."""
        tell = self.progress

        def done(number: int, total: int) -> None:
            if tell is not None:
                tell(f"store {partition}", number, total)

        files = self.writer.put_all(sources, done)
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

    def append(self, base: "Base", entries: Mapping[str, StoredPartition]) -> SnapshotCommit:
        """Create the commit under the next number; on a lost race, on top of the winner's snapshot."""
        tree: dict[str, StoredPartition] | None = None
        for attempt in range(1, MAX_ATTEMPTS + 1):
            parent = base.seen[-1] if base.seen else None
            inherited = {entry.partition: entry for entry in self.vault.catalog.tree(parent)} if parent else {}
            merged = {k: v for k, v in inherited.items() if k not in self.request.drop} | dict(entries)
            if parent and merged == inherited and not self.request.tags:
                return parent
            if merged != tree:
                tree = merged
                place = self.put_tree(attempt, [tree[name] for name in sorted(tree)])
            self.vault.store.sync()
            commit = self.draft(tree, place, base.last)
            if self.create(commit):
                return commit
            base = self.read_base()
        raise ConcurrentCommit(
            f"expected to commit {self.request.dataset} within {MAX_ATTEMPTS} tries, found a rival each time: run it again"
        )

    def put_tree(self, attempt: int, entries: Sequence[StoredPartition]) -> "TreePlace":
        """Write the list of partitions."""
        key = tree_key(self.id, attempt)
        data = self.vault.seal("tree", key, self.id, self.vault.codec.encode_tree(entries))
        version = self.vault.store.write(key, data).version or ""
        return TreePlace(key, sha256_hex(data), len(data), version)

    def last_commit(self) -> tuple[int, str]:
        """Number and digest of the newest commit record, whether it counts or not; (0, "") where there is none."""
        last = 0
        for info in self.vault.store.list(f"{SNAPSHOTS}{self.request.dataset}/"):
            place = numbered(SNAPSHOTS, info.key)
            if place is not None and place[0] == self.request.dataset:
                last = max(last, place[1])
        return last, sha256_hex(self.vault.store.read(commit_key(self.request.dataset, last))) if last else ""

    def draft(self, tree: Mapping[str, StoredPartition], place: "TreePlace", last: tuple[int, str]) -> SnapshotCommit:
        """The commit to be tried."""
        request, entries = self.request, list(tree.values())
        return SnapshotCommit(
            vault=self.vault.identity(),
            dataset=request.dataset,
            seq=last[0] + 1,
            snapshot_id=self.id,
            session=self.id,
            previous=last[1],
            started=self.started.isoformat(),
            created=self.vault.clock().astimezone(UTC).isoformat(),
            version=dataset_version({name: entry.root for name, entry in tree.items()}),
            tree=place.key,
            tree_sha256=place.sha256,
            tree_length=place.length,
            tree_version=place.version,
            partitions=len(entries),
            files=sum(entry.files for entry in entries),
            rows=sum(entry.rows for entry in entries),
            size=sum(entry.size for entry in entries),
            changed=tuple(sorted({*request.contents, *request.drop})),
            new_bytes=self.new_bytes,
            reused_bytes=self.reused_bytes,
            tags=request.tags,
            source=dict(request.source),
            facts=dict(request.facts),
            encrypted=self.vault.encrypted,
        )

    def create(self, commit: SnapshotCommit) -> bool:
        """Put the commit if its number is free; an answer that was lost is settled by reading back."""
        key, envelope = commit_key(commit.dataset, commit.seq), commit.sign(self.vault.signer)
        try:
            self.vault.store.write(key, envelope, create=True)
        except ObjectExists:
            return self.vault.store.read(key) == envelope
        return True

    def acknowledge(self, commit: SnapshotCommit) -> None:
        """Raise SessionExpired when the commit came too late to count."""
        info = self.listed(commit_key(commit.dataset, commit.seq))
        if info.modified - self.started > self.vault.max_session:
            raise SessionExpired(
                f"expected snapshot {commit.seq} of {commit.dataset} within {self.vault.max_session} of its start, found "
                f"{info.modified - self.started}: it counts for nobody; run it again",
                dataset=commit.dataset,
            )

    def listed(self, key: str) -> ObjectInfo:
        """A record as a listing has it: some stores tell a listing's times to a millisecond and a single object's to a second."""
        return next(self.vault.store.list(key.removesuffix(".json")), None) or self.vault.store.head(key)

    def end(self) -> None:
        """Remove the session's record."""
        self.vault.store.delete(f"{SESSIONS}{self.id}.json")

    @property
    def writer(self) -> Writer:
        """What stores this session's contents."""
        if self._writer is None:
            vault = self.vault
            self._writer = Writer(vault.store, vault.identity(), self.id, vault.cipher, vault.workers)
        return self._writer

    def committed(self, commit: SnapshotCommit) -> SnapshotCommit:
        """The commit as readers see it: with the store's time and its digest."""
        key = commit_key(commit.dataset, commit.seq)
        info = self.listed(key)
        return open_commit(self.vault.keyring, self.vault.store.read(key), info.modified)


class TreePlace(NamedTuple):
    """Where the list of partitions was written."""

    key: str
    sha256: str
    length: int
    version: str


class Base(NamedTuple):
    """What a commit is built on: the last record's number and digest, and the snapshots that count, newest last."""

    last: tuple[int, str]
    seen: list[SnapshotCommit]


def _as_stored(source: SourceFile) -> StoredFile:
    return StoredFile(source.path, source.role, source.size, source.rows, source.sha256, "", "", -1, 0, 0)
