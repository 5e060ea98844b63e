"""Landed values to TIMESTAMP and DATE: times in text, moments of other units, and integers by their declared unit."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from orchestrai.core.time.local_clock import LocalClock
from orchestrai.ingest.conversions.conversion_table import Kind
from orchestrai.ingest.conversions.declared_formats import parse_moments
from orchestrai.ingest.conversions.piecewise import CAST_ERRORS, typed_by_halves, without
from orchestrai.ingest.conversions.spelling import spelled
from orchestrai.ingest.conversions.text_numbers import from_text

if TYPE_CHECKING:
    import pyarrow as pa

DAY = 86_400_000_000
FIRST, LAST = -62_135_596_800_000_000, 253_402_300_799_999_999  # the years 1 to 9999 in microseconds
# microseconds in one of a unit, or how many of it make one
_LONGER = {"us": 1, "ms": 1_000, "s": 1_000_000, "days": DAY}
_ZONED = r":.*(Z|[+-]\d{2}(:?\d{2})?)$|^.{13}(Z|[+-]\d{2}(:?\d{2})?)$"
_WHOLE = r"^\s*[+-]?[0-9]+(\.0+)?\s*$"


def to_moments(
    array: "pa.Array",
    kind: Kind,
    target: "pa.DataType",
    unit: str,
    formats: Sequence[str],
    clock: LocalClock | None = None,
) -> "tuple[pa.Array, list[int]]":
    """A column as moments in UTC or as dates, with the rows that are none; times without a zone are read by `clock`, else as UTC."""
    import pyarrow as pa
    import pyarrow.types as kinds

    clock = None if kinds.is_date(target) else clock
    if kind in ("moment", "moment with a zone"):
        micros, bad = in_micros(array.cast(pa.int64()), array.type.unit)
        micros, off = _by_clock(micros, clock if kind == "moment" else None)
        return _as(target, micros, [*bad, *off])
    if kind == "date":
        return _from_dates(array, target, clock)
    if kind in ("float", "decimal") and not unit:
        return pa.nulls(len(array), target), _every(array)
    text, bad = spelled(array, kind)
    if kinds.is_date(target) and not unit and not formats:
        dates, more = _iso_dates(text)
    elif unit:
        micros, more = _by_unit(text, unit, (formats, clock), dated=kinds.is_date(target))
        dates, more = _as(target, micros, more)
    else:
        micros, more = _from_text(text, formats, clock, dated=kinds.is_date(target))
        dates, more = _as(target, micros, more)
    return dates, sorted({*bad, *more})


def _by_clock(micros: "pa.Array", clock: LocalClock | None) -> "tuple[pa.Array, list[int]]":
    """Microseconds of times without a zone as those of UTC, with the rows that the clock skips or shows twice."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if clock is None or len(micros) == micros.null_count:
        return micros, []
    places = np.flatnonzero(pc.is_valid(micros).to_numpy(zero_copy_only=False))
    read, bad = clock.micros(micros.drop_null().to_numpy(zero_copy_only=False))
    whole, missing = np.zeros(len(micros), np.int64), np.ones(len(micros), np.bool_)
    whole[places], missing[places] = read, bad
    return pa.array(whole, pa.int64(), mask=missing), places[bad].tolist()


def _every(array: "pa.Array") -> list[int]:
    import pyarrow.compute as pc

    return [int(row) for row in pc.indices_nonzero(pc.is_valid(array)).to_pylist()]


def in_micros(numbers: "pa.Array", unit: str) -> "tuple[pa.Array, list[int]]":
    """Counts of a unit as microseconds, exactly; those with a rest or outside the years 1 to 9999 are misfits."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if unit == "ns":
        micros = pc.divide(numbers, 1_000)
        rest = pc.not_equal(pc.multiply(micros, 1_000), numbers)
        return without(micros, rest) if pc.any(rest).as_py() else (micros, [])
    factor = _LONGER[unit]
    if factor == 1:
        return numbers, []
    bounds = pc.min_max(numbers).as_py()
    bad: list[int] = []
    if bounds["min"] is not None and (bounds["min"] < FIRST // factor or bounds["max"] > LAST // factor):
        wild = pc.or_(pc.less(numbers, FIRST // factor), pc.greater(numbers, LAST // factor))
        numbers, bad = without(numbers, wild)
    return pc.multiply(numbers, pa.scalar(factor, pa.int64())), bad


def _as(target: "pa.DataType", micros: "pa.Array", bad: list[int]) -> "tuple[pa.Array, list[int]]":
    """Microseconds as the declared type: years 1 to 9999 only, a date only at midnight."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    bounds = pc.min_max(micros).as_py()
    if bounds["min"] is not None and (bounds["min"] < FIRST or bounds["max"] > LAST):
        micros, wild = without(micros, pc.or_(pc.less(micros, FIRST), pc.greater(micros, LAST)))
        bad = sorted({*bad, *wild})
    if kinds.is_timestamp(target):
        return micros.view(target) if not micros.offset else pc.cast(micros, target), bad
    # whole numbers: as a DOUBLE no moment beyond the year 2255 could be divided
    days = pc.cast(pc.divide(micros, pa.scalar(DAY, pa.int64())), pa.int32())
    late = pc.not_equal(pc.multiply(pc.cast(days, pa.int64()), pa.scalar(DAY, pa.int64())), micros)
    days, cut = without(days, late)
    return pc.cast(days, pa.date32()), sorted({*bad, *cut})


