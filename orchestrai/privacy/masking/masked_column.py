"""One column masked: each distinct value is worked out once, nulls stay null, the type stays."""

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from orchestrai.privacy.masking.bands import (
    days_within,
    decimal_band,
    double_band,
    month_of_days,
    month_of_microseconds,
    span_within,
    text_band,
    whole_band,
)
from orchestrai.privacy.masking.keyed_values import MaskKey
from orchestrai.privacy.masking.mask_plan import WHOLE_NUMBERS, ColumnMask

if TYPE_CHECKING:
    import pyarrow as pa

Window = tuple[int, int] | None


def plain_values(values: "pa.Array") -> list[Any]:
    """The values as Python has them: times as microseconds and dates as days since 1970, which have no bounds."""
    import pyarrow as pa

    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.int64())
    elif pa.types.is_date32(values.type):
        values = values.cast(pa.int32())
    return list(values.to_pylist())


def counted_values(column: "pa.ChunkedArray") -> list[tuple[Any, int]]:
    """Each value that there is, as `plain_values` has it, with how many cells hold it."""
    import pyarrow.compute as pc

    counts = pc.value_counts(column.combine_chunks())
    pairs = zip(plain_values(counts.field("values")), counts.field("counts").to_pylist(), strict=True)
    return [(value, count) for value, count in pairs if value is not None]


def typed_values(values: list[Any], kind: "pa.DataType") -> "pa.Array":
    """The way back."""
    import pyarrow as pa

    if pa.types.is_timestamp(kind):
        return pa.array(values, pa.int64()).cast(kind)
    if pa.types.is_date32(kind):
        return pa.array(values, pa.int32()).cast(kind)
    return pa.array(values, kind)


def band_of(column: ColumnMask, value: Any, window: Window) -> Any:
    """The band of a value; None for a number that is none."""
    if column.type == "STRING":
        return text_band(value)
    if column.type in WHOLE_NUMBERS:
        return whole_band(value)
    if column.type == "DOUBLE":
        return double_band(value)
    if column.type == "TIMESTAMP":
        # the event time stays within its partition
        return (span_within(value, window) if column.timed else month_of_microseconds(value))[0]
    if column.type == "DATE":
        return (days_within(value, window) if column.timed else month_of_days(value))[0]
    return decimal_band(value)


def permuted(column: ColumnMask, value: Any, window: Window, key: MaskKey) -> Any:
    """Another value of the same band, one to one."""
    if column.type == "BOOLEAN":
        return bool(key.permuted(int(value), 2, "boolean"))
    if column.type == "TIMESTAMP":
        begin, span = span_within(value, window) if column.timed else month_of_microseconds(value)
        return begin + key.permuted(value - begin, span, f"time {begin}")
    if column.type == "DATE":
        begin, span = days_within(value, window) if column.timed else month_of_days(value)
        return begin + key.permuted(value - begin, span, f"date {begin}")
    return _permuted_decimal(value, key)


def _permuted_decimal(value: Decimal, key: MaskKey) -> Decimal:
    sign, digits, exponent = value.as_tuple()
    number = int("".join(map(str, digits)))
    if not number:
        return value
    least = 10 ** (len(str(number)) - 1)
    place = least + key.permuted(number - least, 9 * least, f"decimal {sign}")
    return Decimal((sign, tuple(map(int, str(place))), int(exponent)))


def drawn(column: ColumnMask, count: int, edges: tuple[Any, Any] | None, bits: Callable[[int], Any]) -> list[Any]:
    """`count` values that no row decides: between the bands of the least and the largest value, whichever row has them."""
    numbers = list(bits(count))
    if column.type == "BOOLEAN":
        return [bool(number & 1) for number in numbers]
    if column.type == "STRING":
        return [f"text_{number:016x}" for number in numbers]
    low, high = edges or (0, 0)
    if column.type.startswith("DECIMAL"):
        exponent = low.as_tuple().exponent if isinstance(low, Decimal) else 0
        least, most = _unscaled(low), _unscaled(high)
        return [_scaled(least + number % (most - least + 1), int(exponent)) for number in numbers]
    if column.type == "DOUBLE":
        return [low + (high - low) * (number / 2**64) for number in numbers]
    return [low + number % (high - low + 1) for number in numbers]


def _unscaled(value: Any) -> int:
    if not isinstance(value, Decimal):
        return int(value)
    sign, digits, _ = value.as_tuple()
    return int("".join(map(str, digits))) * (-1 if sign else 1)


def _scaled(number: int, exponent: int) -> Decimal:
    return Decimal((int(number < 0), tuple(map(int, str(abs(number)))), exponent))
