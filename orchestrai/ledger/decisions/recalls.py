"""Recalls: signed statements that receipts no longer count.

`recalls/<sha256>.json`, put-if-absent in the lake and the vault; the name is the digest of what is recalled, so that the same
recall is one record however often it is made.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrai.core.canonical import canonical_json, sha256_hex
from orchestrai.ledger.decisions.signed_record import RecordKind


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

    def as_json(self) -> dict[str, object]:
        """The form that is signed."""
        return {**self._content(), "reason": self.reason, "time": self.time, "by": self.by}


class Recalls:
    """Every recall of a store, for quick questions."""

    def __init__(self, records: Iterable[RecallRecord] = ()) -> None:
        self.records = tuple(records)
        self._receipts = {(digest, key): r for r in self.records for digest, keys in r.receipts.items() for key in keys}
        self._roots = {place: r for r in self.records for place in r.roots}

    def find(self, asset: str, partition: str, root: str, receipt: str) -> RecallRecord | None:
        """The recall that covers a partition at a root under a receipt, or None."""
        return self._receipts.get((receipt, partition)) or self._roots.get((asset, partition, root))


def _decode(body: dict[str, Any]) -> RecallRecord:
    return RecallRecord(
        target=body["target"],
        reason=body["reason"],
        time=body["time"],
        receipts={digest: tuple(keys) for digest, keys in body["receipts"].items()},
        roots=tuple((asset, partition, root) for asset, partition, root in body["roots"]),
        by=body.get("by", ""),
    )


RECALLS = RecordKind[RecallRecord](
    what="recall",
    payload_type="application/vnd.orchestrai.recall+json",
    folder="recalls/",
    name=lambda record: record.digest,
    body=RecallRecord.as_json,
    decode=_decode,
)
