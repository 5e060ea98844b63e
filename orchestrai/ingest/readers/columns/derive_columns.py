"""The columns that a contract derives: made after typing and before any rule, of one batch at a time, the same each time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrai.contracts.columns.derivation import Derivation
from orchestrai.contracts.contract import Column, Contract, arrow_type
from orchestrai.core.time.local_clock import LocalClock

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    # a text in a column's type, and whether it does not fit
    ReadText = Callable[[Column, str], tuple["pa.Array", bool]]

_DAY_MICROS = 86_400_000_000
_LIMITS = {"hour": 23, "minute": 59, "second": 59}
# a clock as text, to the second
_CLOCK = r"^\s*(?P<hour>\d{1,2})[:.](?P<minute>\d{2})(?:[:.](?P<second>\d{2}))?\s*$"


@dataclass(frozen=True)
class Origin:
    """Where the rows of a batch were in the landing: the object's key, and the number of each row in it, from 1."""

    name: str
    rows: Sequence[int]


Faults = list[tuple[int, str, str]]


def add_derived(
    contract: Contract, batch: "pa.RecordBatch", origin: Origin | None, clock: LocalClock | None, read: "ReadText"
) -> tuple["pa.RecordBatch", Faults]:
    """The batch with its derived columns, and the rows of which one cannot be made: row, column and reason."""
    import pyarrow as pa

    arrays, faults = list(batch.columns), list[tuple[int, str, str]]()
    places = {name: number for number, name in enumerate(contract.names)}
    for place, column in enumerate(contract.columns):
        made = column.derive
        if made is None:
            continue
        inputs = [arrays[places[name]] for name in made.columns]
        if made.of_object:
            array, bad = _of_object(column, made, origin, batch.num_rows, read)
        elif made.function == "time":
            array, bad = _time(column, made, inputs, clock)
        else:
            array, bad = _key(made, inputs)
        arrays[place] = array
        faults += [(row, column.name, reason) for row, reason in bad]
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema), faults


def _of_object(
    column: Column, made: Derivation, origin: Origin | None, rows: int, read: "ReadText"
) -> tuple["pa.Array", list[tuple[int, str]]]:
    import re

    import pyarrow as pa

    kind = arrow_type(column.type)
    if origin is None:
        return pa.nulls(rows, kind), [(row, "expected a landed object, found a record without one") for row in range(rows)]
    if made.function == "row":
        return pa.array(origin.rows, kind), []
    match = re.search(made.pattern, origin.name)
    text = match[1] if match else None
    if text is None:
        return pa.nulls(rows, kind), [
            (row, f"expected a name like {made.pattern}, found {origin.name!r}") for row in range(rows)
        ]
    value, misfit = read(column, text)
    if misfit:
        reason = f"expected {column.type} in the name {origin.name!r}, found {text!r}"
        return pa.nulls(rows, kind), [(row, reason) for row in range(rows)]
    return pa.repeat(value[0], rows), []


def _key(made: Derivation, inputs: "Sequence[pa.Array]") -> tuple["pa.Array", list[tuple[int, str]]]:
    """The values as text between separators; null where one of them is, refused where one has the separator in it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    # booleans as true and false, dates as ISO 8601, decimals with all their places: one text a value
    texts = [pc.cast(array, pa.string()) for array in inputs]
    bad: list[tuple[int, str]] = []
    for name, array in zip(made.columns, texts, strict=True):
        mask = pc.fill_null(pc.match_substring(array, made.separator), False)
        reason = f"expected no {made.separator!r}, which separates the key, in {name}, found "
        bad += [(row, f"{reason}{array[row].as_py()[:80]!r}") for row in pc.indices_nonzero(mask).to_pylist()]
    joined = pc.binary_join_element_wise(*texts, made.separator)
    return joined, bad


def _time(
    column: Column, made: Derivation, inputs: "Sequence[pa.Array]", clock: LocalClock | None
) -> tuple["pa.Array", list[tuple[int, str]]]:
    """Moments, by the source's clock, or dates; null where a part is."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = len(inputs[0])
    present = np.ones(rows, dtype=bool)
    parts: dict[str, np.ndarray] = {}
    for part, array in zip(made.parts, inputs, strict=True):
        present &= pc.is_valid(array).to_numpy(zero_copy_only=False)
        if part == "clock":
            parts |= _hands(array)
            continue
        numbers = array.cast(pa.int32()) if part == "date" else array
        parts[part] = pc.fill_null(numbers, 0).cast(pa.int64()).to_numpy(zero_copy_only=False)
    days, sound = (parts["date"], np.ones(rows, dtype=bool)) if "date" in parts else _days(parts, rows)
    micros = days * _DAY_MICROS
    for part, size in (("hour", 3_600_000_000), ("minute", 60_000_000), ("second", 1_000_000)):
        if part in parts:
            sound &= (parts[part] >= 0) & (parts[part] <= _LIMITS[part])
            micros = micros + np.where(sound, parts[part], 0) * size
    skipped = np.zeros(rows, dtype=bool)
    if clock is not None and column.type == "TIMESTAMP":
        micros, skipped = clock.micros(np.where(sound & present, micros, 0))
    bad = [(int(row), _reason(made, inputs, int(row), column)) for row in np.flatnonzero(present & ~sound)]
    bad += [
        (int(row), f"{_reason(made, inputs, int(row), column)}, a time that the clocks of {clock.zone} skip or show twice")
        for row in np.flatnonzero(present & sound & skipped)
        if clock is not None
    ]
    mask = ~(present & sound & ~skipped)
    kind = arrow_type(column.type)
    if column.type == "DATE":
        return pa.array(days.astype(np.int32), pa.int32(), mask=mask).cast(kind), bad
    return pa.array(micros, pa.int64(), mask=mask).cast(kind), bad


def _hands(texts: "pa.Array") -> "dict[str, np.ndarray]":
    """Hour, minute and second of clocks as text; an hour of 99 where a text is none, which no clock shows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.extract_regex(texts, _CLOCK)
    hands = {}
    for part, none in (("hour", "99"), ("minute", "0"), ("second", "0")):
        text = pc.fill_null(pc.struct_field(found, part), none)
        text = pc.if_else(pc.equal(text, ""), "0", text)
        hands[part] = pc.cast(text, pa.int64()).to_numpy(zero_copy_only=False)
    return hands


def _days(parts: "dict[str, np.ndarray]", rows: int) -> "tuple[np.ndarray, np.ndarray]":
    """Days since 1970 of years, months and days, and which of them are in the calendar."""
    import numpy as np

    year, month = parts["year"], parts["month"]
    day = parts.get("day", np.ones(rows, dtype=np.int64))
    sound = (year >= 1) & (year <= 9999) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    months = np.where(sound, (year - 1970) * 12 + month - 1, 0).astype("datetime64[M]")
    days = months.astype("datetime64[D]") + np.where(sound, day - 1, 0)
    sound &= days.astype("datetime64[M]") == months
    return days.astype(np.int64), sound


def _reason(made: Derivation, inputs: "Sequence[pa.Array]", row: int, column: Column) -> str:
    values: list[Any] = [array[row].as_py() for array in inputs]
    told = ", ".join(f"{part} {value}" for part, value in zip(made.parts, values, strict=True))
    return f"expected a {column.type} that the calendar has, found {told}"
