"""The rules on values: sums, divisions, casts and comparisons whose result would differ between engines."""

import re
from collections.abc import Callable
from typing import Any

from sqlglot import exp

from orchestrai.features.views.lint.subset import Context

_INTEGERS = {"TINYINT", "SMALLINT", "INT", "BIGINT"}
_FAMILY = {
    **dict.fromkeys((*_INTEGERS, "DOUBLE", "DECIMAL", "FLOAT"), "number"),
    **dict.fromkeys(("TEXT", "VARCHAR", "CHAR"), "text"),
    **dict.fromkeys(("TIMESTAMP", "TIMESTAMPTZ", "TIMESTAMPNTZ", "DATE"), "time"),
    "BOOLEAN": "boolean",
}
_TARGETS = {"INT", "BIGINT", "DOUBLE", "TEXT", "VARCHAR", "TIMESTAMP", "TIMESTAMPTZ", "DATE", "DECIMAL", "BOOLEAN"}
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d(\.\d{1,6})?)?")
_UNITS = {"MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR", "DAY", "WEEK"}
_EXACT_DIGITS = 15


def check_values(tree: exp.Expr, context: Context) -> None:
    """Apply every rule to a typed tree; raises FeatureViewError."""
    for node in tree.walk():
        for kind, rule in _RULES:
            if isinstance(node, kind):
                rule(node, context)


def type_of(node: exp.Expr | None) -> str:
    """The SQL type of a node, or "" where it is not known."""
    inner = node.unnest() if node is not None else None
    if isinstance(inner, exp.Floor | exp.Ceil):
        return "FLOOR"
    kind = inner.type if inner is not None else None
    name = kind.this.value if isinstance(kind, exp.DataType) and hasattr(kind.this, "value") else ""
    return "" if name == "UNKNOWN" else str(name)


def _outer(node: exp.Expr) -> exp.Expr | None:
    """The parent beyond a window, a filter and parentheses."""
    parent = node.parent
    while isinstance(parent, exp.Window | exp.Filter | exp.Paren):
        parent = parent.parent
    return parent


def _sum(node: exp.Sum, context: Context) -> None:
    kind = type_of(node.this)
    if kind and kind not in _INTEGERS:
        context.refuse(
            node,
            f"expected SUM of whole numbers, found SUM of {kind}: sum {{{{ fixed(x, scale) }}}}, such as cents, and divide last",
        )
    parent = _outer(node)
    if not (isinstance(parent, exp.Cast) and type_of(parent) == "BIGINT"):
        context.refuse(
            node,
            f"expected CAST({node.sql('databricks')[:40]} AS BIGINT), found a bare SUM: its type differs between engines",
        )


def _division(node: exp.Div | exp.Mod, context: Context) -> None:
    left, right = type_of(node.this), type_of(node.expression)
    if "DECIMAL" in (left, right) and not _literal_only(node.expression):
        context.refuse(node, "expected a division of DOUBLE or whole numbers, found DECIMAL: write CAST(x AS DOUBLE)")
    if left == "DECIMAL":
        context.refuse(node, "expected a division of DOUBLE or whole numbers, found DECIMAL: write CAST(x AS DOUBLE)")
    if isinstance(node, exp.Mod) and not {left, right} <= _INTEGERS | {""}:
        context.refuse(node, f"expected % of whole numbers, found {left} % {right}: CAST them AS BIGINT first")
    if not _never_zero(node.expression):
        context.refuse(node, "expected a divisor that is never 0, found one that may be: write NULLIF(x, 0)")


def _literal_only(node: exp.Expr) -> bool:
    return isinstance(node.unnest(), exp.Literal)


def _never_zero(node: exp.Expr) -> bool:
    inner = node.unnest()
    if isinstance(inner, exp.Literal):
        return not inner.is_string and float(inner.this) != 0
    if isinstance(inner, exp.Cast):
        return _never_zero(inner.this)
    if isinstance(inner, exp.Mul):
        return _never_zero(inner.this) and _never_zero(inner.expression)
    return isinstance(inner, exp.Nullif) and inner.expression.sql() in ("0", "0.0")


