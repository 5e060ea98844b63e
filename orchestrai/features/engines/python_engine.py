"""Runs feature functions in Python: tables in one order, results in exact types, and each result computed twice."""

import platform
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from orchestrai.errors import FeatureViewError
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.engines.engine import BATCH_ROWS, SPINE, Query, Reads
from orchestrai.features.views.portable_types import UTC_MICROS, canonical
from orchestrai.features.views.python_view import PythonFunction
from orchestrai.features.views.view import FeatureView


class PythonEngine:
    """Runs Python views in this process; DuckDB reads the tables and sorts the result.

    A row-level view is computed a second time without the later half of the rows, an as-of view a second time as it is. A result
    that then differs would not be repeatable, or would know the future: FeatureViewError.
    """

    def __init__(self, reader: DuckDbEngine) -> None:
        self._reader = reader

    @property
    def name(self) -> str:
        """`python`, with the versions that its results may depend on."""
        return f"python {platform.python_version()}, pyarrow {pa.__version__}"

    def resident(self, view: FeatureView, reads: Reads) -> AbstractContextManager[None]:
        """As `Engine.resident`."""
        return self._reader.resident(view, reads)

    @contextmanager
    def run(self, query: Query) -> Iterator[Iterator[pa.RecordBatch]]:
        """As `Engine.run`."""
        view, function = query.view, query.view.python
        assert function is not None
        tables = self._reader.tables(query)
        result = _call(function, view, tables)
        _check_repeat(function, view, tables, result)
        if query.keep is not None:
            low, high = (pa.scalar(moment, UTC_MICROS) for moment in query.keep)
            times = result.column(view.time)
            result = result.filter(pc.and_(pc.greater_equal(times, low), pc.less(times, high)))
        ordered = self._reader.sorted(query, result)
        yield (canonical(batch, view.schema) for batch in ordered.to_batches(BATCH_ROWS))


def _call(function: PythonFunction, view: FeatureView, tables: Mapping[str, pa.Table]) -> pa.Table:
    """One run of the function, its result in the declared types; raises FeatureViewError."""
    given: dict[str, Any] = dict(tables)
    if function.over == "pandas":
        given = {name: table.to_pandas() for name, table in tables.items()}
    try:
        result = function.load()(**given)
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, pa.ArrowException) as exc:
        raise FeatureViewError(f"{view.name}: expected {function.name} to run, found {type(exc).__name__}: {exc}") from exc
    if function.over == "pandas":
        result = pa.Table.from_pandas(result, preserve_index=False)
    if not isinstance(result, pa.Table):
        raise FeatureViewError(f"{view.name}: expected {function.name} to return a table, found {type(result).__name__}")
    missing = [name for name in view.schema.names if name not in result.column_names]
    if missing or result.num_columns != len(view.schema):
        raise FeatureViewError(
            f"{view.name}: expected the columns {', '.join(view.schema.names)}, found {', '.join(result.column_names)}"
        )
    try:
        return result.select(view.schema.names).cast(view.schema).combine_chunks()
    except (pa.ArrowException, ValueError) as exc:
        raise FeatureViewError(f"{view.name}: expected the declared types, found: {exc}") from exc


def _check_repeat(function: PythonFunction, view: FeatureView, tables: Mapping[str, pa.Table], first: pa.Table) -> None:
    cut = _middle(view, tables) if view.kind == "row" else None
    again = _call(
        function, view, tables if cut is None else {name: _before(view, name, tables[name], cut) for name in tables}
    )
    if cut is not None:
        first = first.filter(pc.less(first.column(view.time), pa.scalar(cut, UTC_MICROS)))
    keys = [(name, "ascending") for name in view.key]
    if not _same(first.sort_by(keys), again.sort_by(keys)):
        what = (
            "the same rows when run twice" if cut is None else f"rows before {cut:%Y-%m-%d %H:%M:%S} that need no later ones"
        )
        raise FeatureViewError(
            f"{view.name}: expected {what}, found others: {function.name} must depend on its tables alone"
            + (", and on no row after its own" if cut is not None else "")
        )


def _same(left: pa.Table, right: pa.Table) -> bool:
    if left.num_rows != right.num_rows:
        return False
    return all(
        (left.column(name).combine_chunks().equals(right.column(name).combine_chunks()))
        or (pa.types.is_floating(left.column(name).type) and _same_numbers(left.column(name), right.column(name)))
        for name in left.column_names
    )


def _same_numbers(left: pa.ChunkedArray, right: pa.ChunkedArray) -> bool:
    """Equal, NaN to NaN."""
    import numpy as np

    one, two = (np.asarray(column.to_numpy(), dtype=float) for column in (left, right))
    return bool(left.is_null().equals(right.is_null()) and np.array_equal(one, two, equal_nan=True))


def _middle(view: FeatureView, tables: Mapping[str, pa.Table]) -> datetime | None:
    """A moment in the middle of the first table's rows; None where all happen at once."""
    name, table = next(iter(view.tables.items()))
    if table.event_time is None or not tables[name].num_rows:
        return None
    times = tables[name].column(table.event_time).drop_null().sort()
    if not len(times) or times[0] == times[-1]:
        return None
    cut: datetime = times[len(times) // 2].as_py()
    return cut


def _before(view: FeatureView, name: str, rows: pa.Table, cut: datetime) -> pa.Table:
    column = view.tables[name].event_time if name in view.tables else None
    if column is None or name == SPINE:
        return rows
    return rows.filter(pc.less(rows.column(column), pa.scalar(cut, UTC_MICROS)))
