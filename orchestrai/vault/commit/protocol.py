"""The commit protocol: how a snapshot becomes visible, whole, to everybody at once.

1. The session's record is written; its time by the store is the session's start, from which the times of its records are counted.
2. The chain is opened, where it has no record yet. Its head is read, then the snapshots that count. Content they hold is referred to;
   presence of an object proves nothing.
3. Contents, lists and tree are written under keys that carry the session, so that no key is ever written twice.
4. The commit is created under the next number by put-if-absent; who loses the race reads the chain again, takes the newest snapshot
   as parent and tries the next number, so every commit survives.
5. Whoever meets a fence, a prune's note that it is about to delete, refers to nothing of what that prune has condemned: the session
   begins anew under another name if it would.

No time decides whether a commit counts. Each step is a method of its own, so that the simulator can break one and show that it is found.
"""

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC
from typing import NamedTuple

from orchestrai.core.canonical import canonical_json, dataset_version, sha256_hex
from orchestrai.errors import ConcurrentCommit, IntegrityError, MissingObject, ObjectNotFound, SessionExpired
from orchestrai.vault.chain import EMPTY, Head
from orchestrai.vault.change.measure import FACT, SnapshotChange, measure, sampled
from orchestrai.vault.commit.chain_append import MAX_ATTEMPTS, open_chain, put_record
from orchestrai.vault.commit.contents import SEARCHED_SNAPSHOTS, Request, StoringSession
from orchestrai.vault.format.layout import SESSIONS, commit_key, tree_key
from orchestrai.vault.format.lists import StoredPartition
from orchestrai.vault.format.records import ChainNote, SnapshotCommit, open_commit

__all__ = ["Base", "Request", "TreePlace", "WriteSession"]


