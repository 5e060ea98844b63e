"""The portable subset: what a view's text may contain, decided on its syntax tree.

Everything is refused unless listed here, because each engine reads the rest in its own way (docs/features.md lists the traps).
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, NoReturn

import pyarrow as pa
import sqlglot
from sqlglot import exp
from sqlglot.errors import OptimizeError, ParseError, TokenError
from sqlglot.optimizer.annotate_types import annotate_types
from sqlglot.optimizer.qualify import qualify

from orchestrai.core.sql.quoting import VARIABLE, name_fault
from orchestrai.errors import FeatureViewError
from orchestrai.features.views.portable_types import spark_types

DIALECT = "databricks"
_COLUMN = r"[Cc]olumn:? '?(\w+)"
Kind = Literal["row", "entity", "label"]

_STRUCTURE = (
    exp.Select, exp.CTE, exp.With, exp.From, exp.Table, exp.TableAlias, exp.Subquery, exp.Join, exp.Where, exp.Group,
    exp.Having, exp.Union, exp.Identifier, exp.Column, exp.Alias, exp.Literal, exp.Null, exp.Boolean, exp.Paren, exp.Star,
    exp.Window, exp.WindowSpec, exp.Order, exp.Ordered, exp.Interval, exp.Var, exp.DataType, exp.DataTypeParam, exp.Filter,
    exp.IgnoreNulls, exp.Distinct, exp.Tuple, exp.PropertyEQ,
)  # fmt: skip
_OPERATORS = (
    exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.Neg, exp.And, exp.Or, exp.Not, exp.EQ, exp.NEQ, exp.GT, exp.GTE,
    exp.LT, exp.LTE, exp.NullSafeEQ, exp.Between, exp.In, exp.Is, exp.Like, exp.DPipe,
)  # fmt: skip
_FUNCTIONS = (
    exp.Count, exp.Sum, exp.Min, exp.Max, exp.ArgMax, exp.ArgMin, exp.Struct, exp.Cast, exp.Case, exp.If, exp.Coalesce,
    exp.Nullif, exp.Floor, exp.Ceil, exp.Sqrt, exp.Abs, exp.Greatest, exp.Least, exp.Concat, exp.RowNumber, exp.Rank,
    exp.DenseRank, exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue, exp.UnixMicros, exp.TimestampTrunc, exp.StartsWith,
    exp.Substring, exp.Length, exp.MD5, exp.SHA2,
)  # fmt: skip
ALLOWED: tuple[type[exp.Expr], ...] = _STRUCTURE + _OPERATORS + _FUNCTIONS

# what to write instead, by the name of the syntax node or of the function
_INSTEAD: Mapping[str, str] = {
    "Avg": "average whole numbers: {{ rolling_avg(v, scale, window) }} or {{ avg_of(v, scale) }} over {{ fixed(x, scale) }}",
    "Stddev": "{{ rolling_std(v, scale, window) }} or {{ std_of(v, scale) }} over {{ fixed(x, scale) }}",
    "Variance": "{{ std_of(v, scale) }} over {{ fixed(x, scale) }}",
    "DateDiff": "subtract UNIX_MICROS(ts): CAST(FLOOR((UNIX_MICROS(a) - UNIX_MICROS(b)) / 86400000000) AS BIGINT)",
    "TimestampDiff": "subtract UNIX_MICROS(ts): engines disagree on what a full day or hour is",
    "Round": "CAST(FLOOR(x * scale + 0.5) AS BIGINT), or {{ fixed(x, scale) }}",
    "Approx": "exact aggregates: COUNT(DISTINCT x), MIN, MAX; engines approximate in different ways",
    "Quantile": "a rank: ROW_NUMBER() over a total order; engines interpolate in different ways",
    "Current": "the view's own clock: as_of in an as-of view, the event time in a row-level one",
    "Random": "a column of the data: a feature must be the same when computed again",
    "Transcendental": "arithmetic and SQRT: other mathematics differs in the last bit between engines",
    "TryCast": "CAST of a column whose type the contract fixes: a failed TRY_CAST is a silent NULL",
    "TsOrDsToDate": "CAST(ts AS DATE)",
    "DayOfWeek": "(CAST(FLOOR(UNIX_MICROS(ts) / 86400000000) AS BIGINT) + 3) % 7, which is 0 on a Monday",
    "DatePart": "DATE_TRUNC, or UNIX_MICROS arithmetic: the type of a date part differs between engines",
    "TimestampToEpoch": "UNIX_MICROS(ts)",
    "Limit": "a WHERE with ROW_NUMBER() over a total order",
    "Qualify": "ROW_NUMBER() in a WITH step and WHERE rn = 1: Spark has no QUALIFY",
    "Subquery": "a JOIN: EXISTS, IN (SELECT ...) and scalar subqueries are outside the subset",
    "Text": "upper and lower case, patterns and trimming in the contract or at arrival: engines differ beyond ASCII",
    "IntDiv": "CAST(FLOOR(CAST(a AS DOUBLE) / CAST(NULLIF(b, 0) AS DOUBLE)) AS BIGINT)",
    "Hash": "MD5 or SHA2(x, 256)",
    "Collect": "COUNT, MIN, MAX or MAX_BY: the order inside a collected list is not fixed",
    "Sample": "a WHERE on a hash of the key: sampling is not repeatable",
    "ASOF": "LAST_VALUE(v) IGNORE NULLS OVER (... ORDER BY ts), or a join with ts < as_of and a GROUP BY",
}
_GROUPS: Mapping[str, str] = {
    **dict.fromkeys(("Stddev", "StddevSamp", "StddevPop"), "Stddev"),
    **dict.fromkeys(("Variance", "VariancePop", "Corr", "CovarSamp", "CovarPop", "Kurtosis", "Skewness"), "Variance"),
    **dict.fromkeys(
        ("DateDiff", "DatetimeDiff", "TimestampDiff", "TsOrDsDiff", "MonthsBetween", "months_between"), "DateDiff"
    ),
    **dict.fromkeys(
        ("ApproxDistinct", "ApproxQuantile", "approx_count_distinct", "percentile_approx", "ApproxTopK"), "Approx"
    ),
    **dict.fromkeys(
        ("Median", "Quantile", "PercentileCont", "PercentileDisc", "percentile", "Mode", "WithinGroup"), "Quantile"
    ),
    **dict.fromkeys(
        ("CurrentTimestamp", "CurrentDate", "CurrentTime", "CurrentDatetime", "now", "CurrentUser", "Localtimestamp"),
        "Current",
    ),
    **dict.fromkeys(("Rand", "Randn", "Uuid", "uuid", "random", "shuffle", "monotonically_increasing_id"), "Random"),
    **dict.fromkeys(
        ("Exp", "Ln", "Log", "Pow", "Sin", "Cos", "Tan", "Tanh", "Sinh", "Cosh", "Cbrt", "log1p", "expm1", "Atan2"),
        "Transcendental",
    ),
    **dict.fromkeys(("DayOfWeek", "DayOfWeekIso", "weekday", "WeekOfYear", "Dayname"), "DayOfWeek"),
    **dict.fromkeys(("Year", "Month", "Day", "Hour", "Minute", "Second", "Quarter", "DayOfYear", "Extract"), "DatePart"),
    **dict.fromkeys(("unix_timestamp", "UnixSeconds", "StrToUnix", "TimeToUnix", "UnixMillis"), "TimestampToEpoch"),
    **dict.fromkeys(("Limit", "Offset", "Fetch"), "Limit"),
    **dict.fromkeys(("Lower", "Upper", "Initcap", "Trim", "RegexpLike", "RegexpExtract", "RegexpReplace", "ILike"), "Text"),
    **dict.fromkeys(("xxhash64", "XxHash64", "hash", "FarmFingerprint"), "Hash"),
    **dict.fromkeys(("ArrayAgg", "ArrayUniqueAgg", "GroupConcat", "First", "Last", "AnyValue"), "Collect"),
    "TableSample": "Sample",
    "Exists": "Subquery",
}


@dataclass(frozen=True)
class Context:
    """What the lint knows of a view beside its text; `origin` names the file in messages."""

    origin: str
    kind: Kind
    tables: Mapping[str, pa.Schema]
    entity: tuple[str, ...]
    event_time: str | None
    table_times: Mapping[str, str | None]
    keys: Mapping[str, tuple[str, ...]]
    horizon: timedelta | None = None
    # former name of a table -> what it is called now
    renamed: Mapping[str, str] = field(default_factory=dict)

    def refuse(self, node: exp.Expr | None, message: str) -> NoReturn:
        """Raise the one-line error for a node."""
        raise FeatureViewError(f"{self.origin}:{line_of(node)}: {message}")


def line_of(node: exp.Expr | None) -> int:
    """The first line of the text a node came from."""
    lines = [part.meta["line"] for part in node.walk() if "line" in part.meta] if node is not None else []
    return min(lines, default=1)


def parse(text: str, origin: str) -> exp.Select | exp.Union:
    """Parse one query; raises FeatureViewError."""
    if VARIABLE in text:
        line = text[: text.index(VARIABLE)].count("\n") + 1
        raise FeatureViewError(
            f"{origin}:{line}: expected no {VARIABLE}, found one: Spark would put a variable of its machine there"
        )
    try:
        statements = sqlglot.parse(text, read=DIALECT)
    except ParseError as exc:
        first = exc.errors[0] if exc.errors else {}
        near = str(first.get("highlight", "")).strip()
        hint = f" (asof: {_INSTEAD['ASOF']})" if "asof join" in text.lower() else ""
        raise FeatureViewError(
            f"{origin}:{first.get('line', 1)}: expected Spark SQL, found something else near {near!r}{hint}"
        ) from exc
    except TokenError as exc:
        line = text[: getattr(exc, "start", None) or 0].count("\n") + 1
        raise FeatureViewError(
            f"{origin}:{line}: expected Spark SQL, found text that does not end: close its quote"
        ) from exc
    if len(statements) != 1 or not isinstance(statements[0], exp.Select | exp.Union):
        raise FeatureViewError(f"{origin}:1: expected one SELECT, found {len(statements)} statement(s) or another kind")
    return statements[0]


def resolve(tree: exp.Expr, context: Context) -> exp.Expr:
    """The tree with every column bound to its table and typed; raises FeatureViewError for an unknown column."""
    schema: dict[str, object] = {name: dict(spark_types(table)) for name, table in context.tables.items()}
    try:
        bound = qualify(tree.copy(), schema=schema, dialect=DIALECT, quote_identifiers=False)
    except OptimizeError as exc:
        match = re.search(r"Line: (\d+)", str(exc))
        named = re.search(_COLUMN, str(exc))
        used = [line_of(column) for column in tree.find_all(exp.Column) if named and column.name == named[1]]
        line = match[1] if match else min(used, default=1)
        raise FeatureViewError(f"{context.origin}:{line}: {_unknown(str(exc), context)}") from exc
    return annotate_types(bound, schema=schema, dialect=DIALECT)


def _unknown(message: str, context: Context) -> str:
    name = re.search(_COLUMN, message)
    wanted = name[1] if name else ""
    names = sorted({field.name for schema in context.tables.values() for field in schema})
    near = difflib.get_close_matches(wanted, names, 1)
    hint = f": did you mean {near[0]}?" if near else f": the inputs have {', '.join(names[:12])}"
    return f"expected known columns, found: {message}{hint}"


def check_subset(tree: exp.Expr, context: Context) -> None:
    """Refuse every node outside the allow-list, saying what to write instead."""
    known = {*context.tables, *(cte.alias for cte in tree.find_all(exp.CTE))}
    for node in tree.walk():
        if not isinstance(node, ALLOWED):
            _refuse_node(node, context)
        if isinstance(node, exp.Identifier) and (expected := name_fault(node.name)) is not None:
            context.refuse(node, f"expected {expected}, found {node.name!r}: rename it")
        if isinstance(node, exp.Table) and (node.args.get("db") is not None or node.args.get("catalog") is not None):
            context.refuse(
                node, f"expected the plain name of a table, found {node.sql(DIALECT)}: a view reads its inputs only"
            )
        if isinstance(node, exp.Table) and node.name not in known:
            near = difflib.get_close_matches(node.name, known, 1)
            hint = f": did you mean {near[0]}?" if near else ""
            if node.name in context.renamed:
                hint = f": it was renamed to {context.renamed[node.name]}, write that"
            context.refuse(node, f"expected a table among {', '.join(sorted(context.tables))}, found {node.name}{hint}")
    _check_shape(tree, context)


def _refuse_node(node: exp.Expr, context: Context) -> NoReturn:
    name = node.name.lower() if isinstance(node, exp.Anonymous | exp.AnonymousAggFunc) else type(node).__name__
    instead = _INSTEAD.get(_GROUPS.get(name, name))
    shown = name.upper() if isinstance(node, exp.Func) else name
    remedy = f"write {instead}" if instead else "the subset is listed in docs/features.md"
    kind = "a known function" if isinstance(node, exp.Func) else "syntax that every engine reads alike"
    context.refuse(node if line_of(node) > 1 else node.parent or node, f"expected {kind}, found {shown}: {remedy}")


def _check_shape(tree: exp.Expr, context: Context) -> None:
    if tree.args.get("order") is not None:
        context.refuse(tree, "expected no ORDER BY at the end, found one: rows are sorted by entity and time when written")
    for select in tree.find_all(exp.Select):
        _check_select(select, context)
    for union in tree.find_all(exp.Union):
        if union.args.get("distinct"):
            context.refuse(union, "expected UNION ALL, found UNION: write UNION ALL and GROUP BY the key")
    for node in tree.find_all(exp.Subquery):
        if not isinstance(node.parent, exp.From | exp.Join):
            context.refuse(node, f"expected no subquery here: write {_INSTEAD['Subquery']}")
    for test in tree.find_all(exp.In):
        if test.args.get("query") is not None:
            context.refuse(test, f"expected a list of values, found IN (SELECT ...): write {_INSTEAD['Subquery']}")
    for join in tree.find_all(exp.Join):
        _check_join(join, context)


def _check_select(select: exp.Select, context: Context) -> None:
    if select.args.get("distinct") is not None:
        context.refuse(select, "expected GROUP BY, found SELECT DISTINCT: write GROUP BY with the columns")
    if select.args.get("order") is not None and select.parent is not None:
        context.refuse(select, "expected no ORDER BY inside a step, found one: a table has no order")
    for column in select.expressions:
        if isinstance(column, exp.Star) or (isinstance(column, exp.Column) and isinstance(column.this, exp.Star)):
            context.refuse(select, "expected named columns, found *: a new input column would change the features")
        if not isinstance(column, exp.Alias | exp.Column):
            context.refuse(column, f"expected a name for {column.sql(DIALECT)[:40]}, found none: add AS name")
    group = select.args.get("group")
    if group is not None:
        if group.args.get("all"):
            context.refuse(group, "expected GROUP BY with columns, found ALL: list the columns")
        if any(isinstance(part, exp.Literal) for part in group.expressions):
            context.refuse(group, "expected GROUP BY with columns, found a position: write the column's name")


def _check_join(join: exp.Join, context: Context) -> None:
    method, side, kind = join.args.get("method"), join.side, join.kind
    if method or (side, kind) not in {("", ""), ("", "INNER"), ("LEFT", ""), ("LEFT", "OUTER")}:
        join_type = " ".join(filter(None, (method, side, kind)))
        remedy = _INSTEAD["ASOF"] if method == "ASOF" else "JOIN or LEFT JOIN with ON a.key = b.key"
        context.refuse(join, f"expected JOIN or LEFT JOIN, found {join_type} JOIN: write {remedy}")
    condition = join.args.get("on")
    if condition is None or (
        not any(isinstance(part, exp.EQ) for part in condition.flatten(unnest=True)) and not isinstance(condition, exp.EQ)
    ):
        context.refuse(join, "expected a join with ON a.key = b.key, found none: without a key it multiplies rows")
