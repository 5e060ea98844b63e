"""What a partition looks like in some hundred numbers: kept in its manifest, so that later ones are judged without reading a row.

No value of a row is in it: counts, shares over the day, estimates of distinct values, counts over sixteen buckets of hashes, and of
numbers that are not personal five quantiles.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from orchestrai.core.canonical import JsonValue

PROFILE = "profile"
FORMAT = 1
# a partition's span of time in equal slices: the hours of a day of 24
SLICES = 24
BUCKETS = 16
# what is measured: its kind, the column where it is of one, and which of its quantiles
Measure = tuple[str, str, int]
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """One column: how many rows have no value, about how many values are distinct, and how they are spread."""

    nulls: int = 0
    distinct: float = 0.0
    quantiles: tuple[float, ...] = ()
    buckets: tuple[int, ...] = ()

    def as_json(self) -> dict[str, JsonValue]:
        """The form kept in a manifest."""
        spread: dict[str, JsonValue] = {"quantiles": list(self.quantiles)} if self.quantiles else {}
        spread |= {"buckets": list(self.buckets)} if self.buckets else {}
        return {"nulls": self.nulls, "distinct": self.distinct, **spread}


@dataclass(frozen=True)
class Profile:
    """A partition: its rows, about how many of them are distinct, how many fall in each slice of its time, and its columns."""

    rows: int
    distinct: float = 0.0
    slices: tuple[int, ...] = ()
    columns: Mapping[str, ColumnProfile] = field(default_factory=dict)

    @cached_property
    def measures(self) -> Mapping[Measure, float]:
        """What is measured of it by itself, on scales where equal steps mean equal changes."""
        rows = max(self.rows, 1)
        found: dict[Measure, float] = {
            ("rows", "", 0): math.log1p(self.rows),
        }
        if self.distinct:
            found["repeated", "", 0] = math.log(max(1.0, rows / self.distinct))
        for name, column in self.columns.items():
            found["nulls", name, 0] = math.asin(math.sqrt(min(1.0, column.nulls / rows)))
            found["distinct", name, 0] = math.log1p(column.distinct)
            found |= {("values", name, place): math.asinh(value) for place, value in enumerate(column.quantiles)}
        return found

    def as_json(self) -> dict[str, JsonValue]:
        """The form kept in a manifest."""
        columns: dict[str, JsonValue] = {name: column.as_json() for name, column in sorted(self.columns.items())}
        body: dict[str, JsonValue] = {"format": FORMAT, "rows": self.rows, "distinct": self.distinct, "columns": columns}
        return {**body, "slices": list(self.slices)} if self.slices else body


def profile_in(stats: Mapping[str, Any]) -> Profile | None:
    """The profile that a manifest notes; None where it notes none, or one of a newer release."""
    body = stats.get(PROFILE)
    if not isinstance(body, Mapping) or body.get("format") != FORMAT:
        return None
    columns = {
        name: ColumnProfile(
            column["nulls"], column["distinct"], tuple(column.get("quantiles", ())), tuple(column.get("buckets", ()))
        )
        for name, column in body["columns"].items()
    }
    return Profile(body["rows"], body["distinct"], tuple(body.get("slices", ())), columns)


def digits(values: Sequence[float], most: int = 6) -> tuple[float, ...]:
    """Numbers with few digits, since a sketch has no more."""
    return tuple(float(f"{value:.{most}g}") for value in values)
