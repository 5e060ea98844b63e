"""From text (or another type) to the declared type, a column of a batch at a time; values that do not fit are named."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrai.contracts.contract import Column, Contract, arrow_type
from orchestrai.core.local_clock import LocalClock
from orchestrai.ingest.readers.columns.derive_columns import Origin, add_derived

if TYPE_CHECKING:
    import pyarrow as pa

_ZONED = r":.*(Z|[+-]\d{2}(:?\d{2})?)$"
Cast = Callable[["pa.Array"], "pa.Array"]


@dataclass(frozen=True, slots=True)
class Misfit:
    """A value that does not fit its column."""

    row: int
    column: str
    reason: str


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

    typed, misfits = [], []
    for column in contract.columns:
        values = arrays.get(column.source) if column.derive is None else None
        if values is None:
            typed.append(pa.nulls(rows, arrow_type(column.type)))
            continue
        array, bad = _typed(column, values, timestamp_formats, clock)
        typed.append(array)
        misfits += [
            Misfit(
                row, column.name, _reason(column, values[row], _local_fault(column, values, row, timestamp_formats, clock))
            )
            for row in bad
        ]
    batch = pa.RecordBatch.from_arrays(typed, schema=contract.arrow_schema())
    if len(contract.landed) == len(contract.columns):
        return batch, misfits

    def read(column: Column, text: str) -> tuple[pa.Array, bool]:
        array, bad = _typed(column, pa.array([text]), timestamp_formats, clock)
        return array, bool(bad)

    batch, faults = add_derived(contract, batch, origin, clock, read)
    return batch, misfits + [Misfit(*fault) for fault in faults]


def _reason(column: Column, value: Any, fault: str = "") -> str:
    text = repr(value.as_py())
    shown = text if len(text) <= 80 else text[:77] + "..."
    return f"expected {column.type}, found {shown}" + (f", {fault}" if fault else "")


def _local_fault(column: Column, values: "pa.Array", row: int, formats: Sequence[str], clock: LocalClock | None) -> str:
    """What is wrong with a time only because of the clock it is read by."""
    if clock is None or column.type != "TIMESTAMP":
        return ""
    by_utc, bad = _typed(column, values.slice(row, 1), formats, None)
    return "" if bad else clock.fault(by_utc[0].as_py().replace(tzinfo=None))


def _typed(
    column: Column, array: "pa.Array", formats: Sequence[str], clock: LocalClock | None
) -> tuple["pa.Array", list[int]]:
    import pyarrow as pa
    import pyarrow.types as kinds

    target = arrow_type(column.type)
    if kinds.is_dictionary(array.type):
        array = array.dictionary_decode()
    if kinds.is_large_string(array.type):
        array = array.cast(pa.string())
    if kinds.is_string(array.type):
        typed, bad = _from_text(column, array, target, formats, clock)
    elif array.type == target:
        typed, bad = array, []
    else:
        typed, bad = _lenient(array, target, _other_cast(column, target, clock))
    if column.canonical and kinds.is_string(target):
        typed = _canonical(column, typed)
    if kinds.is_floating(target):
        typed, bad = _finite(typed, bad)
    return typed, bad


def _other_cast(column: Column, target: "pa.DataType", clock: LocalClock | None) -> Cast:
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    def cast(array: "pa.Array") -> "pa.Array":
        if kinds.is_timestamp(target) and kinds.is_timestamp(array.type) and array.type.tz is None:
            array = _moments(array, clock)
        return pc.cast(array, target)

    return cast


def _canonical(column: Column, array: "pa.Array") -> "pa.Array":
    import pyarrow.compute as pc

    trimmed = pc.utf8_trim_whitespace(array)
    if column.canonical == "trim":
        return trimmed
    return pc.replace_substring_regex(trimmed, r"^([+-]?\d+)\.0+$", r"\1")


def _finite(array: "pa.Array", bad: list[int]) -> tuple["pa.Array", list[int]]:
    import pyarrow.compute as pc

    finite = pc.is_finite(array)
    if pc.all(finite).as_py() is not False:
        return array, bad
    finite = pc.fill_null(finite, True)
    wild = pc.indices_nonzero(pc.invert(finite)).to_pylist()
    return pc.if_else(finite, array, None), sorted({*bad, *wild})


def _from_text(
    column: Column, array: "pa.Array", target: "pa.DataType", formats: Sequence[str], clock: LocalClock | None
) -> tuple["pa.Array", list[int]]:
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    if kinds.is_string(target):
        return array, []
    if kinds.is_timestamp(target) or kinds.is_date(target):
        return _lenient(array, target, _time_cast(target, formats, clock if kinds.is_timestamp(target) else None))

    def cast(values: "pa.Array") -> "pa.Array":
        if kinds.is_integer(target) and _has_hexadecimal(values):
            raise ValueError("expected a decimal integer")  # Arrow reads 0x10 as 16
        return pc.cast(values, target)

    try:
        return cast(array), []
    except _CAST_ERRORS:
        pass
    trimmed = pc.utf8_trim_whitespace(array)
    if kinds.is_integer(target):
        # pandas writes an integer column that has gaps as 17850.0
        trimmed = pc.replace_substring_regex(trimmed, r"^([+-]?\d+)\.0+$", r"\1")
    if kinds.is_integer(target) or kinds.is_floating(target) or kinds.is_decimal(target):
        trimmed = pc.replace_substring_regex(trimmed, r"^\+", "")
    return _lenient(trimmed, target, cast)


def _has_hexadecimal(values: "pa.Array") -> bool:
    import pyarrow.compute as pc

    data = values.buffers()[2]
    raw = b"" if data is None else data.to_pybytes()
    # the buffer may hold more than this slice: it only tells that there is none
    return (b"x" in raw or b"X" in raw) and pc.any(pc.match_substring_regex(values, "[xX]")).as_py() is True


# ArrowInvalid is a ValueError; ArrowNotImplementedError (no such cast) is a NotImplementedError
_CAST_ERRORS = (ValueError, NotImplementedError, ArithmeticError)


def _lenient(array: "pa.Array", target: "pa.DataType", cast: Cast) -> tuple["pa.Array", list[int]]:
    """Cast by halving until the values that refuse stand alone: few misfits cost few casts."""
    import pyarrow as pa

    pieces: list[pa.Array] = []
    bad: list[int] = []
    todo = [(0, len(array))]
    while todo:
        start, length = todo.pop()
        piece = array.slice(start, length)
        try:
            pieces.append(cast(piece))
        except _CAST_ERRORS:
            if length == 1:
                pieces.append(pa.nulls(1, target))
                bad.append(start)
            else:
                half = length // 2
                todo += [(start + half, length - half), (start, half)]
    if len(pieces) == 1:
        return pieces[0], bad
    return (pa.concat_arrays(pieces) if pieces else pa.nulls(0, target)), bad


def _moments(naive: "pa.Array", clock: LocalClock | None) -> "pa.Array":
    """Times without a zone as UTC ones; raises ValueError for one that the clock skips or shows twice."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    # a naive time cast to UTC keeps its number: no table of zones is asked
    utc = pc.cast(naive, pa.timestamp(naive.type.unit, tz="UTC"))
    if clock is None or len(naive) == naive.null_count:
        return utc
    kept = pc.is_valid(naive)
    local = pc.cast(pc.cast(naive, pa.timestamp("us")), pa.int64())
    micros, bad = clock.micros(local.drop_null().to_numpy(zero_copy_only=False))
    if bad.any():
        raise ValueError(f"expected times that the clocks of {clock.zone} show once")
    whole = np.zeros(len(naive), dtype=np.int64)
    places = kept.to_numpy(zero_copy_only=False)
    whole[places] = micros
    return pa.array(whole, pa.int64(), mask=~places).cast(pa.timestamp("us", tz="UTC"))


