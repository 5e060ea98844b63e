"""Text to numbers and truth values. Each type has a cast for columns in order and a reference in Python for the rest; they agree."""

import re
from collections.abc import Mapping
from decimal import Decimal
from math import isfinite
from typing import TYPE_CHECKING

from orchestrai.ingest.conversions.piecewise import CAST_ERRORS, Cast, Parse, typed_by_halves

if TYPE_CHECKING:
    import pyarrow as pa

EXACT = 2**53  # up to here every integer is a DOUBLE of its own
_INTEGER = re.compile(r"[+-]?([0-9]+)(\.0+)?")
_WHOLE = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,9})?")
_TRUTH: Mapping[str, bool] = {"true": True, "1": True, "false": False, "0": False}
_LONGEST_EXPONENT = 9_999


def from_text(array: "pa.Array", target: "pa.DataType") -> "tuple[pa.Array, list[int]]":
    """A text column as numbers or truth values, with the rows that are none."""
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    cast, parse = _ways(target)
    try:
        return cast(array), []
    except CAST_ERRORS:
        pass
    trimmed = pc.utf8_trim_whitespace(array)
    if not kinds.is_boolean(target):
        trimmed = pc.replace_substring_regex(trimmed, r"^\+([0-9.])", r"\1")
    if kinds.is_integer(target):
        # pandas writes an integer column that has gaps as 17850.0
        trimmed = pc.replace_substring_regex(trimmed, r"^(-?[0-9]+)\.0+$", r"\1")
    return typed_by_halves(trimmed, target, cast, parse)


def _ways(target: "pa.DataType") -> tuple[Cast, Parse]:
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    if kinds.is_integer(target):
        bits = target.bit_width - 1
        return _integers(target), lambda text: parse_integer(text, -(2**bits), 2**bits - 1)
    if kinds.is_floating(target):
        return _doubles, parse_double
    if kinds.is_decimal(target):
        return _decimals(target), lambda text: parse_decimal(text, target.precision, target.scale)
    return (lambda array: pc.cast(array, target)), parse_boolean


def parse_integer(text: str, low: int, high: int) -> int | None:
    """The integer that a text spells, None where it spells none or one out of bounds."""
    match = _INTEGER.fullmatch(text)
    if match is None or len(match[1].lstrip("0")) > 20:
        return None
    value = int(match[1].lstrip("0") or "0") * (-1 if text.startswith("-") else 1)
    return value if low <= value <= high else None


def parse_double(text: str) -> float | None:
    """The nearest DOUBLE of a decimal number; None for an integer that no DOUBLE is, and beyond the largest."""
    if _DECIMAL.fullmatch(text) is None:
        return None
    value = float(text)
    if not isfinite(value) or (abs(value) >= EXACT and _WHOLE.fullmatch(text) and Decimal(text) != Decimal(value)):
        return None
    return value


def parse_decimal(text: str, precision: int, scale: int) -> Decimal | None:
    """The number that a text spells, exactly; None where the declared digits do not hold it."""
    match = _DECIMAL.fullmatch(text)
    if match is None:
        return None
    if match[2] and abs(int(match[2][1:])) > _LONGEST_EXPONENT:
        return Decimal(0) if Decimal(text[: match.start(2)]) == 0 else None
    sign, digits, exponent = Decimal(text).as_tuple()
    assert isinstance(exponent, int)
    figures = "".join(map(str, digits)).lstrip("0")
    short = figures.rstrip("0")
    exponent += len(figures) - len(short)
    if not short:
        return Decimal(0)
    if exponent < -scale or len(short) + exponent > precision - scale:
        return None
    return Decimal((sign, tuple(map(int, short)), exponent))


def parse_boolean(text: str) -> bool | None:
    """The truth value that a text spells."""
    return _TRUTH.get(text.lower()) if text.isascii() else None


def _integers(target: "pa.DataType") -> Cast:
    import pyarrow.compute as pc

    def cast(array: "pa.Array") -> "pa.Array":
        if _holds(array, b"xX"):
            raise ValueError("expected a decimal integer")  # Arrow reads 0x10 as 16
        return pc.cast(array, target)

    return cast


def _doubles(array: "pa.Array") -> "pa.Array":
    import pyarrow as pa
    import pyarrow.compute as pc

    numbers = pc.cast(array, pa.float64())
    if in_doubt(numbers):
        raise ValueError("expected numbers that every DOUBLE tells apart")
    return numbers


def in_doubt(numbers: "pa.Array") -> bool:
    """Whether numbers that were parsed from text may be others than the text says: beyond 2^53 the text must be asked."""
    import pyarrow.compute as pc

    # bounds are compared here: a number of Python's among the arguments would have Arrow import pandas
    bounds = pc.min_max(numbers)
    least, most = bounds["min"].as_py(), bounds["max"].as_py()
    if least is None:
        return False
    return not (-EXACT < least and most < EXACT) or pc.any(pc.is_nan(numbers)).as_py() is True


def _decimals(target: "pa.DataType") -> Cast:
    import pyarrow.compute as pc

    def cast(array: "pa.Array") -> "pa.Array":
        # with more digits than 38 before or after the scale is applied, or an exponent, Arrow wraps
        longest = pc.max(pc.binary_length(array)).as_py() or 0
        whole = longest
        if longest > 38 - target.scale:
            points = pc.find_substring(array, ".")
            whole = pc.max(pc.if_else(pc.less(points, 0), pc.binary_length(array), points)).as_py()
        if longest > 39 or whole > 38 - target.scale or _holds(array, b"eE"):
            raise ValueError("expected at most 38 digits")
        return pc.cast(array, target)

    return cast


def _holds(array: "pa.Array", letters: bytes) -> bool:
    """Whether any text of a column has one of these letters."""
    offsets, data = array.buffers()[1:3]
    if data is None or not len(array):
        return False
    width = memoryview(offsets).cast("i")
    text = bytes(memoryview(data)[width[array.offset] : width[array.offset + len(array)]])
    return any(text.find(letter) >= 0 for letter in letters)