def _cast(node: exp.Cast, context: Context) -> None:
    target, source = type_of(node), type_of(node.this)
    if isinstance(node, exp.TryCast):
        context.refuse(node, "expected CAST, found TRY_CAST: a failed TRY_CAST is a silent NULL")
    if target not in _TARGETS:
        shown = node.to.sql("databricks")
        context.refuse(
            node, f"expected a CAST to BIGINT, INT, DOUBLE, DECIMAL, STRING, DATE, TIMESTAMP or BOOLEAN, found {shown}"
        )
    inner = node.this.unnest()
    if target in ("INT", "BIGINT") and not _is_sum(inner):
        _cast_to_integer(node, inner, source, context)
    elif target == "DOUBLE" and source == "TEXT":
        context.refuse(node, "expected a number, found STRING: give the column its type in the contract")
    elif target in ("TEXT", "VARCHAR") and source in ("DOUBLE", "FLOAT", "DECIMAL", "TIMESTAMP", "TIMESTAMPTZ"):
        context.refuse(
            node, f"expected CAST of a whole number, date or boolean AS STRING, found {source}: engines print it differently"
        )
    elif target in ("TIMESTAMP", "TIMESTAMPTZ", "DATE") and not _castable_to_time(inner, source):
        context.refuse(
            node,
            "expected a timestamp, a date or a literal 'YYYY-MM-DD HH:MM:SS', found something else: type it in the contract",
        )


def _is_sum(node: exp.Expr) -> bool:
    while isinstance(node, exp.Window | exp.Filter | exp.Paren):
        node = node.this
    return isinstance(node, exp.Sum)


def _cast_to_integer(node: exp.Cast, inner: exp.Expr, source: str, context: Context) -> None:
    if source in ("DOUBLE", "FLOAT"):
        context.refuse(node, "expected CAST(FLOOR(x + 0.5) AS BIGINT), found CAST of a DOUBLE: engines round differently")
    if source == "DECIMAL" and not _whole_decimal(inner):
        context.refuse(
            node, "expected CAST(FLOOR(x * scale + 0.5) AS BIGINT), found CAST of a DECIMAL: engines round differently"
        )
    if source == "TEXT":
        context.refuse(node, "expected a number, found STRING: give the column its type in the contract")
    if source in ("TIMESTAMP", "TIMESTAMPTZ", "DATE"):
        context.refuse(node, "expected UNIX_MICROS(ts), found CAST of a timestamp: engines count different units")


def _whole_decimal(node: exp.Expr) -> bool:
    """True for amount * 10^k with k at least the column's scale."""
    if not isinstance(node, exp.Mul):
        return False
    column, factor = node.this.unnest(), node.expression.unnest()
    if isinstance(column, exp.Literal):
        column, factor = factor, column
    if not isinstance(factor, exp.Literal) or column.type is None or not column.type.expressions:
        return False
    scale = int(column.type.expressions[-1].name)
    return bool(re.fullmatch(r"10*", factor.this)) and len(factor.this) - 1 >= scale


def _castable_to_time(inner: exp.Expr, source: str) -> bool:
    if isinstance(inner, exp.Literal):
        return inner.is_string and _MOMENT.fullmatch(inner.this) is not None
    return source in ("TIMESTAMP", "TIMESTAMPTZ", "DATE")


def _floor(node: exp.Floor | exp.Ceil, context: Context) -> None:
    parent = node.parent
    while isinstance(parent, exp.Paren):
        parent = parent.parent
    if node.args.get("decimals") is not None or not (isinstance(parent, exp.Cast) and type_of(parent) in ("BIGINT", "INT")):
        context.refuse(
            node, "expected CAST(FLOOR(x) AS BIGINT), found a bare FLOOR or CEIL: its type differs between engines"
        )


def _comparison(node: exp.Binary, context: Context) -> None:
    sides = {_FAMILY.get(type_of(side), "") for side in (node.this, node.expression)}
    _one_family(node, sides, context)


def _one_family(node: exp.Expr, sides: set[str], context: Context) -> None:
    families = sorted(sides - {""})
    if len(families) > 1:
        remedy = "write TIMESTAMP '2020-01-01 00:00:00'" if "time" in families else "CAST one side"
        context.refuse(node, f"expected two values of one kind, found {' and '.join(families)}: {remedy}")


def _list(node: exp.In | exp.Between | exp.Coalesce | exp.Greatest | exp.Least, context: Context) -> None:
    parts = [node.this, *node.expressions, node.args.get("low"), node.args.get("high")]
    _one_family(node, {_FAMILY.get(type_of(part), "") for part in parts if part is not None}, context)


def _interval(node: exp.Interval, context: Context) -> None:
    unit = str(node.args.get("unit") or "").upper().removesuffix("S")
    if unit not in _UNITS or not isinstance(node.this, exp.Literal) or not re.fullmatch(r"\d+", node.this.this):
        context.refuse(
            node,
            f"expected an interval such as INTERVAL 7 DAYS, found {node.sql('databricks')}: months have no fixed length",
        )


