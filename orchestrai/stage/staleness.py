"""Staleness: a published partition is stale exactly if what it would be made of now is not what its record names.

One comparison for every stage: versions of input partitions by asset, those named against those of today, and the code. No time of any
file or entry takes part. A stage says what a partition would read now; what that comes to is decided here alone.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from orchestrai.core.canonical import JsonValue
from orchestrai.core.time.partition_key import of_value, value_part
from orchestrai.errors import NotReceipted
from orchestrai.ledger.ledger import Ledger

# code: made by other code or from another definition; changed, late, gone: input partitions of another version, that were not there,
# that are there no more; upstream: inputs that are stale themselves; recalled: the partition does not count
Kind = Literal["code", "changed", "late", "gone", "upstream", "recalled"]
# versions of partitions, by asset
Roots = Mapping[str, Mapping[str, str]]
# partitions, by asset
Places = Mapping[str, Iterable[str]]
WORDS: Mapping[Kind, str] = {
    "code": "made by other code or from another definition",
    "changed": "another version of",
    "late": "came after it was made:",
    "gone": "there no more:",
    "upstream": "stale itself:",
    "recalled": "recalled",
}
MOST = 5


@dataclass(frozen=True)
class Cause:
    """One reason why a partition is stale, with the input partitions that make it so."""

    kind: Kind
    asset: str = ""
    partitions: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.asset:
            return WORDS[self.kind]
        more = f" and {len(self.partitions) - MOST} more" if len(self.partitions) > MOST else ""
        return f"{WORDS[self.kind]} {self.asset}@{', '.join(self.partitions[:MOST])}{more}"

    def as_json(self) -> dict[str, JsonValue]:
        """For `--json`."""
        return {"kind": self.kind, "asset": self.asset, "partitions": list(self.partitions)}


@dataclass(frozen=True)
class StalePartition:
    """A published partition that would come out of other inputs or other code now."""

    asset: str
    partition: str
    causes: tuple[Cause, ...]

    @property
    def by_inputs(self) -> bool:
        """True where data makes it stale; False where only the code does."""
        return any(cause.kind != "code" for cause in self.causes)

    @property
    def why(self) -> str:
        """In words."""
        return "; ".join(map(str, self.causes))

    def as_json(self) -> dict[str, JsonValue]:
        """For `--json`."""
        return {
            "asset": self.asset,
            "partition": self.partition,
            "why": self.why,
            "causes": [cause.as_json() for cause in self.causes],
        }


def difference(named: Roots, now: Roots) -> tuple[Cause, ...]:
    """How what would be read now differs from what was named; empty where it is the same."""
    causes: list[Cause] = []
    for asset in sorted({*named, *now}):
        then, today = named.get(asset, {}), now.get(asset, {})
        split: dict[Kind, list[str]] = {
            "changed": [key for key in then if key in today and today[key] != then[key]],
            "late": [key for key in today if key not in then],
            "gone": [key for key in then if key not in today],
        }
        causes += [Cause(kind, asset, tuple(sorted(keys))) for kind, keys in split.items() if keys]
    return tuple(causes)


def upstream(read: Places, stale: Places) -> tuple[Cause, ...]:
    """Which of the partitions that are read are stale themselves."""
    causes = []
    for asset, keys in sorted(read.items()):
        touched = sorted(set(keys).intersection(stale.get(asset, ())))
        causes += [Cause("upstream", asset, tuple(touched))] if touched else []
    return tuple(causes)


def stale_places(partitions: Iterable[StalePartition]) -> dict[str, set[str]]:
    """Stale partitions by asset."""
    places: dict[str, set[str]] = {}
    for one in partitions:
        places.setdefault(one.asset, set()).add(one.partition)
    return places


def flags_of(partitions: Iterable[StalePartition]) -> dict[str, str]:
    """What a reader of single rows is told, by partition: where data makes it stale; that newer code is deployed changes no answer."""
    return {one.partition: one.why for one in partitions if one.by_inputs}


def stale_by_receipt(
    ledger: Ledger, asset: str, partition: str, code: str | None, above: Places, *, apart: Collection[str] = ()
) -> tuple[StalePartition, ...]:
    """A partition whose receipt names all that it read, if it is stale: the named partitions and those between them and its own.

    Code does not count where none is given, nor do the inputs `apart`.
    """
    current = ledger.find(asset)
    if current is None or partition not in current.partitions:
        return ()
    try:
        receipt = current.receipt(partition)
    except NotReceipted:
        return (StalePartition(asset, partition, (Cause("recalled"),)),)
    causes = [] if code is None or receipt.code_version == code else [Cause("code")]
    for ref in (ref for ref in receipt.inputs if ref.asset not in apart):
        dataset = ledger.find(ref.asset)
        whole = dataset.roots() if dataset is not None else {}
        there = {key: whole[key] for key in of_value(value_part(partition), whole)}
        last = max((*ref.partitions, partition))
        read = {key for key in there if key in ref.partitions or min(ref.partitions, default=last) < key <= last}
        now = {key: there[key] for key in read}
        causes += difference({ref.asset: ref.partitions}, {ref.asset: now})
        causes += upstream({ref.asset: read}, above)
    return (StalePartition(asset, partition, tuple(causes)),) if causes else ()
