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
        changes, before, after = _changes(self.zone, _year(int(naive.min())) - 1, _year(int(naive.max())) + 1)
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


def _year(micros: int) -> int:
    return min(max(1970 + micros // 31_556_952_000_000, 2), 9997)


@lru_cache(maxsize=64)
def _changes(zone: str, first: int, last: int) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """The moments between the starts of two years at which a zone's offset changes, and the offsets before and after, in
    microseconds; at least one, which may change nothing.
    """
    import numpy as np

    place = ZoneInfo(zone)

    def offset(moment: datetime) -> timedelta:
        return moment.astimezone(place).utcoffset() or timedelta()

    found: list[tuple[datetime, timedelta, timedelta]] = []
    moment, end = datetime(first, 1, 1, tzinfo=UTC), datetime(last, 12, 31, tzinfo=UTC)
    before = offset(moment)
    found.append((moment, before, before))
    while moment < end:
        ahead = moment + timedelta(days=7)
        after = offset(ahead)
        # two changes within a week that cancel each other are not seen: none is known
        while after != before:
            change = _change(moment, ahead, before, place)
            found.append((change, before, offset(change)))
            moment, before = change, offset(change)
        moment = ahead
    moments = np.array([(at.replace(tzinfo=None) - _EPOCH) // _MICRO for at, _, _ in found], dtype=np.int64)
    offsets = [
        np.array([pair // _MICRO for pair in side], dtype=np.int64) for side in zip(*[f[1:] for f in found], strict=True)
    ]
    return moments, offsets[0], offsets[1]


def _change(low: datetime, high: datetime, before: timedelta, place: ZoneInfo) -> datetime:
    """The first whole second in (low, high] at which the offset is no longer `before`."""
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=int((high - low).total_seconds()) // 2)
        if middle.astimezone(place).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high
