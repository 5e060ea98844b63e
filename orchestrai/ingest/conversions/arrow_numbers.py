"""Numbers of Arrow columns as numpy's, without pandas, which Arrow's own conversion loads."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


def integers(column: "pa.Array") -> "np.ndarray[Any, np.dtype[np.int64]]":
    """A column of integers or moments as 64-bit integers; of a value that is missing the number says nothing."""
    import numpy as np
    import pyarrow as pa

    plain = column.cast(pa.int64())
    numbers: np.ndarray[Any, np.dtype[np.int64]] = _words(plain, np.dtype(np.int64))
    return numbers


def floats(column: "pa.Array") -> "np.ndarray[Any, np.dtype[np.float64]]":
    """A column of numbers as doubles, the nearest where there is none; a missing value is not a number."""
    import numpy as np
    import pyarrow as pa

    plain = column.cast(pa.float64(), safe=False)
    numbers = _words(plain, np.dtype(np.float64))
    return np.where(valid(plain), numbers, np.nan) if plain.null_count else numbers


def valid(column: "pa.Array") -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Where a column has a value."""
    import numpy as np

    bits = column.buffers()[0]
    if bits is None:
        return np.full(len(column), not column.null_count, np.bool_)
    unpacked = np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")
    return unpacked[column.offset : column.offset + len(column)].astype(np.bool_)


def _words(column: "pa.Array", kind: "np.dtype[Any]") -> Any:
    import numpy as np

    values = column.buffers()[1]
    if values is None:
        return np.zeros(len(column), kind)
    return np.frombuffer(values, kind)[column.offset : column.offset + len(column)]
