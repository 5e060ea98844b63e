"""The rules on time and order: total orders, frames that never see the future, and the look-back they imply."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from sqlglot import exp
from sqlglot.optimizer.scope import Scope, build_scope

from orchestrai.features.views.lint.subset import Context

_ORDERED = (exp.RowNumber, exp.Rank, exp.DenseRank, exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue)
_SECONDS = {"MICROSECOND": 1e-6, "MILLISECOND": 1e-3, "SECOND": 1, "MINUTE": 60, "HOUR": 3600, "DAY": 86400, "WEEK": 604800}


@dataclass(frozen=True)
class Reach:
    """How far back windows look; None means without bound. `chained`: some window reads the result of another."""

    rows: int | None = 0
    time: timedelta | None = timedelta(0)
    chained: bool = False

    @property
    def looks(self) -> bool:
        """True when it reaches back at all."""
        return self.rows != 0 or self.time != timedelta(0)

    def after(self, other: "Reach") -> "Reach":
        """The reach of a step that reads a step that reaches `other`."""
        rows = None if self.rows is None or other.rows is None else self.rows + other.rows
        span = None if self.time is None or other.time is None else self.time + other.time
        return Reach(rows, span, self.chained or other.chained or (self.looks and other.looks))

    def widest(self, other: "Reach") -> "Reach":
        """The larger of both, each way."""
        rows = None if self.rows is None or other.rows is None else max(self.rows, other.rows)
        span = None if self.time is None or other.time is None else max(self.time, other.time)
        return Reach(rows, span, self.chained or other.chained)


def check_windows(tree: exp.Expr, context: Context) -> None:
    """Apply the rules to a bound tree; raises FeatureViewError."""
    scope = build_scope(tree)
    if scope is None:
        return
    for step in scope.traverse():
        if not isinstance(step.expression, exp.Select):
            continue
        for window, function in _windows(step):
            _check_window(window, function, step, context)
        if context.kind == "row":
            _check_row_level(step, context)
        if context.kind == "label" and context.event_time != "as_of":
            _check_row_label(step, context)
    if context.kind == "label":
        _check_horizon(tree, context)


def _check_horizon(tree: exp.Expr, context: Context) -> None:
    """A label sees [as_of, as_of + horizon) only: an interval beyond it would count rows that are never there."""
    for node in tree.find_all(exp.Interval):
        if context.horizon is not None and interval(node) > context.horizon:
            context.refuse(
                node.parent or node,
                f"expected intervals of at most {context.horizon}, the label's horizon, found {interval(node)}: "
                "declare the horizon that the SQL looks ahead",
            )


def reach(tree: exp.Expr, time: str) -> Reach:
    """How far back the rows of a result depend on their inputs, from its window frames."""
    scope = build_scope(tree)
    return _scope_reach(scope, time) if scope is not None else Reach()


def _scope_reach(scope: Scope, time: str) -> Reach:
    below = Reach()
    children = [
        *scope.set_operation_scopes,
        *(source for _, source in scope.selected_sources.values() if isinstance(source, Scope)),
    ]
    for child in children:
        below = below.widest(_scope_reach(child, time))
    own = Reach()
    if isinstance(scope.expression, exp.Select):
        for window, function in _windows(scope):
            own = own.widest(_window_reach(window, function, time))
    return own.after(below)


def _windows(step: Scope) -> Iterator[tuple[exp.Window, exp.Expr]]:
    """Windows of one step with their functions; named ones resolved to their definition."""
    named = {window.name: window for window in step.expression.args.get("windows") or ()}
    for window in step.expression.find_all(exp.Window):
        if window.find_ancestor(exp.Select) is not step.expression or window in named.values():
            continue
        alias = window.args.get("alias")
        function = window.this
        while isinstance(function, exp.IgnoreNulls | exp.Filter):
            function = function.this
        yield (named.get(alias.name, window) if alias is not None else window), function


def _order(window: exp.Window) -> list[exp.Ordered]:
    order = window.args.get("order")
    return list(order.expressions) if order is not None else []


def _check_window(window: exp.Window, function: exp.Expr, step: Scope, context: Context) -> None:
    order, spec = _order(window), window.args.get("spec")
    ordered = isinstance(function, _ORDERED) or (spec is not None and spec.args.get("kind") == "ROWS")
    if ordered and not order:
        context.refuse(window, "expected ORDER BY in the window, found none: rows have no order of their own")
    if ordered and not _total(window, order, step, context):
        names = ", ".join(part.this.sql() for part in order)
        context.refuse(
            window, f"expected a total order, found ORDER BY {names}: add a tie-break such as a sequence number or event id"
        )
    if isinstance(function, exp.LastValue) and spec is None:
        context.refuse(window, "expected LAST_VALUE with ROWS BETWEEN ... AND CURRENT ROW, found no frame: write the frame")
    if spec is not None and spec.args.get("kind") == "RANGE":
        bounds = (spec.args.get("start"), spec.args.get("end"))
        if len({_spark_kind(bound) for bound in bounds if isinstance(bound, exp.Interval)}) > 1:
            context.refuse(window, "expected both RANGE bounds in one unit, found two: Spark takes no frame of mixed units")
        if any(isinstance(bound, exp.Expr) and not isinstance(bound, exp.Interval) for bound in bounds):
            context.refuse(
                window, "expected RANGE with INTERVAL bounds, found numbers: order by the timestamp and write INTERVAL"
            )
    if any(part.args.get("nulls_first") is False and not part.args.get("desc") for part in order):
        context.refuse(window, "expected ORDER BY without NULLS LAST, found it: order by columns that are never NULL")


def _total(window: exp.Window, order: list[exp.Ordered], step: Scope, context: Context) -> bool:
    columns = {part.name for part in (*(window.args.get("partition_by") or ()), *(item.this for item in order))}
    keys = step_keys(step, context)
    if keys:
        return any(set(key) <= columns for key in keys)
    return len(order) > 1 or len(columns - {context.event_time, *context.table_times.values(), *context.entity}) > 0


def step_keys(step: Scope, context: Context) -> list[tuple[str, ...]]:
    """Sets of columns known to be unique among the rows a step reads, by the names used in it; empty when unknown."""
    sources = [source for _, source in step.selected_sources.values()]
    if len(sources) != 1:
        return []
    source = sources[0]
    if isinstance(source, exp.Table):
        key = context.keys.get(source.name)
        return [key] if key else []
    return _result_keys(source, context)


def _result_keys(scope: Scope, context: Context) -> list[tuple[str, ...]]:
    query = scope.expression
    if not isinstance(query, exp.Select):
        return []
    names = {
        column.unalias().name: column.alias_or_name for column in query.selects if isinstance(column.unalias(), exp.Column)
    }
    group = query.args.get("group")
    if group is not None:
        keys = [tuple(part.name for part in group.expressions)]
    else:
        keys = [*step_keys(scope, context), *_deduplicated(scope)]
    return [tuple(names[part] for part in key) for key in keys if all(part in names for part in key)]


def _deduplicated(scope: Scope) -> list[tuple[str, ...]]:
    """The partition of a ROW_NUMBER() that a WHERE rn = 1 keeps."""
    where = scope.expression.args.get("where")
    sources = [source for _, source in scope.selected_sources.values()]
    if (
        where is None
        or len(sources) != 1
        or not isinstance(sources[0], Scope)
        or not isinstance(sources[0].expression, exp.Select)
    ):
        return []
    names = {
        test.this.name
        for test in where.find_all(exp.EQ)
        if isinstance(test.this, exp.Column) and test.expression.sql() == "1" and not test.find_ancestor(exp.Or)
    }
    partitions = []
    for column in sources[0].expression.selects:
        window = column.unalias()
        if column.alias_or_name in names and isinstance(window, exp.Window) and isinstance(window.this, exp.RowNumber):
            partitions.append(tuple(part.name for part in window.args.get("partition_by") or ()))
    return partitions


def _check_row_level(step: Scope, context: Context) -> None:
    """A row's features must not depend on later rows."""
    time = context.event_time or ""
    for window, function in _windows(step):
        if time not in {part.name for part in window.args.get("partition_by") or ()}:
            _check_row_window(window, function, context)
    group = step.expression.args.get("group")
    if group is not None and time not in {part.name for part in group.expressions}:
        context.refuse(
            group, f"expected GROUP BY with {time} in a row-level view, found it without: a sum would see later rows"
        )
    _check_row_joins(step, context)


