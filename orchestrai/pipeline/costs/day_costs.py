"""What a pipeline cost on a day, summed from the records of its runs."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

from orchestrai.ledger.costs.cost_record import COSTS, CostRecord
from orchestrai.ledger.costs.price_table import newly_charged
from orchestrai.ledger.log import Log
from orchestrai.ledger.signing import Keyring
from orchestrai.storage.base import Store


@dataclass(frozen=True)
class StageSum:
    """What the runs of one stage, or of one asset, used and cost together."""

    runs: int = 0
    failed: int = 0
    refused: int = 0
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    bytes_read: int = 0
    bytes_written: int = 0
    objects_read: int = 0
    objects_written: int = 0
    peak_rss_bytes: int = 0
    job_seconds: float = 0.0
    usd: float = 0.0
    priced: int = 0

    def plus(self, other: "StageSum") -> "StageSum":
        """Both together; of the peaks the larger."""
        both = {name: getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__}
        return StageSum(**both | {"peak_rss_bytes": max(self.peak_rss_bytes, other.peak_rss_bytes)})

    def as_json(self) -> dict[str, Any]:
        """The form that is published."""
        return {n: round(v, 6) if isinstance(v, float) else v for n, v in self.__dict__.items()}


@dataclass(frozen=True)
class DayCost:
    """A day (UTC) of a pipeline, whole and by asset; `quiet_runs` found nothing to do."""

    day: str
    total: StageSum = field(default_factory=StageSum)
    by_asset: Mapping[str, StageSum] = field(default_factory=dict)
    quiet_runs: int = 0
    quiet_cpu_seconds: float = 0.0

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds of all runs, those that found nothing to do among them."""
        return self.total.cpu_seconds + self.quiet_cpu_seconds

    @property
    def by_stage(self) -> dict[str, StageSum]:
        """By the last part of the asset's key."""
        found: dict[str, StageSum] = {}
        for asset, one in self.by_asset.items():
            stage = asset.rpartition("/")[2]
            found[stage] = found.get(stage, StageSum()).plus(one)
        return found

    def as_json(self) -> dict[str, Any]:
        """The form that is published."""
        return {
            "day": self.day,
            "total": self.total.as_json(),
            "by_asset": {asset: one.as_json() for asset, one in sorted(self.by_asset.items())},
            "quiet_runs": self.quiet_runs,
            "quiet_cpu_seconds": round(self.quiet_cpu_seconds, 6),
        }


def read_day(body: Mapping[str, Any]) -> DayCost:
    """From the form that is published."""
    by_asset = {asset: StageSum(**one) for asset, one in body["by_asset"].items()}
    return DayCost(body["day"], StageSum(**body["total"]), by_asset, body["quiet_runs"], body["quiet_cpu_seconds"])


def records_of(store: Store, keyring: Keyring, day: str, pipeline: str) -> Iterator[CostRecord]:
    """The records of all assets of a pipeline on a day that count; raises SignatureInvalid, IntegrityError, StorageError."""
    return COSTS.those(store, keyring, [info.key for info in store.list(f"{COSTS.folder}{day}/{pipeline}/")])


# of days that are looked at again and again: which records are summed already, and what they came to
_SUMMED: WeakKeyDictionary[Log, dict[tuple[str, str], tuple[frozenset[str], DayCost]]] = WeakKeyDictionary()


def day_so_far(log: Log, day: str, pipeline: str) -> DayCost:
    """The sums of a day that goes on; in a process that looks again, only records that it has not seen are read.

    A job that was taken up by a later try counts once within what is read at a time. Raises as `records_of`.
    """
    summed = _SUMMED.setdefault(log, {})
    keys = frozenset(info.key for info in log.lake.list(f"{COSTS.folder}{day}/{pipeline}/"))
    seen, before = summed.get((day, pipeline), (frozenset(), DayCost(day)))
    if not seen <= keys:
        # a lake that was put back or made anew
        seen, before = frozenset(), DayCost(day)
    fresh = sum_day(day, COSTS.those(log.lake, log.keyring, sorted(keys - seen)))
    by_asset = dict(before.by_asset)
    for asset, one in fresh.by_asset.items():
        by_asset[asset] = by_asset.get(asset, StageSum()).plus(one)
    whole = DayCost(
        day,
        before.total.plus(fresh.total),
        by_asset,
        before.quiet_runs + fresh.quiet_runs,
        before.quiet_cpu_seconds + fresh.quiet_cpu_seconds,
    )
    summed[day, pipeline] = keys, whole
    return whole


def sum_day(day: str, records: Iterable[CostRecord]) -> DayCost:
    """The sums of a day."""
    total, by_asset, quiet_runs, quiet_cpu = StageSum(), dict[str, StageSum](), 0, 0.0
    paid: dict[tuple[str, str], float] = {}
    for record in records:
        usage, traffic = record.usage, record.usage.traffic
        one = StageSum(
            1,
            int(record.outcome == "failed"),
            int(record.outcome == "refused"),
            usage.wall_seconds,
            usage.all_cpu_seconds,
            usage.bytes_read,
            usage.bytes_written,
            traffic.reads,
            traffic.writes,
            usage.peak_rss_bytes,
            sum(job.seconds for job in usage.jobs),
            newly_charged(record.charges, paid),
            int(bool(record.charges)),
        )
        total = total.plus(one)
        by_asset[record.asset] = by_asset.get(record.asset, StageSum()).plus(one)
        quiet_runs, quiet_cpu = quiet_runs + record.quiet.runs, quiet_cpu + record.quiet.cpu_seconds
    return DayCost(day, total, dict(sorted(by_asset.items())), quiet_runs, quiet_cpu)


def without_assets(day: DayCost) -> DayCost:
    """The day as a whole alone."""
    return replace(day, by_asset={})
