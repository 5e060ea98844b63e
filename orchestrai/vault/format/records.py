"""The vault's signed records: identity, tombstone, and those of a dataset's chain: commits and notes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

from orchestrai.core.canonical import JsonValue, canonical_json, sha256_hex
from orchestrai.errors import IntegrityError
from orchestrai.ledger.decisions.signed_record import open_body
from orchestrai.ledger.signing import Keyring, Signer, rules_of

FORMAT = 1
# of the records of a chain that say when they were made and what came before them; commits of 1 and 2 are read
CHAINED_FORMAT = 3
NEVER = datetime.min.replace(tzinfo=UTC)
IDENTITY_TYPE = "application/vnd.orchestrai.vault+json"
COMMIT_TYPE = "application/vnd.orchestrai.snapshot+json"
HOLD_TYPE = "application/vnd.orchestrai.hold+json"
TOMBSTONE_TYPE = "application/vnd.orchestrai.tombstone+json"
DATA_KEY_TYPE = "application/vnd.orchestrai.data-key+json"
VERIFIED_TYPE = "application/vnd.orchestrai.verified+json"
LOCK_TYPE = "application/vnd.orchestrai.lock+json"
ANCHOR_TYPE = "application/vnd.orchestrai.anchor+json"
WITNESS_TYPE = "application/vnd.orchestrai.witness+json"


@dataclass(frozen=True)
class SnapshotCommit:
    """One committed snapshot: the whole dataset as of then; `changed` names the partitions this session wrote.

    `started` and `time` (when it was committed, never before the record it follows) are by the store's clock as the writer saw it,
    `created` is the writer's own. `previous` is the digest of the record numbered one less; `fence` and `holds` are the numbers of
    the newest notes of these kinds before it, 0 for none. `identity` and `keys` are the digests of the vault's identity and of its
    wrapped data keys, `key_log` the end of the key log as the writer knew it (`number:digest`, empty where there was none). `digest` and
    `committed` are derived, not stored.
    """

    vault: str
    dataset: str
    seq: int
    snapshot_id: str
    session: str
    previous: str
    started: str
    created: str
    version: str
    tree: str
    tree_sha256: str
    tree_length: int
    partitions: int
    files: int
    rows: int
    size: int
    changed: tuple[str, ...] = ()
    new_bytes: int = 0
    reused_bytes: int = 0
    tags: tuple[str, ...] = ()
    source: Mapping[str, JsonValue] = field(default_factory=dict)
    facts: Mapping[str, JsonValue] = field(default_factory=dict)
    encrypted: bool = False
    tree_version: str = ""
    time: str = ""
    fence: int = 0
    holds: int = 0
    identity: str = ""
    keys: Mapping[str, str] = field(default_factory=dict)
    key_log: str = ""
    digest: str = ""
    committed: datetime = NEVER

    def sign(self, signer: Signer) -> bytes:
        """The signed envelope."""
        return signer.sign(COMMIT_TYPE, canonical_json(self._body() | {"format": CHAINED_FORMAT}))

    def as_json(self) -> dict[str, JsonValue]:
        """The form shown to people and programs."""
        return self._body() | {"committed": self.committed.isoformat(), "digest": self.digest}

    def _body(self) -> dict[str, Any]:
        body: dict[str, Any] = {name: getattr(self, name) for name in _STORED}
        for name, value in body.items():
            if isinstance(value, tuple | Mapping):
                body[name] = list(value) if isinstance(value, tuple) else dict(value)
        if not self.key_log:
            del body["key_log"]
        return body


_STORED = tuple(f.name for f in fields(SnapshotCommit) if f.name not in ("digest", "committed"))


@dataclass(frozen=True)
class ChainNote:
    """What a chain says besides commits; `fence` and `holds` are as in a commit.

    opened  the chain begins, before the first byte of its dataset is written
    fence   a prune is about to delete the objects whose list is `condemned` (its key and sha256); the snapshots in `forgotten`, as
            ranges of numbers, are forgotten for good
    hold    the legal holds that are on from here on, all of them; the snapshots in `forgotten` were so before
    """

    vault: str
    dataset: str
    seq: int
    previous: str
    kind: Literal["opened", "fence", "hold"]
    session: str
    time: str
    fence: int = 0
    holds: int = 0
    condemned: tuple[str, ...] = ()
    forgotten: tuple[tuple[int, int], ...] = ()
    held: tuple[Mapping[str, Any], ...] = ()
    key_log: str = ""
    digest: str = ""

    @property
    def committed(self) -> datetime:
        """When it was appended."""
        return datetime.fromisoformat(self.time).astimezone(UTC)

    @property
    def forgotten_numbers(self) -> set[int]:
        """The snapshots that it calls forgotten, one by one."""
        return {seq for first, last in self.forgotten for seq in range(first, last + 1)}

    def sign(self, signer: Signer) -> bytes:
        """The signed envelope: of a commit's type, so that a release that knows no notes says that a newer one wrote it."""
        left_out = {"digest"} if self.key_log else {"digest", "key_log"}
        body = {key: value for key, value in self.__dict__.items() if key not in left_out}
        return signer.sign(COMMIT_TYPE, canonical_json(body | {"format": CHAINED_FORMAT}))


