"""Recalls: signed statements that receipts no longer count.

`recalls/<sha256>.json`, put-if-absent in the lake and the vault; the name is the digest of what is recalled, so that the same
recall is one record however often it is made.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orchestrai.errors import IntegrityError, UnknownFormatVersion
from orchestrai.ledger.manifest import FORMAT, canonical_json, sha256_hex
from orchestrai.ledger.signing import Keyring, Signer
from orchestrai.storage.base import Store, put_absent

RECALL_TYPE = "application/vnd.orchestrai.recall+json"
PREFIX = "recalls/"


@dataclass(frozen=True)
class RecallRecord:
    """What is recalled: partitions by receipt digest, and data by (asset, partition, root), under whatever receipt it comes again.

    `by` names who decided.
    """

    target: str
    reason: str
    time: str
    receipts: Mapping[str, tuple[str, ...]]
    roots: tuple[tuple[str, str, str], ...] = ()
    by: str = ""

    @property
    def digest(self) -> str:
        """The name: equal for equal content, whoever recalls it when and why."""
        return sha256_hex(canonical_json(self._content()))

    def _content(self) -> dict[str, object]:
        return {
            "target": self.target,
            "receipts": {digest: sorted(keys) for digest, keys in self.receipts.items()},
            "roots": sorted(map(list, self.roots)),
        }

    def sign(self, signer: Signer) -> bytes:
        """The signed envelope."""
        body = {**self._content(), "reason": self.reason, "time": self.time, "by": self.by, "format": FORMAT}
        return signer.sign(RECALL_TYPE, canonical_json(body))


class Recalls:
    """Every recall of a store, for quick questions."""

    def __init__(self, records: Iterable[RecallRecord] = ()) -> None:
        self.records = tuple(records)
        self._receipts = {(digest, key): r for r in self.records for digest, keys in r.receipts.items() for key in keys}
        self._roots = {place: r for r in self.records for place in r.roots}

    def find(self, asset: str, partition: str, root: str, receipt: str) -> RecallRecord | None:
        """The recall that covers a partition at a root under a receipt, or None."""
        return self._receipts.get((receipt, partition)) or self._roots.get((asset, partition, root))


def read_recall(store: Store, keyring: Keyring, key: str) -> RecallRecord:
    """Read and verify one; raises SignatureInvalid, IntegrityError."""
    body = json.loads(keyring.open(RECALL_TYPE, store.read(key)))
    if body.get("format") != FORMAT:
        raise UnknownFormatVersion(f"expected recall format {FORMAT}, found {body.get('format')!r}: use a newer release")
    record = RecallRecord(
        target=body["target"],
        reason=body["reason"],
        time=body["time"],
        receipts={digest: tuple(keys) for digest, keys in body["receipts"].items()},
        roots=tuple((asset, partition, root) for asset, partition, root in body["roots"]),
        by=body.get("by", ""),
    )
    if recall_key(record.digest) != key:
        raise IntegrityError(f"expected {key} to hold the recall of that name, found {record.digest[:12]}: it was moved")
    return record


def recall_key(digest: str) -> str:
    """Where a recall lies."""
    return f"{PREFIX}{digest}.json"


def recall_keys(store: Store) -> list[str]:
    """The keys of all recalls."""
    return [info.key for info in store.list(PREFIX)]


def put_recall(stores: Iterable[Store], signer: Signer, record: RecallRecord) -> bytes:
    """Store a recall (idempotent: an equal one that is there stays as it was signed); returns its envelope."""
    key = recall_key(record.digest)
    envelope = record.sign(signer)
    for store in stores:
        if any(info.key == key for info in store.list(key)):
            envelope = store.read(key)
    for store in stores:
        put_absent(store, key, envelope)
    return envelope
