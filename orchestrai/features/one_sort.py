"""A view's windows over one sort: DuckDB reads and sorts the rows once, and prefix sums stand in for its windows.

A row-level view is often a chain of steps (number the duplicates, keep the first, look back over ten rows) that all want the rows
in the same order; DuckDB sorts for each of them. `plan` finds such a chain in the view's tree, or nothing. Every expression
around the windows is still DuckDB's, so the bits are the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import pyarrow as pa
from sqlglot import exp

from orchestrai.features.lint_values import type_of
from orchestrai.features.lint_windows import interval
from orchestrai.features.sliding import Frame, Slider, Sliding
from orchestrai.features.view import FeatureView, to_duckdb

if TYPE_CHECKING:
    import duckdb

CHUNK = "chunk"
_INTEGERS = {"TINYINT", "SMALLINT", "INT", "BIGINT"}
_PLAIN = {"kind", "expressions", "from_", "where", "windows", "with_", "hint"}
_MICROS = 1_000_000


class _NoChain(Exception):
    """The view is not such a chain."""


@dataclass(frozen=True)
class Stage:
    """Windows over the rows so far, then the SQL over `chunk` that gives the rows of the next stage."""

    windows: tuple[Sliding, ...]
    sql: str


@dataclass(frozen=True)
class Plan:
    """`source` gives the sorted rows of the first stage; the last stage's are the view's, sorted by its key."""

    source: str
    stages: tuple[Stage, ...]


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
        return _Chain(key.view).plan()
    except _NoChain:
        return None


def run(found: Plan, source: Iterator[pa.RecordBatch], evaluator: "duckdb.DuckDBPyConnection") -> Iterator[pa.Table]:
    """The view's rows, from the sorted rows of `found.source`; raises Unsuited. `evaluator` must keep the order of rows."""
    tables: Iterator[pa.Table] = (pa.Table.from_batches([batch]) for batch in source)
    for stage in found.stages:
        tables = _stage(stage, tables, evaluator)
    return tables


def _stage(stage: Stage, tables: Iterator[pa.Table], evaluator: "duckdb.DuckDBPyConnection") -> Iterator[pa.Table]:
    for table in Slider(stage.windows).run(tables):
        evaluator.register(CHUNK, table)
        result = evaluator.sql(stage.sql).to_arrow_table()
        evaluator.unregister(CHUNK)
        if result.num_rows:
            yield result


@dataclass
class _Step:
    """One SELECT of the chain, with its windows resolved."""

    select: exp.Select
    alias: str
    windows: list[exp.Window]
    named: Mapping[str, exp.Window]

    def definition(self, window: exp.Window) -> exp.Window:
        alias = window.args.get("alias")
        return self.named[alias.name] if alias is not None else window

    @property
    def columns(self) -> set[str]:
        """The source columns it names, those of its subqueries aside."""
        parts = [*self.select.expressions, self.select.args.get("where"), *self.named.values()]
        return {column.name for part in parts if part is not None for column in part.find_all(exp.Column)}