class WriteSession(StoringSession):
    """One run of a vault write; not to be used twice."""

    change = SnapshotChange()

    def run(self) -> SnapshotCommit:
        """Commit the request, or return the newest snapshot when it holds exactly this already.

        Raises SessionExpired where a prune has condemned what the session stands on: another session is to do it.
        """
        self.begin()
        base = self.read_base()
        self.fence = base.head.fence
        try:
            commit = self.append(base, self.store_partitions(base.seen))
        except MissingObject as exc:
            # a snapshot that this session had looked at was forgotten, and a prune took its lists meanwhile
            if self.read_head().fence == self.fence:
                raise
            raise SessionExpired(
                f"{exc.message}; a prune took it meanwhile: run it again", dataset=self.request.dataset
            ) from exc
        self.end()
        return commit

    # -- steps -----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Write the session's record and learn the start from the store."""
        self.vault.establish()
        key = f"{SESSIONS}{self.id}.json"
        self.vault.store.write(key, canonical_json({"session": self.id, "dataset": self.request.dataset}))
        self.began = self.vault.clock()
        try:
            self.started = self.vault.store.head(key).modified
        except ObjectNotFound as exc:
            # a prune takes away the record of a session that looks dead to it
            raise SessionExpired(f"expected the record of session {self.id}, found it expired: run it again") from exc

    def read_base(self) -> "Base":
        """What to build on. The head is read before the snapshots: whoever commits or fences in between takes the next number."""
        head = self.read_head()
        if head.seq == EMPTY:
            self.open_chain()
            head = self.read_head()
        self.last = head.seq
        return Base(head, self.read_snapshots())

    def read_head(self) -> Head:
        """The end of the dataset's chain."""
        return self.vault.catalog.head(self.request.dataset, self.request.after)

    def open_chain(self) -> None:
        """Begin the dataset's chain, before anything of the dataset is written."""
        open_chain(self.vault, self.request.dataset, self.id, self.started)

    def read_snapshots(self) -> list[SnapshotCommit]:
        """The snapshots whose content may be referred to; the newest suffice."""
        return self.vault.catalog.recent(self.request.dataset, SEARCHED_SNAPSHOTS, self.last)

    def append(self, base: "Base", entries: Mapping[str, StoredPartition]) -> SnapshotCommit:
        """Create the commit under the next number; on a lost race, on top of the winner's snapshot."""
        tree: dict[str, StoredPartition] | None = None
        place: TreePlace | None = None
        content = sampled(self.fresh)
        for attempt in range(1, MAX_ATTEMPTS + 1):
            self.require_spared(base.head, entries, place)
            parent = base.seen[-1] if base.seen else None
            inherited = {entry.partition: entry for entry in self.vault.catalog.tree(parent)} if parent else {}
            merged = {k: v for k, v in inherited.items() if k not in self.request.drop} | dict(entries)
            if parent and merged == inherited and not self.request.tags:
                return parent
            if merged != tree or place is None:
                tree = merged
                place = self.put_tree(attempt, [tree[name] for name in sorted(tree)])
            self.vault.store.sync()
            self.change = measure(inherited, parent.size if parent else 0, entries, self.request.drop, content)
            commit = self.draft(tree, place, base.head)
            if self.create(commit):
                return commit
            base = self.read_base()
        raise ConcurrentCommit(
            f"expected to commit {self.request.dataset} within {MAX_ATTEMPTS} tries, found a rival each time: run it again"
        )

    def require_spared(self, head: Head, entries: Mapping[str, StoredPartition], place: "TreePlace | None") -> None:
        """Raise SessionExpired where a fence since the session's first look condemns what it wrote or refers to.

        What it inherits from its parent was read after the fence, and is spared by it.
        """
        for fence in self.fences(head):
            condemned = self.condemned(fence)
            if condemned is None or not condemned.isdisjoint(self.referred(entries, place)):
                raise SessionExpired(
                    f"expected what session {self.id} stored and refers to, found that prune {fence.session} condemned it: run it again",
                    dataset=self.request.dataset,
                )
        self.fence = head.fence

    def fences(self, head: Head) -> Iterator[ChainNote]:
        """The fences that came since the session last looked."""
        return self.vault.catalog.fences(self.request.dataset, head.fence, self.fence)

    def condemned(self, fence: ChainNote) -> set[str] | None:
        """What the prune of a fence deletes; None where its list is gone or altered, and everything counts as condemned."""
        key, sha256 = fence.condemned
        try:
            data = self.vault.store.read(key)
        except ObjectNotFound:
            return None
        return {str(name) for name in json.loads(zlib.decompress(data))} if sha256_hex(data) == sha256 else None

    def referred(self, entries: Mapping[str, StoredPartition], place: "TreePlace | None") -> Iterator[str]:
        """Every key that the commit would name through what this session stored or chose to refer to."""
        if place is not None:
            yield place.key
        for entry in entries.values():
            yield entry.key
            try:
                yield from (file.key for file in self.vault.catalog.files(entry))
            except (ObjectNotFound, IntegrityError) as exc:
                raise SessionExpired(
                    f"expected the list {entry.key} of session {self.id}, found that a prune took it: run it again",
                    dataset=self.request.dataset,
                ) from exc

    def put_tree(self, attempt: int, entries: Sequence[StoredPartition]) -> "TreePlace":
        """Write the list of partitions."""
        key = tree_key(self.id, attempt)
        data = self.vault.seal("tree", key, self.id, self.vault.codec.encode_tree(entries))
        version = self.vault.store.write(key, data).version or ""
        return TreePlace(key, sha256_hex(data), len(data), version)

    def draft(self, tree: Mapping[str, StoredPartition], place: "TreePlace", head: Head) -> SnapshotCommit:
        """The commit to be tried."""
        request, entries = self.request, list(tree.values())
        return SnapshotCommit(
            vault=self.vault.identity(),
            dataset=request.dataset,
            seq=head.seq + 1,
            snapshot_id=self.id,
            session=self.id,
            previous=head.digest,
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
            facts={**request.facts, FACT: self.change.as_json()},
            encrypted=self.vault.encrypted,
            time=max(head.time, self.started + (self.vault.clock() - self.began)).astimezone(UTC).isoformat(),
            fence=head.fence,
            holds=head.holds,
            identity=self.vault.identity_digest(),
            keys=self.vault.key_digests(),
        )

    def create(self, commit: SnapshotCommit) -> bool:
        """Put the commit if its number is free; an answer that was lost is settled by reading back."""
        return put_record(self.vault, commit_key(commit.dataset, commit.seq), commit.sign(self.vault.signer))

    def end(self) -> None:
        """Remove the session's record."""
        self.vault.store.delete(f"{SESSIONS}{self.id}.json")

    def committed(self, commit: SnapshotCommit) -> SnapshotCommit:
        """The commit as readers see it, read back."""
        return open_commit(self.vault.keyring, self.vault.store.read(commit_key(commit.dataset, commit.seq)))


class TreePlace(NamedTuple):
    """Where the list of partitions was written."""

    key: str
    sha256: str
    length: int
    version: str


class Base(NamedTuple):
    """What a commit is built on: the chain's head, and the newest snapshots that count, the very newest last."""

    head: Head
    seen: list[SnapshotCommit]
