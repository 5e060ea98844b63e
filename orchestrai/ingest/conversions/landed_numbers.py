"""Landed numbers to declared ones at once, where that is proven to give what their text gives; else None, and the text is asked."""

from typing import TYPE_CHECKING, Any

from orchestrai.ingest.conversions.conversion_table import Kind
from orchestrai.ingest.conversions.piecewise import CAST_ERRORS
from orchestrai.ingest.conversions.text_numbers import EXACT

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

# of a number of at most 15 digits the shortest decimal is the only one that gives the same DOUBLE
FIFTEEN_DIGITS = 10**15


def from_numbers(array: "pa.Array", kind: Kind, target: "pa.DataType") -> "pa.Array | None":
    """Integers, floats or decimals as another number type; None where their text must be asked."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    if kind not in ("integer", "float", "decimal") or kinds.is_boolean(target):
        return None
    if kind == "decimal":
        return None if kinds.is_floating(target) else _rescaled(array, target)
    if not len(array) or array.null_count == len(array):
        return pa.nulls(len(array), target)
    if kind == "float":
        array = pc.cast(array, pa.float64())
        if kinds.is_floating(target):
            return array if pc.all(pc.is_finite(array)).as_py() is not False else None
    limit = FIFTEEN_DIGITS if kind == "float" else EXACT
    bounds = pc.min_max(array).as_py()
    if not (-limit <= bounds["min"] and bounds["max"] <= limit):
        return _safe(array, target) if kind == "integer" and kinds.is_integer(target) else None
    if not kinds.is_decimal(target):
        return _safe(array, target)
    return _decimals(array, target)


def _safe(array: "pa.Array", target: "pa.DataType") -> "pa.Array | None":
    import pyarrow.compute as pc

    try:
        return pc.cast(array, target)
    except CAST_ERRORS:
        return None


def _rescaled(array: "pa.Array", target: "pa.DataType") -> "pa.Array | None":
    """Decimals in other digits. Arrow wraps where more than it counts in come of it, so that needs a wider type on the way."""
    import pyarrow as pa
    import pyarrow.types as kinds

    if not kinds.is_decimal(target):
        return _safe(array, target)
    digits = array.type.precision + max(target.scale - array.type.scale, 0)
    if digits <= 38:
        return _safe(array, target)
    wide = _safe(array, pa.decimal256(76, target.scale)) if digits <= 76 else None
    return None if wide is None else _safe(wide, target)


def _decimals(array: "pa.Array", target: "pa.DataType") -> "pa.Array | None":
    """Numbers as decimals by their unscaled integers."""
    import numpy as np
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    if target.scale > 15:
        return None
    numbers = pc.fill_null(array, 0).to_numpy(zero_copy_only=False)
    power = 10**target.scale
    if kinds.is_floating(array.type):
        scaled = np.rint(numbers * float(power))
        if not (np.abs(scaled).max() < FIFTEEN_DIGITS and bool((scaled / float(power) == numbers).all())):
            return None
        unscaled = scaled.astype("i8")
    else:
        if np.abs(numbers.astype("i8")).max() > 10**18 // power:
            return None
        unscaled = numbers.astype("i8") * power
    if np.abs(unscaled).max() >= 10 ** min(target.precision, 18):
        return None
    return _wide(unscaled, array, target)


def _wide(unscaled: "np.ndarray[Any, Any]", array: "pa.Array", target: "pa.DataType") -> "pa.Array":
    """128-bit integers of 64-bit ones, under the nulls of an array."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    halves = np.empty((len(unscaled), 2), "<i8")
    halves[:, 0], halves[:, 1] = unscaled, unscaled >> 63
    made = pa.Array.from_buffers(target, len(unscaled), [None, pa.py_buffer(halves)])
    return pc.if_else(pc.is_valid(array), made, None) if array.null_count else made