class _Chain:
    """The steps of a view from the innermost out, and the one order that serves all of them."""

    def __init__(self, view: FeatureView) -> None:
        assert view.tree is not None
        self._tree = view.tree
        self.view = view
        self._steps, self._base = _steps(view.tree)
        first = next((at for at, step in enumerate(self._steps) if step.windows), None)
        if first is None:
            raise _NoChain
        self._first = first

    def plan(self) -> Plan:
        """Source and stages; raises _NoChain."""
        order = self._order()
        source, arguments = self._source()
        stages = []
        at: int | None = self._first
        while at is not None:
            later = next((i for i in range(at + 1, len(self._steps)) if self._steps[i].windows), None)
            windows, replaced = self._windows(at, arguments)
            sql = self._select(replaced, f"{CHUNK} AS {_quoted(self._steps[at].alias)}", filtered=False)
            for step in self._steps[at + 1 : later]:
                sql = self._select(step.select, f"({sql}) AS {_quoted(step.alias)}")
            if later is not None:
                sql, arguments = self._input(self._steps[later], f"({sql}) AS {_quoted(self._steps[later].alias)}")
            stages.append(Stage(tuple(windows), sql))
            at = later
        return Plan(f"{source} ORDER BY {', '.join(order)}", tuple(stages))

    def _source(self) -> tuple[str, dict[str, str]]:
        """The SQL of the first windows' rows, and the columns that hold their arguments."""
        base, below = self._base, self._steps[: self._first]
        for step in below:
            base = f"({self._select(step.select, base)}) AS {_quoted(self._steps[below.index(step) + 1].alias)}"
        sql, arguments = self._input(self._steps[self._first], base)
        with_ = self._tree.args.get("with_")
        return (f"{_duckdb(with_)} {sql}" if with_ is not None else sql), arguments

    def _input(self, step: _Step, source: str) -> tuple[str, dict[str, str]]:
        """The rows that a step's windows see: its source columns, filtered, and the arguments that are expressions."""
        arguments: dict[str, str] = {}
        columns = [_quoted(name) for name in sorted(step.columns)]
        for window in step.windows:
            argument = window.this.this
            if isinstance(argument, exp.Expr) and not isinstance(argument, exp.Column | exp.Star | exp.Literal):
                text = _duckdb(argument)
                if text not in arguments:
                    arguments[text] = f"__a{len(arguments)}"
                    columns.append(f'{text} AS "{arguments[text]}"')
        where = step.select.args.get("where")
        return f"SELECT {', '.join(columns)} FROM {source} {_duckdb(where) if where is not None else ''}", arguments

    def _windows(self, at: int, arguments: Mapping[str, str]) -> tuple[list[Sliding], exp.Select]:
        """A step's distinct windows, and its SELECT with columns in their place."""
        step, found = self._steps[at], dict[tuple[object, ...], Sliding]()
        select = step.select.copy()
        named = set(step.named)
        for original, copied in zip(_in_select(step.select, named), _in_select(select, named), strict=True):
            shape = _shape(original, step.definition(original), arguments)
            window = found.setdefault(shape, Sliding(f"__w{len(found)}", *shape))  # type: ignore[arg-type]
            copied.replace(exp.column(window.name, quoted=True))
        select.set("windows", None)
        return list(found.values()), select

    def _select(self, select: exp.Select, source: str, *, filtered: bool = True) -> str:
        columns = ", ".join(f"{_duckdb(part.unalias())} AS {_quoted(part.alias_or_name)}" for part in select.expressions)
        where = select.args.get("where")
        return f"SELECT {columns} FROM {source} {_duckdb(where) if filtered and where is not None else ''}"

    def _order(self) -> list[str]:
        """The order of the source that suits every window and the view's key."""
        wanted = [self._traced(name, len(self._steps)) for name in self.view.key]
        keys: list[tuple[str, bool]] = [(name, False) for name in wanted]
        for at in range(len(self._steps) - 1, self._first - 1, -1):
            for window in self._steps[at].windows:
                definition = self._steps[at].definition(window)
                partition = [self._traced(_plain(part), at) for part in definition.args.get("partition_by") or ()]
                order = [
                    (self._traced(_plain(part.this), at), bool(part.args.get("desc")))
                    for part in (definition.args["order"].expressions if definition.args.get("order") else ())
                ]
                keys = _merged(keys, partition, order)
        return [f"{_quoted(name)} {'DESC NULLS LAST' if desc else 'ASC NULLS FIRST'}" for name, desc in keys]

    def _traced(self, name: str, at: int) -> str:
        """A column of step `at`'s source (`len(steps)`: of the result) as a column of the first windows' source."""
        while at > self._first:
            at -= 1
            found = [part for part in self._steps[at].select.expressions if part.alias_or_name == name]
            if len(found) != 1:
                raise _NoChain
            name = _plain(found[0].unalias())
        return name


def _merged(
    keys: list[tuple[str, bool]], partition: Sequence[str], order: Sequence[tuple[str, bool]]
) -> list[tuple[str, bool]]:
    """The keys, longer where a window asks for more; raises _NoChain where it asks for another order."""
    size = len(partition)
    if len(keys) < size or {name for name, _ in keys[:size]} != set(partition):
        raise _NoChain
    for number, item in enumerate(order, size):
        if number == len(keys):
            keys = [*keys, item]
        elif keys[number] != item:
            raise _NoChain
    return keys