def _check_row_window(window: exp.Window, function: exp.Expr, context: Context) -> None:
    time, order, spec = context.event_time, _order(window), window.args.get("spec")
    if not order or order[0].this.name != time or order[0].args.get("desc"):
        context.refuse(window, f"expected ORDER BY {time} first, ascending, found another: the window would see later rows")
    ahead = spec is not None and (spec.args.get("end_side") == "FOLLOWING" or spec.args.get("end") == "UNBOUNDED")
    if ahead or isinstance(function, exp.Lead):
        remedy = "a feature must not see later rows"
        context.refuse(window, f"expected a frame that ends at CURRENT ROW or PRECEDING, found FOLLOWING or LEAD: {remedy}")
    partition = {part.name for part in window.args.get("partition_by") or ()}
    missing = [name for name in context.entity if name not in partition]
    if missing:
        context.refuse(window, f"expected PARTITION BY {', '.join(context.entity)}, found a window without {missing[0]}")


def _check_row_joins(step: Scope, context: Context) -> None:
    select = step.expression
    if not isinstance(select, exp.Select) or not select.args.get("joins"):
        return
    for join in select.args["joins"]:
        _check_row_join(join, step, context)
    base = select.args["from_"].this.alias_or_name
    for column in select.selects:
        inner = column.unalias()
        if column.alias_or_name == context.event_time and isinstance(inner, exp.Column) and inner.table != base:
            problem = f"{inner.table}'s: put the events first"
            context.refuse(column, f"expected {context.event_time} of the table after FROM, found {problem}")