def _time_cast(target: "pa.DataType", formats: Sequence[str], clock: LocalClock | None) -> Cast:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    naive = pa.timestamp("us")

    def iso(values: "pa.Array") -> "pa.Array":
        zoned = pc.match_substring_regex(values, _ZONED)
        if not pc.any(zoned).as_py():
            return _moments(pc.cast(values, naive), clock)
        plain = _moments(pc.cast(pc.if_else(zoned, None, values), naive), clock)
        return pc.coalesce(plain, pc.cast(pc.if_else(zoned, values, None), pa.timestamp("us", tz="UTC")))

    def by_format(values: "pa.Array") -> "pa.Array":
        moments = pa.nulls(len(values), naive)
        for form in formats:
            moments = pc.coalesce(moments, pc.strptime(values, format=form, unit="us", error_is_null=True))
        if moments.null_count != values.null_count:
            raise ValueError(f"expected one of the formats {', '.join(formats)}")
        return _moments(moments, clock)

    def plain_or_iso(values: "pa.Array") -> "pa.Array":
        try:
            return _moments(pc.cast(values, naive), clock)
        except _CAST_ERRORS:
            return iso(pc.utf8_trim_whitespace(values))

    def cast(values: "pa.Array") -> "pa.Array":
        moments = by_format(pc.utf8_trim_whitespace(values)) if formats else plain_or_iso(values)
        return moments if kinds.is_timestamp(target) else pc.cast(pc.cast(moments, naive), target)

    return cast
