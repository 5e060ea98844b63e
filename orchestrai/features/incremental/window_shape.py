"""One window of a view's tree as one that slides: its function, argument, partition, order and frame."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlglot import exp

from orchestrai.features.views.lint.value_rules import type_of
from orchestrai.features.views.lint.window_rules import interval
from orchestrai.features.views.output_schema import to_duckdb

_INTEGERS = {"TINYINT", "SMALLINT", "INT", "BIGINT"}
_MICROS = 1_000_000


@dataclass(frozen=True)
class Frame:
    """Which rows a window sees before and at its own: counted in rows, or in microseconds with peers. Both ends inclusive."""

    kind: Literal["rows", "range", "rank"]
    start: int = 0
    end: int = 0


@dataclass(frozen=True)
class Sliding:
    """One window function: `count`, `sum`, `min` or `max` of a column (None: of rows) over a frame, or `row_number`."""

    name: str
    function: Literal["count", "sum", "min", "max", "row_number"]
    argument: str | None
    partition: tuple[str, ...]
    order: tuple[str, ...]
    frame: Frame


class NoChain(Exception):
    """The view is not such a chain."""


def window_shape(window: exp.Window, definition: exp.Window, arguments: Mapping[str, str]) -> tuple[object, ...]:
    """(function, argument, partition, order, frame) of a window; raises NoChain for one that is not for sliding."""
    function = window.this
    partition = tuple(plain_column(part) for part in definition.args.get("partition_by") or ())
    ordered = definition.args["order"].expressions if definition.args.get("order") else []
    order = tuple(plain_column(part.this) for part in ordered)
    if isinstance(function, exp.RowNumber):
        return ("row_number", None, partition, order, Frame("rank"))
    kinds: dict[type[exp.Expr], str] = {exp.Count: "count", exp.Sum: "sum", exp.Min: "min", exp.Max: "max"}
    name = kinds.get(type(function))
    if name is None or function.expressions or isinstance(function.this, exp.Distinct):
        raise NoChain
    kind = type_of(function.this)
    if (name == "sum" and kind not in _INTEGERS) or (name in ("min", "max") and kind != "BIGINT"):
        raise NoChain
    argument: str | None
    if isinstance(function.this, exp.Column):
        argument = function.this.name
    elif isinstance(function.this, exp.Star | exp.Literal):
        argument = None
    else:
        argument = arguments[duckdb_text(function.this)]
    return (name, argument, partition, order, _frame(definition, ordered))


def _frame(definition: exp.Window, ordered: Sequence[exp.Ordered]) -> Frame:
    spec = definition.args.get("spec")
    if spec is None or not ordered:
        raise NoChain
    start, end = spec.args.get("start"), spec.args.get("end")
    sides = (spec.args.get("start_side"), spec.args.get("end_side"))
    if any(isinstance(bound, exp.Expr) and side != "PRECEDING" for bound, side in zip((start, end), sides, strict=True)):
        raise NoChain
    if spec.args.get("kind") == "ROWS":
        return Frame("rows", _rows(start), _rows(end))
    if len(ordered) != 1 or ordered[0].args.get("desc") or not type_of(ordered[0].this).startswith("TIMESTAMP"):
        raise NoChain
    return Frame("range", _micros(start), _micros(end))


def _rows(bound: object) -> int:
    if bound == "CURRENT ROW":
        return 0
    if isinstance(bound, exp.Literal) and not bound.is_string:
        return int(bound.name)
    raise NoChain


def _micros(bound: object) -> int:
    if bound == "CURRENT ROW":
        return 0
    if isinstance(bound, exp.Interval):
        length = interval(bound)
        return (length.days * 86_400 + length.seconds) * _MICROS + length.microseconds
    raise NoChain


def plain_column(node: exp.Expr) -> str:
    """The name of a column; raises NoChain for another expression."""
    if not isinstance(node, exp.Column):
        raise NoChain
    return str(node.name)


def duckdb_text(node: exp.Expr) -> str:
    """A part of the tree in DuckDB's SQL."""
    return to_duckdb(node, "")
