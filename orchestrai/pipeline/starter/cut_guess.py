"""How a dataset is cut by time: what names tell, held against the times of the rows, and what the history promises."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from orchestrai.contracts.contract import WEEKDAYS
from orchestrai.core.time.calendar import TimeGrain, grain_in, window
from orchestrai.ingest.discovery.partitioning import place
from orchestrai.ingest.spec import SourceSpec
from orchestrai.pipeline.starter.column_guess import Guess
from orchestrai.pipeline.starter.look.landing_look import Look
from orchestrai.pipeline.starter.look.sample import Sample

if TYPE_CHECKING:
    import numpy as np

_GRAINS = ("hour", "day", "week", "month", "year")


@dataclass
class Cut:
    """The grain and where it comes from, first and last partition, what is promised, and why."""

    grain: str = "all"
    source: dict[str, Any] = field(default_factory=dict)
    first: str = ""
    last: str = ""
    closed_weekdays: tuple[str, ...] = ()
    closed_dates: tuple[str, ...] = ()
    latency_hours: int = 0
    notes: list[str] = field(default_factory=list)


def find_cut(look: Look, sample: Sample, time: Guess | None) -> Cut:
    """The finest grain that the names of all objects tell and the times of their rows keep; `all` where there is none."""
    if time is None:
        note = "one partition: no column tells a time by which rows could be cut"
        return Cut(notes=[note])
    if not look.objects:
        return _of_table(time)
    for grain in _GRAINS:
        for source in ({"partition_from": "filename"}, {"partition_from": "path"}):
            keys = _placed(look, grain, source)
            if keys is None:
                continue
            strays = _strays(look, sample, time, grain, keys)
            if strays:
                return Cut(notes=[f"one partition: names tell a {grain}, yet {strays}"])
            return _promises(Cut(grain, source, min(keys), max(keys)), look, sample, time, keys)
    note = "one partition: " + ("one file" if len(look.objects) == 1 else "names tell no time")
    return Cut(notes=[f"{note}; each arrival makes all of it anew, so land new data as one file a day where you can"])


def _of_table(time: Guess) -> Cut:
    """Rows of a table go to the days that their times tell."""
    first, last = span_of(time)
    # the newest day may go on
    last = last - timedelta(days=1) if (last - first).days > 1 else last
    return Cut("day", {}, f"{first:%Y-%m-%d}", f"{last:%Y-%m-%d}", notes=["a day each, by the times of the rows"])


def _placed(look: Look, grain: str, source: dict[str, Any]) -> list[str] | None:
    """The partition of each object by its name; None where a name tells none."""
    spec = SourceSpec(url="look/", format="csv", **source)
    keys = [place(spec, _grain(grain), info) for info in look.objects]
    told = [key for key in keys if key is not None]
    return told if len(told) == len(keys) and len(keys) > 0 else None


def micros_of(guess: Guess) -> "np.ndarray[Any, Any]":
    """The moments of a column in microseconds; nulls are the smallest number."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    moments = guess.values.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    return np.asarray(pc.fill_null(moments, np.iinfo("i8").min).to_numpy(zero_copy_only=False))


def span_of(guess: Guess) -> tuple[datetime, datetime]:
    """The first and the last moment of a column that has one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.min_max(guess.values.cast(pa.timestamp("us", tz="UTC"))).as_py()
    return found["min"], found["max"]


def _by_object(
    look: Look, sample: Sample, time: Guess, keys: Sequence[str]
) -> "Iterator[tuple[str, str, np.ndarray[Any, Any]]]":
    """The objects of a sample, the partitions that their names tell, and the moments of their rows; those without any are left out."""
    import numpy as np

    of = dict(zip((info.key for info in look.objects), keys, strict=True))
    micros, owners = micros_of(time), np.asarray(sample.objects)
    known = micros > np.iinfo("i8").min
    for number, key in enumerate(sample.keys):
        mine = micros[known & (owners == number)]
        if len(mine):
            yield key, of[key], mine


def _strays(look: Look, sample: Sample, time: Guess, grain: str, keys: Sequence[str]) -> str:
    """What rows lie outside the partition that the name of their object tells."""
    for key, told, mine in _by_object(look, sample, time, keys):
        begin, end = (int(moment.timestamp() * 1e6) for moment in window(told, _grain(grain)))
        out = (mine < begin) | (mine >= end)
        if out.mean() > 0.005:
            return f"{out.mean():.0%} of the rows of {key} lie outside {told} by {time.name}"
    return ""


def _grain(name: str) -> TimeGrain:
    return grain_in(name, "UTC")  # type: ignore[arg-type]


def _promises(cut: Cut, look: Look, sample: Sample, time: Guess, keys: Sequence[str]) -> Cut:
    """Closed days and the age of the newest event, as the history had them."""
    grain = _grain(cut.grain)
    ages = [
        window(told, grain)[1].timestamp() - float(mine.max()) / 1e6
        for _, told, mine in _by_object(look, sample, time, keys)
    ]
    if ages:
        worst = max(max(ages), 0.0) / 3600
        cut.latency_hours = math.ceil(worst + 2) if cut.grain == "hour" else max(26, math.ceil(worst * 1.1 + 2))
        cut.notes.append(f"the newest event lay up to {worst:.1f} h before the end of its {cut.grain}")
    if cut.grain == "day":
        _closed(cut, sorted({date.fromisoformat(key) for key in keys}))
    return cut


def _closed(cut: Cut, days: Sequence[date]) -> None:
    """Weekdays without any file, and gaps in the history."""
    first, last = days[0], days[-1]
    every = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    missing = sorted(set(every) - set(days))
    if len(every) >= 3 * 7:
        shut = [number for number in range(7) if not any(day.weekday() == number for day in days)]
        cut.closed_weekdays = tuple(WEEKDAYS[number] for number in shut)
        missing = [day for day in missing if day.weekday() not in shut]
        if shut:
            cut.notes.append(f"no file of a {', '.join(cut.closed_weekdays)} in {len(every)} days")
    spans = []
    for _, group in itertools.groupby(enumerate(missing), key=lambda pair: pair[1].toordinal() - pair[0]):
        run = [day for _, day in group]
        spans.append(f"{run[0]}" if len(run) == 1 else f"{run[0]}/{run[-1]}")
    cut.closed_dates = tuple(spans)
    if missing:
        cut.notes.append(
            f"{len(missing)} other days lack in the history: taken as closed; lost days are to be landed instead (unsure)"
        )


def earliest(time: Guess) -> date | None:
    """The first day of the data, where it lies before the one that a contract takes unasked."""
    first = span_of(time)[0] if time.present else None
    return first.date() if first is not None and first.year < 1990 else None
