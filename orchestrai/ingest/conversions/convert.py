"""Type a batch as a contract declares it, by the table; values that do not fit are named, and nothing is changed to fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrai.contracts.contract import Column, Contract, arrow_type
from orchestrai.core.time.local_clock import LocalClock
from orchestrai.ingest.conversions.conversion_table import CONVERSIONS, Family, Kind, family_of, kind_of
from orchestrai.ingest.conversions.landed_numbers import from_numbers
from orchestrai.ingest.conversions.moments import to_moments
from orchestrai.ingest.conversions.piecewise import without
from orchestrai.ingest.conversions.spelling import spelled
from orchestrai.ingest.conversions.text_numbers import from_text
from orchestrai.ingest.readers.columns.derive_columns import Origin, add_derived

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN = 80


@dataclass(frozen=True, slots=True)
class Misfit:
    """A value that does not fit its column, or breaks a rule of it; `belongs` is the partition of a row that came with another."""

    row: int
    column: str
    reason: str
    belongs: str = ""


def convert(
    contract: Contract,
    arrays: Mapping[str, "pa.Array"],
    rows: int,
    timestamp_formats: Sequence[str] = (),
    clock: LocalClock | None = None,
    origin: Origin | None = None,
) -> tuple["pa.RecordBatch", list[Misfit]]:
    """Type a batch given by source column name; a missing column becomes nulls, a misfit value a null that is named.

    Times without a zone are read by `clock`, as UTC without one. Derived columns are made of the typed ones and of `origin`.
    """
    import pyarrow as pa

    reading = _Reading(timestamp_formats, clock)
    typed, misfits = [], []
    for column in contract.columns:
        values = arrays.get(column.source) if column.derive is None else None
        if values is None:
            typed.append(pa.nulls(rows, arrow_type(column.type)))
            continue
        array, bad = _typed(column, values, reading)
        typed.append(array)
        misfits += [Misfit(row, column.name, _reason(column, values, row, reading)) for row in bad]
    batch = pa.RecordBatch.from_arrays(typed, schema=contract.arrow_schema())
    if len(contract.landed) == len(contract.columns):
        return batch, misfits

    def read(column: Column, text: str) -> tuple[pa.Array, bool]:
        array, bad = _typed(column, pa.array([text]), reading)
        return array, bool(bad)

    batch, faults = add_derived(contract, batch, origin, clock, read)
    return batch, misfits + [Misfit(*fault) for fault in faults]


@dataclass(frozen=True, slots=True)
class _Reading:
    """How times in text are read."""

    formats: Sequence[str]
    clock: LocalClock | None


def _typed(column: Column, array: "pa.Array", reading: _Reading) -> tuple["pa.Array", list[int]]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    target, array = arrow_type(column.type), _plain(array)
    kind, family = kind_of(array.type), family_of(column.type)
    if kinds.is_null(array.type):
        return pa.nulls(len(array), target), []
    if kind is None or (kind, family) not in CONVERSIONS:
        return pa.nulls(len(array), target), [int(row) for row in pc.indices_nonzero(pc.is_valid(array)).to_pylist()]
    typed, bad = _converted(column, array, kind, family, target, reading)
    if column.canonical and family == "STRING":
        typed = _canonical(column, typed)
    return typed, bad


def _converted(
    column: Column, array: "pa.Array", kind: Kind, family: Family, target: "pa.DataType", reading: _Reading
) -> tuple["pa.Array", list[int]]:
    if family == "STRING":
        return spelled(array, kind)
    if family in ("TIMESTAMP", "DATE"):
        return to_moments(array, kind, target, column.unit, reading.formats, reading.clock)
    if array.type == target:
        return _finite(array) if family == "DOUBLE" else (array, [])
    if kind != "text":
        numbers = from_numbers(array, kind, target)
        if numbers is not None:
            return numbers, []
    text, bad = spelled(array, kind)
    typed, more = from_text(text, target)
    return typed, sorted({*bad, *more})


def _plain(array: "pa.Array") -> "pa.Array":
    """An array without what only its memory layout says."""
    import pyarrow as pa
    import pyarrow.types as kinds

    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if kinds.is_dictionary(array.type):
        array = array.dictionary_decode()
    if kinds.is_large_string(array.type) or kinds.is_string_view(array.type):
        return array.cast(pa.string())
    return array


def _finite(array: "pa.Array") -> tuple["pa.Array", list[int]]:
    import pyarrow.compute as pc

    finite = pc.is_finite(array)
    if pc.all(finite).as_py() is not False:
        return array, []
    return without(array, pc.invert(finite))


def _canonical(column: Column, array: "pa.Array") -> "pa.Array":
    import pyarrow.compute as pc

    trimmed = pc.utf8_trim_whitespace(array)
    if column.canonical == "trim":
        return trimmed
    return pc.replace_substring_regex(trimmed, r"^([+-]?\d+)\.0+$", r"\1")


def _reason(column: Column, values: "pa.Array", row: int, reading: _Reading) -> str:
    text = shown(values[row])
    unit = column.type in ("TIMESTAMP", "DATE") and not column.unit and text.removeprefix("-").isdigit()
    advice = f": declare the unit of {column.name} in the contract (s, ms, us, ns or days)" if unit else ""
    fault = _clock_fault(column, values.slice(row, 1), reading)
    return f"expected {column.type}, found {text if len(text) <= SHOWN else text[: SHOWN - 3] + '...'}{fault or advice}"


def _clock_fault(column: Column, value: "pa.Array", reading: _Reading) -> str:
    """What is wrong with a time only because of the clock it is read by."""
    if reading.clock is None or column.type != "TIMESTAMP":
        return ""
    by_utc, bad = _typed(column, value, _Reading(reading.formats, None))
    fault = "" if bad else reading.clock.fault(by_utc[0].as_py().replace(tzinfo=None))
    return f", {fault}" if fault else ""


def shown(value: Any) -> str:
    """An Arrow scalar for people; one that Python has no value for by Arrow's own text."""
    import pyarrow as pa

    try:
        return repr(value.as_py())
    except (ValueError, OverflowError, ImportError):
        try:
            return str(value.cast(pa.string()).as_py())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return f"a {value.type} that has no text"
