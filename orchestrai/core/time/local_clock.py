"""Times without a zone, read by the clock of a place: which moment each of them is, or why it is none.

The rules of zones are those of Python's zoneinfo, so that rows, names and partitions are never read by two tables.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    import numpy as np

Ambiguous = Literal["refuse", "earlier", "later"]
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 a time without a zone is what is counted from it
_MICRO = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class LocalClock:
    """The clock of a zone; `ambiguous` says which reading counts of a time that it shows twice."""

    zone: str
    ambiguous: Ambiguous = "refuse"

    def readings(self, naive: datetime) -> tuple[datetime, ...]:
        """The moments, UTC, that a time without a zone may be: none where the clock skips it, two where it is read twice and
        nothing says which counts.
        """
        zone = ZoneInfo(self.zone)
        folds = [naive.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
        if folds[0] == folds[1]:
            return (folds[0],)
        if folds[0] > folds[1]:
            return ()  # before a gap the later offset lies ahead
        return tuple(folds) if self.ambiguous == "refuse" else (folds[self.ambiguous == "later"],)

    def fault(self, naive: datetime) -> str:
        """Why a time without a zone is no moment; nothing where it is one."""
        count = len(self.readings(naive))
        if count == 1:
            return ""
        if count == 0:
            return f"a time that the clocks of {self.zone} skip: have the producer send times with their zone"
        return (
            f"a time that the clocks of {self.zone} show twice: declare source.ambiguous, or have times sent with their zone"
        )

    def micros(self, naive: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
        """Microseconds since 1970 of times without a zone, as UTC ones, and which of them are no moment."""
        import numpy as np

        if not naive.size:
            return naive, np.zeros(0, dtype=bool)
        # what lies beyond Python's calendar has the offset of its last year
        years = np.unique(np.clip(naive.astype("datetime64[us]").astype("datetime64[Y]").astype(np.int64) + 1970, 3, 9997))
        near = sorted({year + step for year in years.tolist() for step in (-1, 0, 1)})
        changes, before, after = np.array([change for year in near for change in _changes(self.zone, year)], np.int64).T
        # how many changes a time lies after for certain, and how many it may
        certain = np.searchsorted(changes + np.maximum(before, after), naive, side="right")
        possible = np.searchsorted(changes + np.minimum(before, after), naive, side="right")
        offsets = np.concatenate([before[:1], after])
        between = possible > certain
        nearest = np.minimum(certain, len(changes) - 1)
        skipped = between & (after[nearest] > before[nearest])
        twice = between & ~skipped
        offset = offsets[possible if self.ambiguous == "later" else certain]
        return naive - offset, skipped | (twice if self.ambiguous == "refuse" else np.zeros_like(twice))


@lru_cache(maxsize=4096)
def _changes(zone: str, year: int) -> list[tuple[int, int, int]]:
    """When a zone's offset changes within a year, and the offsets before and after, in microseconds; first the year's beginning, which
    mostly changes nothing: years may be put together with others left out between them.
    """
    place = ZoneInfo(zone)

    def offset(moment: datetime) -> timedelta:
        return moment.astimezone(place).utcoffset() or timedelta()

    moment, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    before = offset(moment)
    changes = [(moment, offset(moment - timedelta(seconds=1)), before)]
    while moment < end:
        # two changes within a week that cancel each other are not seen: no zone has any
        ahead = min(moment + timedelta(days=7), end)
        while offset(ahead) != before:
            moment = _change(moment, ahead, before, place)
            if moment == end:
                break  # the next year begins with it
            changes.append((moment, before, offset(moment)))
            before = offset(moment)
        moment = ahead
    return [((at.replace(tzinfo=None) - _EPOCH) // _MICRO, low // _MICRO, high // _MICRO) for at, low, high in changes]


def _change(low: datetime, high: datetime, before: timedelta, place: ZoneInfo) -> datetime:
    """The first whole second in (low, high] at which the offset is no longer `before`."""
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=int((high - low).total_seconds()) // 2)
        if middle.astimezone(place).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high
