"""The rule on size: whole numbers that a view computes must fit 64 bits, told when it is loaded.

Bounds come from the contract (minimum and maximum of a column) and from frames counted in rows. Where a bound is not known, the
engines say so by name when a value does not fit.
"""

from collections.abc import Mapping
from math import ceil, inf

from sqlglot import exp
from sqlglot.optimizer.scope import Scope, build_scope

from orchestrai.features.views.lint.subset import Context
from orchestrai.features.views.lint.value_rules import type_of

Bounds = Mapping[str, Mapping[str, float]]
_LARGEST = 2**63 - 1


def check_bounds(tree: exp.Expr, context: Context, bounds: Bounds) -> None:
    """Refuse a whole number that may not fit; `bounds` gives the largest absolute value of columns, by table."""
    scope = build_scope(tree)
    if scope is None or not any(bounds.values()):
        return
    for step in scope.traverse():
        if isinstance(step.expression, exp.Select):
            _Step(step, bounds).check(context)


class _Step:
    """Largest absolute values within one SELECT; None where there is no bound."""

    def __init__(self, scope: Scope, bounds: Bounds) -> None:
        self._scope = scope
        self._bounds = bounds
        # by the node itself: to spell each one costs more than to look at it
        self._known: dict[int, float | None] = {}
        self._below: dict[int, _Step] = {}
        self._named = {window.name: window for window in scope.expression.args.get("windows") or ()}

    def check(self, context: Context) -> None:
        for select in self._scope.expression.expressions:
            for node in select.find_all(exp.Add, exp.Sub, exp.Mul, exp.Sum, exp.Cast):
                if isinstance(node, exp.Cast) and type_of(node) not in ("BIGINT", "INT"):
                    continue
                if not isinstance(node, exp.Cast) and type_of(node) not in ("BIGINT", "INT", ""):
                    continue
                over = node.parent if isinstance(node, exp.Sum) and isinstance(node.parent, exp.Window) else node
                bound = self.largest(over)
                if bound is not None and bound > _LARGEST:
                    context.refuse(
                        node,
                        f"expected whole numbers below 2^63, found {node.sql('databricks')[:60]}, which may reach {bound:.1e}: "
                        "use a smaller scale in fixed(x, scale), or a closer minimum and maximum in the contract",
                    )

    def largest(self, node: exp.Expr) -> float | None:
        """The largest absolute value that an expression may have."""
        key = id(node)
        if key not in self._known:
            self._known[key] = self._largest(node)
        return self._known[key]

    def _largest(self, node: exp.Expr) -> float | None:
        if isinstance(node, exp.Paren | exp.Neg | exp.Abs | exp.Alias | exp.Nullif | exp.Min | exp.Max):
            return self.largest(node.this)
        if isinstance(node, exp.Literal):
            return None if node.is_string else abs(float(node.this))
        if isinstance(node, exp.Column):
            return self._column(node)
        if isinstance(node, exp.Add | exp.Sub | exp.Mul):
            left, right = self.largest(node.this), self.largest(node.expression)
            if left is None or right is None:
                return None
            return left * right if isinstance(node, exp.Mul) else left + right
        if isinstance(node, exp.Cast):
            bound = self.largest(node.this)
            whole = isinstance(node.this.unnest(), exp.Floor | exp.Ceil)
            return bound if bound is None or bound == inf or not whole else float(ceil(bound))
        if isinstance(node, exp.Floor | exp.Ceil):
            return self.largest(node.this)
        if isinstance(node, exp.Coalesce | exp.Greatest | exp.Least):
            return self._most([node.this, *node.expressions])
        if isinstance(node, exp.Case):
            branches = [branch.args["true"] for branch in node.args["ifs"]]
            return self._most([*branches, *([node.args["default"]] if node.args.get("default") is not None else [])])
        return self._window(node) if isinstance(node, exp.Window) else None

    def _most(self, parts: list[exp.Expr]) -> float | None:
        bounds = [self.largest(part) for part in parts if not isinstance(part, exp.Null)]
        known = [value for value in bounds if value is not None]
        return max(known) if known and len(known) == len(bounds) else None

    def _window(self, node: exp.Window) -> float | None:
        alias = node.args.get("alias")
        spec = (self._named[alias.name] if alias is not None else node).args.get("spec")
        rows = _rows(spec) if spec is not None else None
        function = node.this
        if isinstance(function, exp.Count):
            return rows
        if isinstance(function, exp.Sum):
            each = self.largest(function.this)
            return None if each is None or rows is None else each * rows
        return self.largest(function.this) if isinstance(function, exp.Min | exp.Max | exp.Lag) else None

    def _column(self, node: exp.Column) -> float | None:
        source = self._scope.sources.get(node.table)
        if isinstance(source, exp.Table):
            return self._bounds.get(source.name, {}).get(node.name)
        if not isinstance(source, Scope) or not isinstance(source.expression, exp.Select):
            return None
        below = self._below.setdefault(id(source), _Step(source, self._bounds))
        columns = [part for part in source.expression.expressions if part.alias_or_name == node.name]
        return below.largest(columns[0].unalias()) if len(columns) == 1 else None


def _rows(spec: exp.Expr) -> float | None:
    """How many rows a frame holds at most."""
    start, end = spec.args.get("start"), spec.args.get("end")
    if spec.args.get("kind") != "ROWS" or not isinstance(start, exp.Literal) or spec.args.get("start_side") != "PRECEDING":
        return None
    last = int(end.name) if isinstance(end, exp.Literal) and spec.args.get("end_side") == "PRECEDING" else 0
    return float(int(start.name) - last + 1) if end == "CURRENT ROW" or isinstance(end, exp.Literal) else None
