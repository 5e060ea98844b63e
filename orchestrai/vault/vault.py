"""The vault: write-once snapshots of datasets in one store."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from orchestrai.contracts.json_value import JsonValue
from orchestrai.errors import ConfigError, ObjectExists, ObjectNotFound, RestoreError, RetentionLocked
from orchestrai.ledger import Keyring, Signer
from orchestrai.ledger.canonical import canonical_json, sha256_hex
from orchestrai.ledger.ids import new_session_id, utc_now
from orchestrai.storage.base import Store
from orchestrai.vault.catalog import Catalog
from orchestrai.vault.encryption import Cipher, KeyPort
from orchestrai.vault.layout import CLOCK, IDENTITY, commit_key, tombstone_key
from orchestrai.vault.reader import stream_file
from orchestrai.vault.records import FORMAT, IDENTITY_TYPE, TOMBSTONE_TYPE, SnapshotCommit, document
from orchestrai.vault.rows import Codec, ColumnCodec, StoredFile, StoredPartition
from orchestrai.vault.source import SourceFile
from orchestrai.vault.writer import context

if TYPE_CHECKING:
    from orchestrai.vault.protocol import Request, WriteSession

Progress = Callable[[str, int, int], None]


class Vault:
    """Snapshots in a store, committed, chained and signed.

    Guarantees: a committed snapshot is whole and stays so until it is forgotten, whatever crashes and whoever else writes or
    prunes; two writers of one dataset both commit. `max_session` must be equal for all who use the vault.
    `workers` is the number of copying threads (0 copies in the calling thread).
    """

    def __init__(
        self,
        store: Store,
        signer: Signer,
        keyring: Keyring | None = None,
        *,
        clock: Callable[[], datetime] = utc_now,
        new_id: Callable[[], str] = new_session_id,
        encryption: KeyPort | None = None,
        max_session: timedelta = timedelta(hours=24),
        workers: int = 2,
        codec: Codec | None = None,
    ) -> None:
        self.store = store
        self.signer = signer
        self.keyring = keyring or signer.keyring()
        self.clock = clock
        self.new_id = new_id
        self.encryption = encryption
        self.max_session = max_session
        self.workers = workers
        self.codec = codec or ColumnCodec()
        self.catalog = Catalog(store, self.keyring, self.identity, self.codec, lambda: self.cipher, max_session)
        self._identity = ""
        self._cipher: Cipher | None = None

    # -- identity --------------------------------------------------------------------------------------------

    def identity(self) -> str:
        """The vault's name, made on first use; every commit and every sealed byte is bound to it."""
        if not self._identity:
            try:
                envelope = self.store.read(IDENTITY)
            except ObjectNotFound:
                envelope = self._make_identity()
            body = document(self.keyring, IDENTITY_TYPE, envelope)
            if bool(body["encrypted"]) != self.encrypted:
                raise ConfigError(
                    f"expected a vault that is {'' if self.encrypted else 'not '}encrypted in {self.store.url}, found the "
                    "opposite: encryption is chosen when a vault is made; use a new vault, or set its key"
                )
            self._identity = str(body["vault"])
        return self._identity

    def _make_identity(self) -> bytes:
        body = {"format": FORMAT, "vault": self.new_id(), "encrypted": self.encrypted}
        try:
            self.store.write(IDENTITY, self.signer.sign(IDENTITY_TYPE, canonical_json(body)), create=True)
        except ObjectExists:
            pass  # another process made it first: that one counts
        return self.store.read(IDENTITY)

    @property
    def encrypted(self) -> bool:
        """True when contents and lists are sealed before they leave this machine."""
        return self.encryption is not None

    @property
    def cipher(self) -> Cipher | None:
        """What seals and opens, or None in a vault without encryption."""
        if self.encryption is not None and self._cipher is None:
            from orchestrai.vault.data_keys import open_cipher

            self._cipher = open_cipher(self.store, self.identity(), self.encryption, self.signer, self.keyring)
        return self._cipher

    def rewrap(self, port: KeyPort) -> int:
        """Wrap the data keys by another port, which opens the vault from then on; returns how many. Idempotent.

        Raises ConfigError in a vault without encryption.
        """
        cipher = self.cipher
        if cipher is None:
            raise ConfigError(f"expected a sealed vault, found a plain one in {self.store.url}: it has no data key to wrap")
        from orchestrai.vault.data_keys import rewrap

        wrapped = rewrap(self.store, self.identity(), cipher, port, self.signer, self.keyring)
        self.encryption = port
        return wrapped

    def seal(self, kind: str, key: str, session: str, data: bytes) -> bytes:
        """Encrypt a list where the vault is encrypted."""
        cipher = self.cipher
        if cipher is None:
            return data
        return b"".join(cipher.seal(context(self.identity(), kind, key, session), [data]))

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
        progress: Progress | None = None,
    ) -> SnapshotCommit:
        """Commit a snapshot: these partitions with these contents, all others as the newest snapshot has them.

        Atomic, and safe beside other writers and prunes. When nothing differs from the newest snapshot and no tag is given, that
        one is returned, with `new_bytes` 0. Raises SessionExpired, ConcurrentCommit, DigestMismatch, PreconditionFailed.
        """
        from orchestrai.vault.protocol import Request

        request = Request(
            dataset, contents, tuple(sorted(set(drop))), tuple(sorted(set(tags))), dict(source or {}), dict(facts or {})
        )
        session = self.session(request, progress)
        commit = session.run()
        if commit.session != session.id:
            return replace(commit, new_bytes=0, reused_bytes=session.reused_bytes)
        return session.committed(commit)

    def session(self, request: "Request", progress: Progress | None = None) -> "WriteSession":
        """One run of the commit protocol."""
        from orchestrai.vault.protocol import WriteSession

        return WriteSession(self, request, progress)

    def forget(self, snapshot_id: str, *, reason: str = "") -> SnapshotCommit:
        """Make a snapshot invisible; its bytes go by prune once nothing needs them. Idempotent; raises RetentionLocked when held."""
        commit = self._find(snapshot_id, self.catalog.commits())
        self.forget_record(commit.dataset, commit.seq, reason=reason)
        return commit

    def forget_record(self, dataset: str, seq: int, *, reason: str) -> None:
        """Forget a commit by its number, a damaged one too, so that writers and prunes no longer stop at it. Idempotent."""
        from orchestrai.vault.holds import WHOLE_DATASET, holds

        held = holds(self.store, self.keyring, self.identity())
        if (dataset, seq) in held or (dataset, WHOLE_DATASET) in held:
            raise RetentionLocked(
                f"expected snapshot {seq} of {dataset} to be forgettable, found a legal hold on it: release it first",
                dataset=dataset,
            )
        digest = sha256_hex(self.store.read(commit_key(dataset, seq)))
        body = {"vault": self.identity(), "dataset": dataset, "seq": seq, "commit": digest, "reason": reason}
        try:
            envelope = self.signer.sign(TOMBSTONE_TYPE, canonical_json(body | {"format": FORMAT}))
            self.store.write(tombstone_key(dataset, seq), envelope, create=True)
        except ObjectExists:
            pass  # forgotten already

    # -- reading ---------------------------------------------------------------------------------------------

    def datasets(self) -> list[str]:
        """Every dataset that has a snapshot, sorted."""
        return sorted({commit.dataset for commit in self.snapshots()})

    def snapshots(self, dataset: str | None = None) -> list[SnapshotCommit]:
        """The committed snapshots that count and were not forgotten, oldest first within a dataset."""
        return self.catalog.visible(dataset)

    def get(self, snapshot_id: str) -> SnapshotCommit:
        """One snapshot by id or by a beginning of it that only one has; raises RestoreError. Other damaged commits do not matter."""
        return self._find(snapshot_id, self.catalog.visible(strict=False))

    def latest(self, dataset: str, as_of: datetime | None = None, tag: str | None = None) -> SnapshotCommit:
        """The newest snapshot of a dataset (committed by `as_of`, bearing `tag`); raises RestoreError when there is none."""
        found = [
            commit
            for commit in self.snapshots(dataset)
            if (as_of is None or commit.committed <= as_of) and (tag is None or tag in commit.tags)
        ]
        if not found:
            wanted = f" by {as_of.isoformat()}" if as_of else ""
            wanted += f" tagged {tag}" if tag else ""
            raise RestoreError(f"expected a snapshot of {dataset}{wanted}, found none in {self.store.url}: take one first")
        return found[-1]

    def partitions(self, commit: SnapshotCommit) -> dict[str, StoredPartition]:
        """The partitions of a snapshot, its list checked against the commit."""
        return {entry.partition: entry for entry in self.catalog.tree(commit)}

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

    def read_file(self, snapshot_id: str, partition: str, path: str) -> bytes:
        """One kept file's bytes, hashed; raises RestoreError, MissingObject, DigestMismatch."""
        for file in self.files(self.get(snapshot_id), partition):
            if file.path == path:
                return b"".join(self.stream(file))
        raise RestoreError(
            f"expected {path} in partition {partition} of snapshot {snapshot_id}, found none: see `vault show`"
        )

    def store_time(self) -> datetime:
        """The store's own time, learnt by writing."""
        key = f"{CLOCK}{self.new_id()}.json"
        self.store.write(key, b"{}")
        now = self.store.head(key).modified
        self.store.delete(key)
        return now.astimezone(UTC)

    def _find(self, snapshot_id: str, among: Sequence[SnapshotCommit]) -> SnapshotCommit:
        found = [commit for commit in among if snapshot_id and commit.snapshot_id.startswith(snapshot_id)]
        if len(found) != 1:
            told = "none" if not found else f"{len(found)}"
            raise RestoreError(f"expected one snapshot named {snapshot_id!r}, found {told}: see `orchestrai vault list`")
        return found[0]
