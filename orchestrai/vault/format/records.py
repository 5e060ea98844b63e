"""The vault's signed records: identity, commit, tombstone, attestation."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, NamedTuple

from orchestrai.core.canonical import JsonValue, canonical_json, sha256_hex
from orchestrai.errors import IntegrityError
from orchestrai.ledger.decisions.signed_record import open_body
from orchestrai.ledger.signing import Keyring, Signer

FORMAT = 1
# of commits that name the version of their tree, which releases before it cannot read
VERSIONED = 2
NEVER = datetime.min.replace(tzinfo=UTC)
IDENTITY_TYPE = "application/vnd.orchestrai.vault+json"
COMMIT_TYPE = "application/vnd.orchestrai.snapshot+json"
TOMBSTONE_TYPE = "application/vnd.orchestrai.tombstone+json"
ATTESTATION_TYPE = "application/vnd.orchestrai.attestation+json"
DATA_KEY_TYPE = "application/vnd.orchestrai.data-key+json"
VERIFIED_TYPE = "application/vnd.orchestrai.verified+json"
LOCK_TYPE = "application/vnd.orchestrai.lock+json"
ANCHOR_TYPE = "application/vnd.orchestrai.anchor+json"


@dataclass(frozen=True)
class SnapshotCommit:
    """One committed snapshot: the whole dataset as of then; `changed` names the partitions this session wrote.

    `started` and `committed` are times of the store, `created` is the writer's own. `previous` is the digest of the commit
    numbered one less. `digest` and `committed` are derived, not stored.
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
    digest: str = ""
    committed: datetime = NEVER

    def sign(self, signer: Signer) -> bytes:
        """The signed envelope."""
        body = {name: getattr(self, name) for name in _STORED}
        if not self.tree_version:
            del body["tree_version"]
        body |= {"format": VERSIONED if self.tree_version else FORMAT}
        body |= {"changed": list(self.changed), "tags": list(self.tags), "source": dict(self.source)}
        return signer.sign(COMMIT_TYPE, canonical_json(body | {"facts": dict(self.facts)}))

    def as_json(self) -> dict[str, JsonValue]:
        """The form shown to people and programs."""
        body: dict[str, Any] = {name: getattr(self, name) for name in _STORED}
        body |= {
            "changed": list(self.changed),
            "tags": list(self.tags),
            "source": dict(self.source),
            "facts": dict(self.facts),
        }
        return body | {"committed": self.committed.isoformat(), "digest": self.digest}


_STORED = tuple(f.name for f in fields(SnapshotCommit) if f.name not in ("digest", "committed"))


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


def open_commit(keyring: Keyring, envelope: bytes, committed: datetime) -> SnapshotCommit:
    """Verify and read a commit; `committed` is the store's time of it."""
    body = document(keyring, COMMIT_TYPE, envelope, VERSIONED)
    body |= {"changed": tuple(body["changed"]), "tags": tuple(body["tags"])}
    return SnapshotCommit(**body, digest=sha256_hex(envelope), committed=committed)


def require_place(record: SnapshotCommit | Tombstone, vault: str, dataset: str, seq: int) -> None:
    """Raise IntegrityError for a record that was moved, or brought from another vault."""
    if (record.vault, record.dataset, record.seq) != (vault, dataset, seq):
        raise IntegrityError(
            f"expected record {seq} of {dataset} of vault {vault[:8]}, found {record.seq} of {record.dataset} of vault "
            f"{record.vault[:8]}: it was moved or replayed; restore the object from the replica"
        )
