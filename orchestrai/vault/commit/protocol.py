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
from datetime import UTC
from typing import NamedTuple

from orchestrai.core.canonical import canonical_json, dataset_version, sha256_hex
from orchestrai.errors import ConcurrentCommit, ObjectExists, ObjectNotFound, SessionExpired
from orchestrai.storage.base import ObjectInfo
from orchestrai.vault.commit.contents import SEARCHED_SNAPSHOTS, Request, StoringSession
from orchestrai.vault.format.layout import SESSIONS, SNAPSHOTS, commit_key, numbered, tree_key
from orchestrai.vault.format.lists import StoredPartition
from orchestrai.vault.format.records import SnapshotCommit, open_commit

__all__ = ["Base", "Request", "TreePlace", "WriteSession"]

MAX_ATTEMPTS = 100


class WriteSession(StoringSession):
    """One run of a vault write; not to be used twice."""

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
        self.last = last[0]
        return Base(last, self.read_snapshots())

    def read_snapshots(self) -> list[SnapshotCommit]:
        """The snapshots whose content may be referred to; the newest suffice."""
        return self.vault.catalog.recent(self.request.dataset, SEARCHED_SNAPSHOTS, self.last)

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
        dataset, store = self.request.dataset, self.vault.store
        last = self.request.after
        start = commit_key(dataset, last) if last else None
        for info in store.list(f"{SNAPSHOTS}{dataset}/", start_after=start):
            place = numbered(SNAPSHOTS, info.key)
            if place is not None and place[0] == dataset:
                last = max(last, place[1])
        return last, sha256_hex(store.read(commit_key(dataset, last))) if last else ""

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
    """What a commit is built on: the last record's number and digest, and the newest snapshots that count, the very newest last."""

    last: tuple[int, str]
    seen: list[SnapshotCommit]
