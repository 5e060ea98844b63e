"""A fast cast of a whole column where it is in order, and value by value where it is not."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

# ArrowInvalid is a ValueError; ArrowNotImplementedError (no such cast) is a NotImplementedError
CAST_ERRORS = (ValueError, NotImplementedError, ArithmeticError)
LEAF = 64
Cast = Callable[["pa.Array"], "pa.Array"]
Parse = Callable[[str], Any]


def typed_by_halves(
    array: "pa.Array", target: "pa.DataType", cast: Cast, parse: Parse | None = None
) -> "tuple[pa.Array, list[int]]":
    """Cast by halving until only few values refuse: these are parsed one by one, and what gives None is a misfit.

    `cast` raises one of CAST_ERRORS where it is in doubt. Without `parse` a value that refuses alone is a misfit.
    """
    import pyarrow as pa

    pieces: list[pa.Array] = []
    bad: list[int] = []
    todo = [(0, len(array))]
    while todo:
        start, length = todo.pop()
        piece = array.slice(start, length)
        try:
            pieces.append(cast(piece))
            continue
        except CAST_ERRORS:
            pass
        if parse is not None and length <= LEAF:
            values = piece.to_pylist()
            parsed = [None if value is None else parse(value) for value in values]
            bad += [start + row for row, value in enumerate(values) if value is not None and parsed[row] is None]
            pieces.append(pa.array(parsed, target))
        elif length == 1:
            pieces.append(pa.nulls(1, target))
            bad.append(start)
        else:
            half = length // 2
            todo += [(start + half, length - half), (start, half)]
    if len(pieces) == 1:
        return pieces[0], bad
    return (pa.concat_arrays(pieces) if pieces else pa.nulls(0, target)), bad


def without(array: "pa.Array", mask: "pa.Array") -> "tuple[pa.Array, list[int]]":
    """Null the values under a mask, and tell their rows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    mask = pc.fill_null(mask, False)
    rows = pc.indices_nonzero(mask).to_pylist()
    return (pc.if_else(mask, pa.scalar(None, array.type), array), rows) if rows else (array, [])
