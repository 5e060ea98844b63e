"""Times that stand in several columns, and dates that need a clock: columns that the contract derives."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrai.pipeline.starter.column_guess import Guess

if TYPE_CHECKING:
    import pyarrow as pa

_PARTS = {
    "year": ("year", "year_", "yr", "jahr", "ano", "annee"),
    "month": ("month", "month_", "mon", "mo", "monat", "mes", "mois"),
    "day": ("day", "day_", "dy", "tag", "dia", "jour", "day_of_month"),
    "hour": ("hour", "hour_", "hr", "stunde", "hora", "heure"),
    "minute": ("minute", "minute_", "min", "mn"),
    "second": ("second", "second_", "sec"),
}
_BOUNDS = {"year": (1500, 2200), "month": (1, 12), "day": (1, 31), "hour": (0, 23), "minute": (0, 59), "second": (0, 59)}


def derived_time(guesses: Sequence[Guess]) -> Guess | None:
    """A moment made of year, month and so on, or of a date and an hour; None where one column says it all, or nothing does."""
    if any(g.type == "TIMESTAMP" and g.present and g.present >= 0.99 * len(g.values) for g in guesses):
        return None
    dates = [
        g for g in guesses if g.type == "DATE" and g.present >= 0.99 * len(g.values) and not re.search("birth|dob", g.name)
    ]
    parts: dict[str, Guess] = {"date": dates[0]} if dates else {}
    for part in ("year", "month", "day") if not dates else ():
        found = _part(guesses, part)
        if found is None:
            break
        parts[part] = found
    if not dates and not {"year", "month"} <= set(parts):
        return None
    for part in ("hour", "minute", "second") if dates or "day" in parts else ():
        found = _part(guesses, part)
        if found is None:
            break
        parts[part] = found
    clock = _clock(guesses) if (dates or "day" in parts) and "hour" not in parts else None
    if clock is not None:
        parts["clock"] = clock
    taken = {g.name for g in guesses}
    name = next(name for name in ("at", "moment", "happened_at", "at_2") if name not in taken | {"at"})
    told = ", ".join(f"{part}: {guess.name}" for part, guess in parts.items())
    guess = Guess("", name, "TIMESTAMP", _moments(parts), derive=f"{{time: {{{told}}}}}")
    guess.present = len(guess.values) - guess.values.null_count
    guess.distinct = len(set(guess.values.cast("int64").to_pylist()))
    guess.notes.append(f"made of {', '.join(parts)}: no column tells the moment alone")
    return guess if guess.present else None


def _part(guesses: Sequence[Guess], part: str) -> Guess | None:
    import pyarrow.compute as pc

    low, high = _BOUNDS[part]
    for guess in guesses:
        if guess.name in _PARTS[part] and guess.type == "BIGINT" and guess.present == len(guess.values):
            bounds = pc.min_max(guess.values).as_py()
            if low <= bounds["min"] and bounds["max"] <= high:
                return guess
    return None


def _clock(guesses: Sequence[Guess]) -> Guess | None:
    """A text column of nothing but clocks."""
    import pyarrow.compute as pc

    for guess in guesses:
        if guess.type == "STRING" and guess.present == len(guess.values):
            told = pc.match_substring_regex(guess.values, r"^\s*([01]?\d|2[0-3])[:.][0-5]\d([:.][0-5]\d)?\s*$")
            if pc.all(told).as_py():
                return guess
    return None


def _moments(parts: Mapping[str, Guess]) -> "pa.Array":
    """The moments that ingest will derive, by ingest's own rule."""
    import pyarrow as pa

    from orchestrai.contracts.columns.derivation import read_derivation
    from orchestrai.contracts.contract import Column, Contract
    from orchestrai.ingest.readers.columns.derive_columns import add_derived

    told: dict[str, Any] = {"time": {part: guess.name for part, guess in parts.items()}}
    landed = tuple(Column(g.name, g.type, g.name) for g in parts.values())
    contract = Contract("look", "1", (*landed, Column("made", "TIMESTAMP", "made", derive=read_derivation(told))))
    arrays = [
        *(g.values for g in parts.values()),
        pa.nulls(len(next(iter(parts.values())).values), contract.arrow_schema().field("made").type),
    ]
    batch = pa.RecordBatch.from_arrays(arrays, schema=contract.arrow_schema())
    made, _ = add_derived(contract, batch, None, None, lambda column, text: (pa.nulls(1), True))
    return made.column(made.schema.names.index("made"))
