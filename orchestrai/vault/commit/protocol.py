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
from collections.abc import Iterator, Mapping
from datetime import UTC
from typing import NamedTuple

from orchestrai.core.canonical import canonical_json, sha256_hex
from orchestrai.core.tree.paged_tree import PagedTree, Subtree, tree_of
from orchestrai.errors import ConcurrentCommit, IntegrityError, MissingObject, ObjectNotFound, SessionExpired
from orchestrai.vault.chain.chain_head import EMPTY, Head
from orchestrai.vault.change.measure import FACT, SnapshotChange, measure, sampled
from orchestrai.vault.commit.chain_append import MAX_ATTEMPTS, open_chain, put_record
from orchestrai.vault.commit.contents import SEARCHED_SNAPSHOTS, Request, StoringSession
from orchestrai.vault.format.layout import SESSIONS, commit_key, tree_key
from orchestrai.vault.format.lists import PagePlace, StoredPartition
from orchestrai.vault.format.records import ChainNote, SnapshotCommit, open_commit
from orchestrai.vault.format.tree_pages import Tree, TreeObject

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
        place: TreePlace | None = None
        under: SnapshotCommit | None = None
        content = sampled(self.fresh)
        for attempt in range(1, MAX_ATTEMPTS + 1):
            self.require_spared(base.head, entries, place)
            parent = base.seen[-1] if base.seen else None
            difference = self.difference(parent, entries)
            if parent and not difference.rows and (self.request.only_changes or not self.request.tags):
                return parent
            # a tree refers to pages of its parent's: over another parent it is another tree
            if place is None or parent != under:
                place, under = self.put_tree(attempt, difference), parent
            self.vault.store.sync()
            self.change = measure(difference.before or {}, parent.size if parent else 0, entries, self.request.drop, content)
            commit = self.draft(place, base.head)
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
                yield from (place.key for file in self.vault.catalog.files(entry) for place in file.places)
            except (ObjectNotFound, IntegrityError) as exc:
                raise SessionExpired(
                    f"expected the list {entry.key} of session {self.id}, found that a prune took it: run it again",
                    dataset=self.request.dataset,
                ) from exc

    def difference(self, parent: SnapshotCommit | None, entries: Mapping[str, StoredPartition]) -> "Difference":
        """What differs from the parent: rows put in, and None for those left out."""
        before = self.vault.catalog.tree(parent) if parent else None
        rows: dict[str, StoredPartition | None] = {}
        if before is not None:
            rows |= {name: None for name in self.request.drop if name in before and name not in entries}
        rows |= {name: entry for name, entry in entries.items() if before is None or before.get(name) != entry}
        return Difference(parent, before, rows)

    def put_tree(self, attempt: int, difference: "Difference") -> "TreePlace":
        """Write the pages of the tree that differ from the parent's; where none does, it is the parent's tree."""
        vault, parent, before = self.vault, difference.parent, difference.before
        if parent is not None and before is not None and not difference.rows:
            return TreePlace(parent.tree, parent.tree_sha256, parent.tree_length, parent.tree_version, before.root)
        key = tree_key(self.id, attempt)
        pages = TreeObject(
            self.id, attempt, vault.codec, lambda offset, page: vault.seal("tree", key, self.id, page, offset)
        )
        if before is not None:
            root = before.updated(difference.rows, pages.write).root
        else:
            rows = [row for _, row in sorted(difference.rows.items()) if row is not None]
            root = tree_of(vault.catalog.pages, rows, pages.write).root
        data = pages.whole()
        version = vault.store.write(key, data).version or ""
        return TreePlace(key, sha256_hex(data), len(data), version, root)

    def draft(self, place: "TreePlace", head: Head) -> SnapshotCommit:
        """The commit to be tried."""
        request, root = self.request, place.root
        partitions, files, rows, size = root.sums if root.sums[0] else (0, 0, 0, 0)
        return SnapshotCommit(
            vault=self.vault.identity(),
            dataset=request.dataset,
            seq=head.seq + 1,
            snapshot_id=self.id,
            session=self.id,
            previous=head.digest,
            started=self.started.isoformat(),
            created=self.vault.clock().astimezone(UTC).isoformat(),
            version=PagedTree(self.vault.catalog.pages, root).version,
            tree=place.key,
            tree_sha256=place.sha256,
            tree_length=place.length,
            tree_version=place.version,
            partitions=partitions,
            files=files,
            rows=rows,
            size=size,
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
            key_log=self.vault.key_log,
        )

    def create(self, commit: SnapshotCommit) -> bool:
        """Put the commit if its number is free; an answer that was lost is settled by reading back.

        Raises KeyRefused where the writer's key was ended meanwhile: its end may have been recorded before this commit came.
        """
        created = put_record(self.vault, commit_key(commit.dataset, commit.seq), commit.sign(self.vault.signer))
        if created:
            self.vault.require_may("write")
        return created

    def end(self) -> None:
        """Remove the session's record."""
        self.vault.store.delete(f"{SESSIONS}{self.id}.json")

    def committed(self, commit: SnapshotCommit) -> SnapshotCommit:
        """The commit as readers see it, read back."""
        return open_commit(self.vault.keyring, self.vault.store.read(commit_key(commit.dataset, commit.seq)))


class Difference(NamedTuple):
    """What a commit changes in the tree of its parent, None for the first: the rows it puts in, None for those it leaves out."""

    parent: SnapshotCommit | None
    before: Tree | None
    rows: Mapping[str, StoredPartition | None]


class TreePlace(NamedTuple):
    """Where the pages of a tree were written, and its root."""

    key: str
    sha256: str
    length: int
    version: str
    root: Subtree[PagePlace]


class Base(NamedTuple):
    """What a commit is built on: the chain's head, and the newest snapshots that count, the very newest last."""

    head: Head
    seen: list[SnapshotCommit]
