"""The vault: write-once snapshots of datasets in one store."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from orchestrai.core.canonical import JsonValue, canonical_json, sha256_hex
from orchestrai.core.progress import Progress
from orchestrai.errors import IntegrityError, ObjectExists, ObjectNotFound, RestoreError, RetentionLocked, SessionExpired
from orchestrai.ledger.signing import rules_of
from orchestrai.vault.commit.source import SourceFile
from orchestrai.vault.format.layout import commit_key, tombstone_key
from orchestrai.vault.format.lists import StoredFile, StoredPartition
from orchestrai.vault.format.records import FORMAT, TOMBSTONE_TYPE, SnapshotCommit, open_record
from orchestrai.vault.reader import clone_file, stream_file
from orchestrai.vault.vault_store import OpenedVault

if TYPE_CHECKING:
    from orchestrai.vault.commit.protocol import Request, WriteSession
    from orchestrai.vault.lifecycle.hold_records import Hold


# a session begins anew for each prune that condemned what it stands on
SESSIONS_TRIED = 4


class Vault(OpenedVault):
    """Snapshots in a store, committed, chained and signed.

    Guarantees: a committed snapshot is whole and stays so until it is forgotten, whatever crashes and whoever else writes or
    prunes; two writers of one dataset both commit.
    """

    # -- writing ---------------------------------------------------------------------------------------------

    def commit(
        self,
        dataset: str,
        contents: Mapping[str, Sequence[SourceFile]],
        *,
        drop: Sequence[str] = (),
        tags: Sequence[str] = (),
        source: Mapping[str, JsonValue] | None = None,
        facts: Mapping[str, JsonValue] | None = None,
        after: int = 0,
        only_changes: bool = False,
        progress: Progress | None = None,
    ) -> SnapshotCommit:
        """Commit a snapshot: these partitions with these contents, all others as the newest snapshot has them.

        Atomic, and safe beside other writers and prunes. When nothing differs from the newest snapshot and no tag is given, or
        `only_changes` are wanted, that one is returned, with `new_bytes` 0. `after` is the number of an earlier commit, where the
        caller knows one: nothing that was committed before it is listed then. Raises SessionExpired, ConcurrentCommit, DigestMismatch,
        PreconditionFailed.
        """
        from orchestrai.vault.commit.protocol import Request

        request = Request(
            dataset,
            contents,
            tuple(sorted(set(drop))),
            tuple(sorted(set(tags))),
            dict(source or {}),
            dict(facts or {}),
            after if after and self.catalog.has(dataset, after) else 0,
            only_changes,
        )
        session, commit = self._run(request, progress)
        if commit.session != session.id:
            return replace(commit, new_bytes=0, reused_bytes=session.reused_bytes)
        return session.committed(commit)

    def _run(self, request: "Request", progress: Progress | None) -> "tuple[WriteSession, SnapshotCommit]":
        """Run a session, and another where a prune has condemned what it stands on."""
        for left in reversed(range(SESSIONS_TRIED)):
            session = self.session(request, progress)
            try:
                return session, session.run()
            except SessionExpired:
                if not left:
                    raise
        raise AssertionError("unreachable")

    def session(self, request: "Request", progress: Progress | None = None) -> "WriteSession":
        """One run of the commit protocol."""
        from orchestrai.vault.commit.protocol import WriteSession

        return WriteSession(self, request, progress)

    def forget(self, snapshot_id: str, *, reason: str = "") -> SnapshotCommit:
        """Make a snapshot invisible; its bytes go by prune once nothing needs them. Idempotent; raises RetentionLocked when held."""
        commit = self._find(snapshot_id, self.catalog.commits())
        self.forget_record(commit.dataset, commit.seq, reason=reason)
        return commit

    def forget_record(self, dataset: str, seq: int, *, reason: str) -> None:
        """Forget a record by its number, a damaged or lost one too, so that writers and prunes no longer stop at it. Idempotent."""
        from orchestrai.vault.chain.chain_head import WHOLE_DATASET

        self.require_may("prune")
        # the end of a chain is forgotten by its number where it is damaged, and says nothing of holds then
        held = self.holds(strict=not self._is_damaged(dataset, seq))
        if (dataset, seq) in held or (dataset, WHOLE_DATASET) in held:
            raise RetentionLocked(
                f"expected snapshot {seq} of {dataset} to be forgettable, found a legal hold on it: release it first",
                dataset=dataset,
            )
        present = True
        try:
            digest = sha256_hex(self.store.read(commit_key(dataset, seq)))
            if self._is_damaged(dataset, seq):
                # given up: what is there is not what was signed, and another copy may have that
                digest = ""
        except ObjectNotFound:
            # a record that is lost for good: the chain behind it stays closed to prunes until its number is forgotten
            if not 0 < seq < self.catalog.head(dataset).seq:
                raise
            present, digest = False, ""
        body = {"vault": self.identity(), "dataset": dataset, "seq": seq, "commit": digest, "reason": reason}
        try:
            envelope = self.approved(TOMBSTONE_TYPE, body | {"format": FORMAT}, ("vault", "dataset", "seq", "commit"))
            self.store.write(tombstone_key(dataset, seq), envelope, create=True)
        except ObjectExists:
            # forgotten already, where the record counts
            self.catalog.tombstone(tombstone_key(dataset, seq))
        self.require_may("prune")
        if present and (dataset, seq) not in self.catalog.forgotten(dataset, strict=False):
            raise RetentionLocked(
                f"expected snapshot {seq} of {dataset} to be forgotten, found a legal hold placed meanwhile: release it first",
                dataset=dataset,
            )

    def approved(self, payload_type: str, body: Mapping[str, object], same: tuple[str, ...]) -> bytes:
        """A record with as many signatures as the key log asks for; raises ApprovalNeeded where others must sign first."""
        rules = rules_of(self.keyring)
        if rules is None:
            return self.signer.sign(payload_type, canonical_json(dict(body)))
        from orchestrai.ledger.trust.approvals import Approvals

        return Approvals(self.store, self.keyring, self.signer).envelope(payload_type, body, same)

    def _is_damaged(self, dataset: str, seq: int) -> bool:
        try:
            open_record(self.keyring, self.store.read(commit_key(dataset, seq)))
        except ObjectNotFound:
            return False
        except (IntegrityError, TypeError, KeyError, ValueError):
            return True
        return False

    def holds(self, *, strict: bool = True) -> "dict[tuple[str, int], Hold]":
        """The legal holds that are on, by dataset and number (0: the whole dataset); raises IntegrityError.

        Without `strict` a damaged end of a chain does not raise.
        """
        from orchestrai.vault.lifecycle.hold_records import holds

        return holds(self.store, self.keyring, self.identity(), strict=strict)

    # -- reading ---------------------------------------------------------------------------------------------

    def datasets(self) -> list[str]:
        """Every dataset that has a snapshot, sorted."""
        return sorted({commit.dataset for commit in self.snapshots()})

    def snapshots(self, dataset: str | None = None) -> list[SnapshotCommit]:
        """The committed snapshots that count and were not forgotten, oldest first within a dataset."""
        return self.catalog.visible(dataset)

    def newest(self, dataset: str, limit: int) -> list[SnapshotCommit]:
        """The newest snapshots of a dataset, at most `limit`, oldest first; what is older is not read."""
        return self.catalog.recent(dataset, limit)

    def get(self, snapshot_id: str, place: tuple[str, int] | None = None) -> SnapshotCommit:
        """One snapshot by id or by a beginning of it that only one has; raises RestoreError. Other damaged commits do not matter.

        `place` is where it is thought to lie (dataset and number), so that no other record needs to be read.
        """
        commit = self.catalog.at(*place) if place else None
        if commit is not None and commit.snapshot_id == snapshot_id:
            return commit
        return self._find(snapshot_id, self.catalog.visible(strict=False))

    def latest(self, dataset: str, as_of: datetime | None = None, tag: str | None = None) -> SnapshotCommit:
        """The newest snapshot of a dataset (committed by `as_of`, bearing `tag`); raises RestoreError when there is none."""
        commits = [
            commit
            for commit in (self.snapshots(dataset) if as_of or tag else self.newest(dataset, 1))
            if (as_of is None or commit.committed <= as_of) and (tag is None or tag in commit.tags)
        ]
        if not commits:
            wanted = f" by {as_of.isoformat()}" if as_of else ""
            wanted += f" tagged {tag}" if tag else ""
            raise RestoreError(f"expected a snapshot of {dataset}{wanted}, found none in {self.store.url}: take one first")
        return commits[-1]

    def partitions(self, commit: SnapshotCommit) -> Mapping[str, StoredPartition]:
        """The partitions of a snapshot, its tree checked against the commit; its pages are read as they are needed."""
        return self.catalog.tree(commit)

    def files(self, commit: SnapshotCommit, partition: str) -> list[StoredFile]:
        """The files of one partition of a snapshot; raises RestoreError when it has none of that name."""
        entry = self.partitions(commit).get(partition)
        if entry is None:
            raise RestoreError(
                f"expected partition {partition} in snapshot {commit.snapshot_id}, found none: see `vault show`"
            )
        return self.catalog.files(entry)

    def stream(self, file: StoredFile, *, reuse: bool = False) -> Iterator[bytes]:
        """Yield one kept file's bytes, hashed; raises MissingObject, DigestMismatch.

        With `reuse`, a chunk is valid only until the next is asked for: for who writes or hashes it at once.
        """
        return stream_file(self.store, self.identity(), self.cipher, file, reuse=reuse)

    def clone(self, file: StoredFile, target: int) -> bool:
        """Give an empty file one kept file's bytes by sharing blocks, hashed; False where that cannot be: then `stream` it.

        Raises MissingObject, DigestMismatch.
        """
        return clone_file(self.store, self.cipher, file, target)

    def read_file(self, snapshot_id: str, partition: str, path: str) -> bytes:
        """One kept file's bytes, hashed; raises RestoreError, MissingObject, DigestMismatch."""
        for file in self.files(self.get(snapshot_id), partition):
            if file.path == path:
                return b"".join(self.stream(file))
        raise RestoreError(
            f"expected {path} in partition {partition} of snapshot {snapshot_id}, found none: see `vault show`"
        )

    def _find(self, snapshot_id: str, among: Sequence[SnapshotCommit]) -> SnapshotCommit:
        matches = [commit for commit in among if snapshot_id and commit.snapshot_id.startswith(snapshot_id)]
        if len(matches) != 1:
            count = "none" if not matches else f"{len(matches)}"
            raise RestoreError(f"expected one snapshot named {snapshot_id!r}, found {count}: see `orchestrai vault list`")
        return matches[0]