def _from_dates(array: "pa.Array", target: "pa.DataType", clock: LocalClock | None) -> "tuple[pa.Array, list[int]]":
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    whole = pc.cast(array, pa.int32() if kinds.is_date32(array.type) else pa.int64())
    micros, bad = in_micros(pc.cast(whole, pa.int64()), "days" if kinds.is_date32(array.type) else "ms")
    micros, off = _by_clock(micros, clock)
    return _as(target, micros, [*bad, *off])


def _by_unit(
    text: "pa.Array", unit: str, reading: tuple[Sequence[str], LocalClock | None], *, dated: bool
) -> "tuple[pa.Array, list[int]]":
    """Integers by their unit; what is none is a time in text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = pc.match_substring_regex(text, _WHOLE)
    if pc.all(whole).as_py() is not False:
        return _counted(text, unit)
    counted, bad = _counted(pc.if_else(whole, text, None), unit)
    told, more = _from_text(pc.if_else(whole, pa.scalar(None, pa.string()), text), *reading, dated=dated)
    return pc.coalesce(counted, told), sorted({*bad, *more})


def _counted(text: "pa.Array", unit: str) -> "tuple[pa.Array, list[int]]":
    import pyarrow as pa

    numbers, bad = from_text(text, pa.int64())
    micros, more = in_micros(numbers, unit)
    return micros, sorted({*bad, *more})


def _from_text(
    text: "pa.Array", formats: Sequence[str], clock: LocalClock | None, *, dated: bool
) -> "tuple[pa.Array, list[int]]":
    """Microseconds of times in text, in UTC or by the clock where none says otherwise; a moment with a zone is no date."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if not formats:
        moments, bad = _iso(text, clock, zones=not dated)
        return moments.cast(pa.int64()), bad
    trimmed = pc.utf8_trim_whitespace(text)
    if len(trimmed) == 0:
        return pa.array([], pa.int64()), []
    moments = parse_moments(trimmed, formats)
    fits = moments.read & ~moments.zoned if dated else moments.read
    given = pc.is_valid(trimmed).to_numpy(zero_copy_only=False)
    micros, off = pa.array(moments.micros, pa.int64(), mask=~fits), list[int]()
    if clock is not None:
        plain, off = _by_clock(pa.array(moments.micros, pa.int64(), mask=~fits | moments.zoned), clock)
        zoned = pa.array(moments.micros, pa.int64(), mask=~(fits & moments.zoned))
        micros = pc.coalesce(plain, zoned)
    return micros, sorted({*np.flatnonzero(given & ~fits).tolist(), *off})


def _iso(text: "pa.Array", clock: LocalClock | None, *, zones: bool) -> "tuple[pa.Array, list[int]]":
    """ISO 8601 as Arrow reads it; without a clock naive times keep their number, so no table of zones is asked."""
    import pyarrow as pa
    import pyarrow.compute as pc

    naive = pa.timestamp("us")
    try:
        micros, off = _by_clock(pc.cast(text, naive).cast(pa.int64()), clock)
        return micros.cast(naive), off
    except CAST_ERRORS:
        pass
    # beyond microseconds only zeros are no loss
    trimmed = pc.replace_substring_regex(pc.utf8_trim_whitespace(text), r"(\.[0-9]{6})0+", r"\1")

    def plain(values: "pa.Array") -> "pa.Array":
        micros, off = _by_clock(pc.cast(values, naive).cast(pa.int64()), clock)
        if off:
            raise ValueError("expected times that the clocks of the zone show once")
        return micros.cast(naive)

    def cast(values: "pa.Array") -> "pa.Array":
        zoned = pc.match_substring_regex(values, _ZONED)
        if not zones or not pc.any(zoned).as_py():
            return plain(values)
        there = pc.cast(pc.if_else(zoned, values, None), pa.timestamp("us", tz="UTC"))
        return pc.coalesce(plain(pc.if_else(zoned, None, values)), there.cast(pa.int64()).cast(naive))

    return typed_by_halves(trimmed, naive, cast)


def _iso_dates(text: "pa.Array") -> "tuple[Any, list[int]]":
    """Dates of text; the short way where every one is ten letters long."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        dates = pc.cast(text, pa.date32())
        if pc.min(dates).cast(pa.int32()).as_py() is None or pc.min(dates).cast(pa.int32()).as_py() >= FIRST // DAY:
            return dates, []
    except CAST_ERRORS:
        pass
    micros, bad = _from_text(text, (), None, dated=True)
    return _as(pa.date32(), micros, bad)