def _check_row_label(step: Scope, context: Context) -> None:
    """A row's label must come from its horizon, and from nothing before it."""
    time, horizon = context.event_time or "", context.horizon or timedelta(0)
    if step.expression.args.get("joins") or "spine" in step.sources:
        context.refuse(
            step.expression, "expected windows with FOLLOWING frames in the label of a row-level view, found a join or spine"
        )
    for window, _ in _windows(step):
        partition = {part.name for part in window.args.get("partition_by") or ()}
        if time in partition:
            continue
        spec = window.args.get("spec")
        end = spec.args.get("end") if spec is not None else None
        ahead = isinstance(end, exp.Interval) and spec is not None and spec.args.get("end_side") == "FOLLOWING"
        behind = spec is None or spec.args.get("start_side") == "PRECEDING" or spec.args.get("start") == "UNBOUNDED"
        if behind or not ahead or not isinstance(end, exp.Interval) or interval(end) > horizon:
            context.refuse(
                window,
                f"expected RANGE BETWEEN INTERVAL 1 MICROSECOND FOLLOWING AND an INTERVAL of at most {horizon} FOLLOWING, "
                "found another frame: a label looks ahead, no further than its horizon",
            )


def _columns(scope: Scope) -> list[str]:
    return list(scope.expression.named_selects) if isinstance(scope.expression, exp.Query) else []


def _check_row_join(join: exp.Join, step: Scope, context: Context) -> None:
    source = step.sources.get(join.alias_or_name)
    time = context.table_times.get(source.name) if isinstance(source, exp.Table) else context.event_time
    if time is None or (isinstance(source, Scope) and time not in _columns(source)):
        return
    for test in join.args["on"].find_all(exp.LT, exp.LTE, exp.GT, exp.GTE, exp.EQ):
        early, late = (
            (test.this, test.expression) if isinstance(test, exp.LT | exp.LTE | exp.EQ) else (test.expression, test.this)
        )
        if isinstance(early, exp.Column) and isinstance(late, exp.Column) and early.table != late.table:
            if (early.table, early.name) == (join.alias_or_name, time) and not test.find_ancestor(exp.Or, exp.Not, exp.Case):
                return
    bound = f"{join.alias_or_name}.{time} <= the row's {context.event_time}"
    context.refuse(join, f"expected ON ... AND {bound}, found no such bound: a join must not see later rows")


def _window_reach(window: exp.Window, function: exp.Expr, time: str) -> Reach:
    spec = window.args.get("spec")
    if time in {part.name for part in window.args.get("partition_by") or ()}:
        # ranks among the duplicates of one moment reach no further
        return Reach()
    if isinstance(function, exp.Lag):
        offset = function.args.get("offset")
        return Reach(rows=int(offset.name) if isinstance(offset, exp.Literal) else 1)
    if spec is None:
        return Reach(None, None) if window.args.get("order") is not None else Reach()
    start, side = spec.args.get("start"), spec.args.get("start_side")
    if start == "UNBOUNDED":
        return Reach(None, None)
    if isinstance(start, exp.Interval):
        return Reach(time=interval(start)) if side == "PRECEDING" else Reach()
    if isinstance(start, exp.Literal):
        return Reach(rows=int(start.name)) if side == "PRECEDING" else Reach()
    return Reach()


def _spark_kind(node: exp.Interval) -> str:
    unit = str(node.args.get("unit") or "").upper().removesuffix("S")
    return {"MICROSECOND": "SECOND", "MILLISECOND": "SECOND", "WEEK": "DAY"}.get(unit, unit)


def interval(node: exp.Interval) -> timedelta:
    """The length of an interval literal."""
    unit = str(node.args.get("unit") or "").upper().removesuffix("S")
    return timedelta(seconds=int(node.name) * _SECONDS[unit])
