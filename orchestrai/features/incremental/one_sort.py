"""A view's windows over one sort: DuckDB reads and sorts the rows once, and prefix sums stand in for its windows.

A row-level view is often a chain of steps (number the duplicates, keep the first, look back over ten rows) that all want the rows
in the same order; DuckDB sorts for each of them. `plan` finds such a chain in the view's tree, or nothing. Every expression
around the windows is still DuckDB's, so the bits are the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import pyarrow as pa

from orchestrai.features.incremental.window_chain import CHUNK, Chain, NoChain, Plan, Stage
from orchestrai.features.views.view import FeatureView

if TYPE_CHECKING:
    import duckdb

__all__ = ["CHUNK", "Plan", "Stage", "before_last", "evaluated", "plan", "run"]


def plan(view: FeatureView) -> Plan | None:
    """How to run a view over one sort; None where its shape asks for more."""
    return _plans(_ByHash(view.hash, view))


@dataclass(frozen=True)
class _ByHash:
    hash: str
    view: FeatureView = field(compare=False)


@lru_cache(maxsize=256)
def _plans(key: _ByHash) -> Plan | None:
    if key.view.kind != "row" or key.view.tree is None:
        return None
    try:
        return Chain(key.view).plan()
    except NoChain:
        return None


def run(sort_plan: Plan, source: Iterator[pa.RecordBatch], evaluator: "duckdb.DuckDBPyConnection") -> Iterator[pa.Table]:
    """The view's rows, from the sorted rows of `sort_plan.source`; raises Unsuited. `evaluator` must keep the order of rows."""
    return _run(sort_plan.stages, source, evaluator)


def before_last(
    sort_plan: Plan, source: Iterator[pa.RecordBatch], evaluator: "duckdb.DuckDBPyConnection"
) -> Iterator[pa.Table]:
    """The rows that the last windows see, in order; as `run`."""
    return _run(sort_plan.stages[:-1], source, evaluator)


def _run(
    stages: Sequence[Stage], source: Iterator[pa.RecordBatch], evaluator: "duckdb.DuckDBPyConnection"
) -> Iterator[pa.Table]:
    tables: Iterator[pa.Table] = (pa.Table.from_batches([batch]) for batch in source)
    for stage in stages:
        tables = _stage(stage, tables, evaluator)
    return tables


def _stage(stage: Stage, tables: Iterator[pa.Table], evaluator: "duckdb.DuckDBPyConnection") -> Iterator[pa.Table]:
    # what only looks at the plan sorts nothing
    from orchestrai.features.incremental.prefix_sums import Slider

    for table in Slider(stage.windows).run(tables):
        yield from evaluated(stage.sql, table, evaluator)


def evaluated(sql: str, table: pa.Table, evaluator: "duckdb.DuckDBPyConnection") -> Iterator[pa.Table]:
    """What a stage's SQL makes of its rows, where it is any."""
    evaluator.register(CHUNK, table)
    result = evaluator.sql(sql).to_arrow_table()
    evaluator.unregister(CHUNK)
    if result.num_rows:
        yield result