ChainRecord = SnapshotCommit | ChainNote


class Tombstone(NamedTuple):
    """A snapshot was forgotten; its bytes go once no other snapshot needs them."""

    vault: str
    dataset: str
    seq: int
    commit: str
    reason: str


def document(keyring: Keyring, kind: str, envelope: bytes, newest: int = FORMAT) -> dict[str, Any]:
    """The body of a signed record; raises SignatureInvalid, UnknownFormatVersion."""
    return open_body(keyring, kind, envelope, "vault", newest)


def open_record(keyring: Keyring, envelope: bytes) -> ChainRecord:
    """Verify and read a record of a chain; raises SignatureInvalid, UnknownFormatVersion."""
    body = document(keyring, COMMIT_TYPE, envelope, CHAINED_FORMAT)
    digest = sha256_hex(envelope)
    rules = rules_of(keyring)
    if rules is not None:
        rules.require_known(body.get("key_log", ""))
        rules.require_begun(envelope, f"vault/snapshots/{body['dataset']}", body["seq"])
    if "kind" in body:
        ranges = tuple((int(first), int(last)) for first, last in body["forgotten"])
        return ChainNote(
            **(body | {"condemned": tuple(body["condemned"]), "forgotten": ranges, "held": tuple(body["held"])}),
            digest=digest,
        )
    body |= {"changed": tuple(body["changed"]), "tags": tuple(body["tags"])}
    return SnapshotCommit(**body, digest=digest, committed=_when(body))


def open_commit(keyring: Keyring, envelope: bytes) -> SnapshotCommit:
    """Verify and read a commit; raises IntegrityError for a note of the chain."""
    record = open_record(keyring, envelope)
    if isinstance(record, ChainNote):
        raise IntegrityError(
            f"expected a snapshot under number {record.seq} of {record.dataset}, found a note ({record.kind})"
        )
    return record


def _when(body: Mapping[str, Any]) -> datetime:
    """When a snapshot was committed, as its signed record says; those of format 1 and 2 say when they were drafted."""
    if body.get("time"):
        return datetime.fromisoformat(body["time"]).astimezone(UTC)
    started, created = (datetime.fromisoformat(body[name]).astimezone(UTC) for name in ("started", "created"))
    # a draft outside of a session's longest time tells of a wrong clock of its writer
    return created if timedelta(0) <= created - started <= _LONGEST else started


# how long a session of format 1 and 2 lasted at most
_LONGEST = timedelta(hours=24)


def require_place(record: ChainRecord | Tombstone, vault: str, dataset: str, seq: int) -> None:
    """Raise IntegrityError for a record that was moved, or brought from another vault."""
    if (record.vault, record.dataset, record.seq) != (vault, dataset, seq):
        raise IntegrityError(
            f"expected record {seq} of {dataset} of vault {vault[:8]}, found {record.seq} of {record.dataset} of vault "
            f"{record.vault[:8]}: it was moved or replayed; run `orchestrai vault heal --apply`"
        )
