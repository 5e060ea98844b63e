"""What the vault holds: which commits count, which were forgotten, what they list."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import DigestMismatch, IntegrityError, ObjectNotFound
from orchestrai.ledger.signing import Keyring
from orchestrai.storage.base import ObjectInfo, Store
from orchestrai.vault.commit.writer import context
from orchestrai.vault.format.layout import ATTESTED, FORGOTTEN, SNAPSHOTS, commit_key, numbered, tombstone_key
from orchestrai.vault.format.lists import Codec, StoredFile, StoredPartition
from orchestrai.vault.format.records import (
    ATTESTATION_TYPE,
    TOMBSTONE_TYPE,
    SnapshotCommit,
    Tombstone,
    document,
    open_commit,
    require_place,
)
from orchestrai.vault.keys.encryption import Cipher
from orchestrai.vault.reader import pinned

# how many records are looked at for each snapshot that is wanted
PASSED_OVER = 4


class Catalog:
    """Reads commits and lists, each verified; keeps what it read, since nothing in the vault changes."""

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        vault: Callable[[], str],
        codec: Codec,
        cipher: Callable[[], Cipher | None],
        max_session: timedelta,
    ) -> None:
        self.store = store
        self.keyring = keyring
        self.vault = vault
        self.codec = codec
        self.cipher = cipher
        self.max_session = max_session
        self._commits: dict[tuple[str, str], SnapshotCommit] = {}
        self._attested: dict[tuple[str, str], dict[str, datetime]] = {}
        self._tombstones: set[tuple[str, str]] = set()
        self._trees: dict[str, list[StoredPartition]] = {}

    # -- which commits count ---------------------------------------------------------------------------------

    def commits(self, dataset: str | None = None, *, strict: bool = True) -> list[SnapshotCommit]:
        """Every commit record by dataset and number, whether it counts or not.

        A damaged one raises, unless it was forgotten or `strict` is off.
        """
        commits = []
        gone: dict[tuple[str, int], datetime] | None = None
        for info in self._records(SNAPSHOTS, dataset):
            try:
                commits.append(self._commit(info))
            except IntegrityError:
                gone = self.forgotten(dataset, strict=False) if gone is None else gone
                if strict and numbered(SNAPSHOTS, info.key) not in gone:
                    raise
        return sorted(commits, key=lambda commit: (commit.dataset, commit.seq))

    def numbers(self, dataset: str) -> set[int]:
        """The numbers of a dataset's commit records, none of them read."""
        places = (numbered(SNAPSHOTS, info.key) for info in self._records(SNAPSHOTS, dataset))
        return {place[1] for place in places if place is not None}

    def forgotten(self, dataset: str | None = None, *, strict: bool = True) -> dict[tuple[str, int], datetime]:
        """When each forgotten snapshot was forgotten, by the store's clock.

        A tombstone that is not signed for its place raises, or hides nothing where `strict` is off.
        """
        times = {}
        for info in self._records(FORGOTTEN, dataset):
            place = numbered(FORGOTTEN, info.key)
            try:
                self._require_tombstone(info)
            except IntegrityError:
                if strict:
                    raise
                continue
            if place is not None:
                times[place] = info.modified
        return times

    def counts(self, commit: SnapshotCommit) -> bool:
        """True when the commit was made within the longest session, by the store's clock."""
        return commit.committed - datetime.fromisoformat(commit.started) <= self.max_session

    def visible(self, dataset: str | None = None, *, strict: bool = True) -> list[SnapshotCommit]:
        """The snapshots that count and were not forgotten, by dataset and number."""
        gone = self.forgotten(dataset, strict=strict)
        return [c for c in self._settled(dataset, strict) if self.counts(c) and (c.dataset, c.seq) not in gone]

    def recent(self, dataset: str, limit: int, last: int = 0) -> list[SnapshotCommit]:
        """The newest snapshots that count and were not forgotten, at most `limit`, by number; what is older is not read.

        `last` is the number of a commit that is there: from far enough before it on the records are listed, at first. Raises as `commits`
        does for what it meets. Tombstones are listed first, so that what is forgotten meanwhile is still told.
        """
        after = max(0, last - limit * PASSED_OVER)
        gone = {numbered(FORGOTTEN, info.key): info for info in self._records(FORGOTTEN, dataset, after)}
        commits: list[SnapshotCommit] = []
        for looked, info in enumerate(reversed(list(self._records(SNAPSHOTS, dataset, after)))):
            if len(commits) == limit or (commits and looked >= limit * PASSED_OVER):
                break
            tombstone = gone.get(numbered(SNAPSHOTS, info.key))
            if tombstone is not None:
                self._require_tombstone(tombstone)
                continue
            commit = self._attested_one(self._commit(info))
            if self.counts(commit):
                commits.append(commit)
        return commits[::-1] if commits or not after else self.recent(dataset, limit)

    def at(self, dataset: str, seq: int) -> SnapshotCommit | None:
        """One snapshot by its number, where it counts and was not forgotten; None otherwise. Raises as `commits`."""
        info = self._listed(commit_key(dataset, seq))
        tombstone = self._listed(tombstone_key(dataset, seq))
        if tombstone is not None:
            self._require_tombstone(tombstone)
        if info is None or tombstone is not None:
            return None
        commit = self._attested_one(self._commit(info))
        return commit if self.counts(commit) else None

    def live(self, now: datetime) -> list[SnapshotCommit]:
        """The snapshots whose bytes must stay at store time `now`.

        A forgotten snapshot stays for one longest session: a writer that read it before it was forgotten may still refer to its
        bytes, and must have committed by then to count. Tombstones are read before commits.
        """
        gone = self.forgotten()
        commits = []
        for commit in self._settled(None, True):
            since = gone.get((commit.dataset, commit.seq))
            if self.counts(commit) and (since is None or since >= now - self.max_session):
                commits.append(commit)
        return commits

    def tombstone(self, key: str) -> Tombstone:
        """Read and verify a tombstone; raises ObjectNotFound, SignatureInvalid."""
        return Tombstone(**document(self.keyring, TOMBSTONE_TYPE, self.store.read(key)))

    def _require_tombstone(self, info: ObjectInfo) -> None:
        place = numbered(FORGOTTEN, info.key)
        if place is not None and (info.key, info.etag) not in self._tombstones:
            require_place(self.tombstone(info.key), self.vault(), *place)
            self._tombstones.add((info.key, info.etag))

    def _listed(self, key: str) -> ObjectInfo | None:
        """A record as a listing has it: some stores tell a listing's times to a millisecond and a single object's to a second."""
        try:
            if self.store.local_path(key) is not None:
                return self.store.head(key)
        except ObjectNotFound:
            return None
        return next((info for info in self.store.list(key) if info.key == key), None)

    def _records(self, prefix: str, dataset: str | None, after: int = 0) -> Iterator[ObjectInfo]:
        folder = prefix if dataset is None else f"{prefix}{dataset}/"
        for info in self.store.list(folder, start_after=f"{folder}{after:012d}.json" if after else None):
            place = numbered(prefix, info.key)
            if place is not None and dataset in (None, place[0]):
                yield info

    def _commit(self, info: ObjectInfo) -> SnapshotCommit:
        commit = self._commits.get((info.key, info.etag))
        if commit is None:
            place = numbered(SNAPSHOTS, info.key)
            commit = open_commit(self.keyring, self.store.read(info.key), info.modified)
            require_place(commit, self.vault(), *(place or ("", 0)))
            self._commits[info.key, info.etag] = commit
        return commit

    def _settled(self, dataset: str | None, strict: bool) -> list[SnapshotCommit]:
        """The commits, with the time a vault they were copied from says they were made at."""
        commits = self.commits(dataset, strict=strict)
        if all(map(self.counts, commits)):
            return commits
        attested = self.attestations()
        return [replace(c, committed=attested[c.digest]) if c.digest in attested else c for c in commits]

    def _attested_one(self, commit: SnapshotCommit) -> SnapshotCommit:
        """The commit, with the time that the vault it was copied from attests where its own does not count."""
        if self.counts(commit):
            return commit
        attested = self.attestations().get(commit.digest)
        return commit if attested is None else replace(commit, committed=attested)

    def attestations(self) -> dict[str, datetime]:
        """When each commit was made, by its digest, in the vault that this one was copied from."""
        times: dict[str, datetime] = {}
        for info in self.store.list(ATTESTED):
            known = self._attested.get((info.key, info.etag))
            if known is None:
                body = document(self.keyring, ATTESTATION_TYPE, self.store.read(info.key))
                if body["vault"] != self.vault():
                    raise IntegrityError(f"expected {info.key} to be of this vault, found {body['vault'][:8]}: remove it")
                known = {digest: datetime.fromisoformat(time).astimezone(UTC) for digest, time in body["committed"].items()}
                self._attested[info.key, info.etag] = known
            times |= known
        return times

    # -- what they list --------------------------------------------------------------------------------------

    def tree(self, commit: SnapshotCommit) -> list[StoredPartition]:
        """The partitions of a snapshot; raises MissingObject, DigestMismatch."""
        tree = self._trees.get(commit.tree_sha256)
        if tree is None:
            session = commit.tree.split("/")[2]
            data = self._list_bytes("tree", commit.tree, session, commit.tree_sha256, commit.tree_version)
            tree = self._trees[commit.tree_sha256] = self.codec.decode_tree(data)
        return tree

    def files(self, entry: StoredPartition) -> list[StoredFile]:
        """The files of a partition; raises MissingObject, DigestMismatch."""
        return self.codec.decode_files(self._list_bytes("listing", entry.key, entry.session, entry.sha256, entry.version))

    def forget_read(self, commit: SnapshotCommit) -> None:
        """Read a snapshot's tree from the store the next time, for who must see the store as it is now."""
        self._trees.pop(commit.tree_sha256, None)

    def _list_bytes(self, kind: str, key: str, session: str, sha256: str, version: str) -> bytes:
        data = pinned(key, version, lambda at: self.store.read(key, version=at))
        if sha256_hex(data) != sha256:
            raise DigestMismatch(f"expected {key} to hash to what its commit says, found other bytes: copy it back", key=key)
        cipher = self.cipher()
        if cipher is None:
            return data
        return b"".join(cipher.open(context(self.vault(), kind, key, session), [data]))