def _by(node: exp.ArgMax | exp.ArgMin, context: Context) -> None:
    value, key = node.this.unnest(), node.expression.unnest()
    if not isinstance(key, exp.Struct) or len(key.expressions) < 2:
        context.refuse(node, "expected MAX_BY(v, STRUCT(ts, id)), found one key: ties fall differently without a tie-break")
    select = node.find_ancestor(exp.Select)
    group = select.args.get("group") if select is not None else None
    constant = {part.sql() for part in group.expressions} if group is not None else set()
    if len({_bare(part).sql() for part in key.expressions} - constant) < 2:
        context.refuse(
            node, "expected a tie-break that differs within the group, found GROUP BY columns only: add an id or the value"
        )
    if not isinstance(value, exp.Coalesce | exp.Literal):
        context.refuse(
            node, "expected MAX_BY(COALESCE(v, ''), ...), found a value that may be NULL: engines treat it differently"
        )


def _bare(node: exp.Expr) -> exp.Expr:
    return node.expression if isinstance(node, exp.PropertyEQ) else node.unalias()


def _struct(node: exp.Struct, context: Context) -> None:
    if not isinstance(node.parent, exp.ArgMax | exp.ArgMin):
        context.refuse(node, "expected STRUCT only as the key of MAX_BY or MIN_BY: a feature is a plain value")


def _substring(node: exp.Substring, context: Context) -> None:
    start, length = node.args.get("start"), node.args.get("length")
    if not isinstance(start, exp.Literal) or int(start.this) < 1 or not isinstance(length, exp.Literal):
        context.refuse(
            node, "expected SUBSTRING(x, 1, n) with a start of 1 or more, found another: engines count from 0 differently"
        )


def _like(node: exp.Like, context: Context) -> None:
    if not isinstance(node.expression, exp.Literal) or "\\" in node.expression.this:
        context.refuse(
            node, "expected LIKE with a plain literal, found an expression or a backslash: engines escape differently"
        )


def _truncate(node: exp.TimestampTrunc, context: Context) -> None:
    if str(node.args.get("unit") or "").upper().strip("'") not in {"MINUTE", "HOUR", "DAY", "MONTH", "YEAR"}:
        context.refuse(node, "expected DATE_TRUNC to MINUTE, HOUR, DAY, MONTH or YEAR, found another unit: use one of them")
    if type_of(node.this) == "DATE":
        context.refuse(node, "expected DATE_TRUNC of a timestamp, found a DATE: CAST it AS TIMESTAMP")


def _sha2(node: exp.SHA2, context: Context) -> None:
    length = node.args.get("length")
    if length is None or length.name != "256":
        context.refuse(node, "expected SHA2(x, 256), found another length: use 256")


def _decimal_double(node: exp.Cast, context: Context) -> None:
    kind = node.this.unnest().type
    if type_of(node) == "DOUBLE" and type_of(node.this) == "DECIMAL" and isinstance(kind, exp.DataType) and kind.expressions:
        if int(kind.expressions[0].name) > _EXACT_DIGITS:
            context.refuse(node, "expected a DECIMAL of at most 15 digits, found more: CAST it to BIGINT units first")


def _distinct(node: exp.Count, context: Context) -> None:
    if isinstance(node.this, exp.Distinct):
        if isinstance(node.parent, exp.Window):
            context.refuse(node, "expected COUNT(x) OVER, found COUNT(DISTINCT x) OVER: Spark has none; use GROUP BY")
        if len(node.this.expressions) != 1:
            context.refuse(node, "expected COUNT(DISTINCT x) of one column, found several: engines count NULLs differently")


def _decimal_product(node: exp.Mul, context: Context) -> None:
    if type_of(node.this) == "DECIMAL" and type_of(node.expression) == "DECIMAL":
        if not (_literal_only(node.this) or _literal_only(node.expression)):
            context.refuse(
                node, "expected whole numbers, found DECIMAL * DECIMAL: multiply {{ fixed(x, scale) }} units instead"
            )


_Kinds = type[exp.Expr] | tuple[type[exp.Expr], ...]
_RULES: tuple[tuple[_Kinds, Callable[[Any, Context], None]], ...] = (
    (exp.Sum, _sum),
    ((exp.Div, exp.Mod), _division),
    (exp.Cast, _cast),
    (exp.Cast, _decimal_double),
    ((exp.Floor, exp.Ceil), _floor),
    ((exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ), _comparison),
    ((exp.In, exp.Between, exp.Coalesce, exp.Greatest, exp.Least), _list),
    (exp.Interval, _interval),
    ((exp.ArgMax, exp.ArgMin), _by),
    (exp.Struct, _struct),
    (exp.Substring, _substring),
    (exp.Like, _like),
    (exp.TimestampTrunc, _truncate),
    (exp.SHA2, _sha2),
    (exp.Count, _distinct),
    (exp.Mul, _decimal_product),
)
