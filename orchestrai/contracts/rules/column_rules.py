"""Rules on the values of one column, each written once: for rows that arrive and for the audit of a whole partition.

A rule holds of each row by itself, and a null breaks none but `required`. Bounds and enumerations are values of the column's own type.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation, localcontext
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from orchestrai.contracts.contract import Column, arrow_type

if TYPE_CHECKING:
    import pyarrow as pa

RuleName = Literal["required", "minimum", "maximum", "allowed", "pattern", "max_length"]
_DIGITS = 400  # more than any bound has
_ORDERED = ("STRING", "BIGINT", "INT", "DOUBLE", "DECIMAL", "TIMESTAMP", "DATE")


def broken_rules(column: Column, array: "pa.Array") -> "Iterator[tuple[RuleName, pa.Array]]":
    """Each rule that some row breaks, with a mask of these rows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.required and array.null_count:
        yield "required", pc.is_null(array)
    if array.null_count == len(array):
        return
    low, high = bounds_of(column)
    if low is not None or high is not None:
        yield from _outside(array, low, high)
    if column.allowed:
        members = pa.array(members_of(column), array.type)
        mask = pc.and_(pc.invert(pc.is_in(array, value_set=members)), pc.is_valid(array))
        if pc.any(mask).as_py():
            yield "allowed", mask
    if column.pattern is not None:
        # the same texts come again and again: each is looked at once
        texts = pc.unique(array)
        wrong = texts.filter(pc.fill_null(pc.invert(pc.match_substring_regex(texts, f"^(?:{column.pattern})$")), False))
        if len(wrong):
            yield "pattern", pc.is_in(array, value_set=wrong)
    if column.max_length is not None:
        lengths = pc.utf8_length(array)
        if pc.max(lengths).as_py() > column.max_length:
            yield "max_length", pc.fill_null(pc.greater(lengths, column.max_length), False)


def _outside(array: "pa.Array", low: Any, high: Any) -> "Iterator[tuple[RuleName, pa.Array]]":
    import pyarrow as pa
    import pyarrow.compute as pc

    ends = pc.min_max(array)
    if low is not None and pc.less(ends["min"], pa.scalar(low, array.type)).as_py():
        yield "minimum", pc.fill_null(pc.less(array, pa.scalar(low, array.type)), False)
    if high is not None and pc.greater(ends["max"], pa.scalar(high, array.type)).as_py():
        yield "maximum", pc.fill_null(pc.greater(array, pa.scalar(high, array.type)), False)


@cache
def bounds_of(column: Column) -> tuple[Any, Any]:
    """Minimum and maximum as values of the column's type, the nearest that it has inside the range; raises ValueError."""
    low = None if column.minimum is None else _value(column.type, column.minimum, ROUND_CEILING)
    high = None if column.maximum is None else _value(column.type, column.maximum, ROUND_FLOOR)
    return low, high


@cache
def members_of(column: Column) -> tuple[Any, ...]:
    """The enumeration as values of the column's type; raises ValueError."""
    return tuple(_value(column.type, value, None) for value in column.allowed)


def check_column(column: Column) -> None:
    """Raise ValueError for rules that no value of the column's type could be held against."""
    if column.type != "STRING" and (column.pattern is not None or column.max_length is not None):
        raise ValueError(f"expected pattern and maxLength on STRING only, found them on {column.type}")
    if column.type == "BOOLEAN" and (column.minimum is not None or column.maximum is not None):
        raise ValueError(f"expected minimum and maximum on {', '.join(_ORDERED)} only, found them on BOOLEAN")
    if column.pattern is not None:
        _check_pattern(column.pattern)
    if column.unit and column.type not in ("TIMESTAMP", "DATE"):
        raise ValueError(f"expected a unit on TIMESTAMP and DATE only, found one on {column.type}")
    bounds_of(column)
    members_of(column)


def _check_pattern(pattern: str) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        # an array made of a list would load pandas
        pc.match_substring_regex(pa.nulls(1, pa.string()), f"^(?:{pattern})$")
    except pa.ArrowInvalid as exc:
        raise ValueError(f"expected a pattern in the syntax of RE2, found {pattern!r}: {exc}") from exc


def _value(physical: str, value: Any, rounding: str | None) -> Any:
    """A declared value in a type; `rounding` says where a bound goes that the type does not have."""
    wrong = ValueError(f"expected a value of {physical}, found {value!r}")
    try:
        if physical == "STRING":
            return str(value).lower() if isinstance(value, bool) else str(value)
        if physical == "BOOLEAN":
            return {"true": True, "1": True, "false": False, "0": False}[str(value).lower()]
        if physical in ("DATE", "TIMESTAMP"):
            return _time(physical, value)
        if isinstance(value, bool):
            raise wrong
        number = Decimal(str(value))
        if not number.is_finite():
            raise wrong
        with localcontext(prec=_DIGITS):
            return float(number) if physical == "DOUBLE" else _number(physical, number, rounding)
    except (KeyError, TypeError, InvalidOperation) as exc:
        raise wrong from exc


def _number(physical: str, number: Decimal, rounding: str | None) -> int | Decimal:
    if physical.startswith("DECIMAL"):
        kind = arrow_type(physical)
        step, most = Decimal(1).scaleb(-kind.scale), (Decimal(10) ** kind.precision - 1).scaleb(-kind.scale)
        least = -most
    else:
        step, most = Decimal(1), Decimal(2 ** (31 if physical == "INT" else 63) - 1)
        least = -most - 1
    if number > most:
        number = _clamped(physical, number, most, inside=rounding == ROUND_FLOOR)
    elif number < least:
        number = _clamped(physical, number, least, inside=rounding == ROUND_CEILING)
    units = number / step
    whole = units.to_integral_value(rounding=rounding)
    if rounding is None and whole != units:
        raise ValueError(f"expected a value of {physical}, found {number}")
    return whole * step if physical.startswith("DECIMAL") else int(whole)


def _clamped(physical: str, number: Decimal, end: Decimal, *, inside: bool) -> Decimal:
    """A bound beyond all values of its type is no bound, on the other side no value could keep it."""
    if not inside:
        raise ValueError(f"expected a bound or value that {physical} can have, found {number}")
    return end


def _time(physical: str, value: Any) -> date | datetime:
    try:
        moment = value if isinstance(value, date) else datetime.fromisoformat(str(value))
    except ValueError as exc:
        raise ValueError(f"expected a value of {physical}, found {value!r}") from exc
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time())
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if physical == "TIMESTAMP":
        return moment
    if moment.time() != time():
        raise ValueError(f"expected a date, found {value!r}")
    return moment.date()
