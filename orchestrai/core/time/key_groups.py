"""Partition keys in groups: those of one time, spans without a gap, and the span that holds some."""

from collections.abc import Iterable, Sequence

from orchestrai.core.time.calendar import WHOLE, Grain, TimeGrain, dimension_of, keys_between, time_grain
from orchestrai.core.time.partition_key import Key, by_value, time_part, with_value


def keys_of(time: str, grain: Grain) -> list[str]:
    """The partitions of a time: one of each value."""
    dimension = dimension_of(grain)
    return [time] if dimension is None else [with_value(time, value) for value in dimension.values]


def contiguous(keys: Iterable[str], grain: Grain) -> list[list[str]]:
    """Some keys in groups, each of which is all that lies between its first and its last."""
    dimension = dimension_of(grain)
    if dimension is None:
        return _runs(sorted(keys), time_grain(grain))
    runs = {
        dimension.require(value): _runs([time_part(key) for key in group], time_grain(grain))
        for value, group in by_value(keys).items()
    }
    groups: list[list[str]] = []
    for before, value in zip(("", *dimension.values), dimension.values, strict=False):
        # neighbours that have the same times go together
        if value in runs and runs.get(before) == runs[value]:
            groups[-1].append(value)
        elif value in runs:
            groups.append([value])
    return [[with_value(time, value) for time in run for value in values] for values in groups for run in runs[values[0]]]


def _runs(keys: Sequence[str], grain: TimeGrain) -> list[list[str]]:
    runs: list[list[str]] = []
    for key in keys:
        if runs and grain != WHOLE and keys_between(runs[-1][-1], key, grain)[1:] == [key]:
            runs[-1].append(key)
        else:
            runs.append([key])
    return runs


def enclosing(keys: Iterable[str], grain: Grain) -> tuple[str, str]:
    """The first and the last key of the smallest span that holds some keys."""
    parts = [Key.of(key) for key in keys]
    times = sorted(part.time for part in parts)
    dimension = dimension_of(grain)
    if dimension is None:
        return times[0], times[-1]
    places = sorted(dimension.place(part.value) for part in parts)
    return with_value(times[0], dimension.values[places[0]]), with_value(times[-1], dimension.values[places[-1]])