def _steps(tree: exp.Expr) -> tuple[list[_Step], str]:
    """The chain from the innermost step out, and the source of the innermost."""
    with_ = tree.args.get("with_")
    ctes = {cte.alias: cte.this for cte in with_.expressions} if with_ is not None else {}
    found: list[_Step] = []
    query: exp.Expr | None = tree
    base = ""
    while query is not None:
        if not isinstance(query, exp.Select) or any(query.args.get(name) for name in set(query.args) - _PLAIN):
            raise _NoChain
        if found and query.args.get("with_") is not None:
            raise _NoChain
        source = query.args["from_"].this
        named = {window.name: window for window in query.args.get("windows") or ()}
        found.append(_Step(query, source.alias_or_name, _in_select(query, set(named)), named))
        base = _duckdb(source)
        below = source.this if isinstance(source, exp.Subquery) else ctes.get(source.name)
        query = below if isinstance(below, exp.Select) and _single(below) else None
    return found[::-1], base


def _single(select: exp.Select) -> bool:
    """True for a SELECT over one source, row by row."""
    return not any(select.args.get(name) for name in set(select.args) - _PLAIN)


def _in_select(select: exp.Select, named: set[str]) -> list[exp.Window]:
    return [window for part in select.expressions for window in part.find_all(exp.Window)]


def _shape(window: exp.Window, definition: exp.Window, arguments: Mapping[str, str]) -> tuple[object, ...]:
    """(function, argument, partition, order, frame) of a window; raises _NoChain for one that is not for sliding."""
    function = window.this
    partition = tuple(_plain(part) for part in definition.args.get("partition_by") or ())
    ordered = definition.args["order"].expressions if definition.args.get("order") else []
    order = tuple(_plain(part.this) for part in ordered)
    if isinstance(function, exp.RowNumber):
        return ("row_number", None, partition, order, Frame("rank"))
    kinds: dict[type[exp.Expr], str] = {exp.Count: "count", exp.Sum: "sum", exp.Min: "min", exp.Max: "max"}
    name = kinds.get(type(function))
    if name is None or function.expressions or isinstance(function.this, exp.Distinct):
        raise _NoChain
    kind = type_of(function.this)
    if (name == "sum" and kind not in _INTEGERS) or (name in ("min", "max") and kind != "BIGINT"):
        raise _NoChain
    argument: str | None
    if isinstance(function.this, exp.Column):
        argument = function.this.name
    elif isinstance(function.this, exp.Star | exp.Literal):
        argument = None
    else:
        argument = arguments[_duckdb(function.this)]
    return (name, argument, partition, order, _frame(definition, ordered))


def _frame(definition: exp.Window, ordered: Sequence[exp.Ordered]) -> Frame:
    spec = definition.args.get("spec")
    if spec is None or not ordered:
        raise _NoChain
    start, end = spec.args.get("start"), spec.args.get("end")
    sides = (spec.args.get("start_side"), spec.args.get("end_side"))
    if any(isinstance(bound, exp.Expr) and side != "PRECEDING" for bound, side in zip((start, end), sides, strict=True)):
        raise _NoChain
    if spec.args.get("kind") == "ROWS":
        return Frame("rows", _rows(start), _rows(end))
    if len(ordered) != 1 or ordered[0].args.get("desc") or not type_of(ordered[0].this).startswith("TIMESTAMP"):
        raise _NoChain
    return Frame("range", _micros(start), _micros(end))


def _rows(bound: object) -> int:
    if bound == "CURRENT ROW":
        return 0
    if isinstance(bound, exp.Literal) and not bound.is_string:
        return int(bound.name)
    raise _NoChain


def _micros(bound: object) -> int:
    if bound == "CURRENT ROW":
        return 0
    if isinstance(bound, exp.Interval):
        length = interval(bound)
        return (length.days * 86_400 + length.seconds) * _MICROS + length.microseconds
    raise _NoChain


def _plain(node: exp.Expr) -> str:
    if not isinstance(node, exp.Column):
        raise _NoChain
    return str(node.name)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _duckdb(node: exp.Expr) -> str:
    return to_duckdb(node, "")
