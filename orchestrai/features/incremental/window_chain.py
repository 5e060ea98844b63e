"""The windows of a view as a chain of steps that one order of the rows serves, found in the view's tree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp

from orchestrai.core.sql.quoting import quoted
from orchestrai.features.incremental.window_shape import NoChain, Sliding, duckdb_text, plain_column, window_shape
from orchestrai.features.views.view import FeatureView, Table

__all__ = ["CHUNK", "Chain", "NoChain", "Plan", "Stage"]

CHUNK = "chunk"
_PLAIN = {"kind", "expressions", "from_", "where", "windows", "with_", "hint"}


@dataclass(frozen=True)
class Stage:
    """Windows over the rows so far, then the SQL over `chunk` that gives the rows of the next stage."""

    windows: tuple[Sliding, ...]
    sql: str


@dataclass(frozen=True)
class Plan:
    """`source` gives the sorted rows of the first stage; the last stage's are the view's, sorted by its key.

    `entity` and `time` are the view's key in the rows that the last windows see. `by_moment` says that those rows depend on the
    input's rows of the same moment only, so that they can be made of any span of time alone; `filtered` that a moment may leave none.
    """

    source: str
    stages: tuple[Stage, ...]
    entity: tuple[str, ...] = ()
    time: str = ""
    by_moment: bool = False
    filtered: bool = False


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


class Chain:
    """The steps of a view from the innermost out, and the one order that serves all of them."""

    def __init__(self, view: FeatureView) -> None:
        assert view.tree is not None
        self._tree = view.tree
        self.view = view
        self._steps, self._base = _steps(view.tree)
        first = next((at for at, step in enumerate(self._steps) if step.windows), None)
        if first is None:
            raise NoChain
        self._first = first

    def plan(self) -> Plan:
        """Source and stages; raises NoChain."""
        view, order = self.view, self._order()
        source, arguments = self._source()
        stages = []
        at: int | None = self._first
        while at is not None:
            later = next((i for i in range(at + 1, len(self._steps)) if self._steps[i].windows), None)
            windows, replaced = self._windows(at, arguments)
            sql = self._select(replaced, f"{CHUNK} AS {quoted(self._steps[at].alias)}", filtered=False)
            for step in self._steps[at + 1 : later]:
                sql = self._select(step.select, f"({sql}) AS {quoted(step.alias)}")
            if later is not None:
                sql, arguments = self._input(self._steps[later], f"({sql}) AS {quoted(self._steps[later].alias)}")
            stages.append(Stage(tuple(windows), sql))
            at = later
        last = max(i for i, step in enumerate(self._steps) if step.windows)
        entity, time = (
            [self._traced(name, len(self._steps), last) for name in names] for names in (view.entity, [view.time])
        )
        return Plan(
            f"{source} ORDER BY {', '.join(order)}",
            tuple(stages),
            tuple(entity),
            time[0],
            by_moment=self._by_moment(last),
            filtered=any(self._filters(at) for at in range(last + 1)),
        )

    def _filters(self, at: int) -> bool:
        """True unless every moment that a step sees has a row left: it has no WHERE, or takes the first of numbered rows."""
        where = self._steps[at].select.args.get("where")
        if where is None:
            return False
        test = where.this
        below = self._steps[at - 1].select.expressions if at else []
        if not isinstance(test, exp.EQ) or not isinstance(test.this, exp.Column) or test.expression != exp.Literal.number(1):
            return True
        numbered = [part.unalias() for part in below if part.alias_or_name == test.this.name]
        return not (numbered and isinstance(numbered[0], exp.Window) and isinstance(numbered[0].this, exp.RowNumber))

    def _by_moment(self, last: int) -> bool:
        """True when the rows of the last windows are made of one table, each of rows at its own moment."""
        tables = list(self.view.tables.values())
        innermost = self._steps[0].select.args["from_"].this
        try:
            return self._made_by_moment(tables, innermost, last)
        except NoChain:
            return False

    def _made_by_moment(self, tables: Sequence[Table], innermost: exp.Expr, last: int) -> bool:
        if len(tables) != 1 or not isinstance(innermost, exp.Table) or innermost.name != tables[0].name:
            return False
        for at, step in enumerate(self._steps[: last + 1]):
            parts = [*step.select.expressions, *([step.select.args["where"]] if step.select.args.get("where") else [])]
            if any(part.find(exp.Query) for part in parts):
                return False
            moment = self._traced(self.view.time, len(self._steps), at)
            for window in step.windows if at < last else ():
                partition = [plain_column(part) for part in step.definition(window).args.get("partition_by") or ()]
                if not isinstance(window.this, exp.RowNumber) or moment not in partition:
                    return False
        return self._traced(self.view.time, len(self._steps), 0) == tables[0].event_time

    def _source(self) -> tuple[str, dict[str, str]]:
        """The SQL of the first windows' rows, and the columns that hold their arguments."""
        base, below = self._base, self._steps[: self._first]
        for step in below:
            base = f"({self._select(step.select, base)}) AS {quoted(self._steps[below.index(step) + 1].alias)}"
        sql, arguments = self._input(self._steps[self._first], base)
        with_ = self._tree.args.get("with_")
        return (f"{duckdb_text(with_)} {sql}" if with_ is not None else sql), arguments

    def _input(self, step: _Step, source: str) -> tuple[str, dict[str, str]]:
        """The rows that a step's windows see: its source columns, filtered, and the arguments that are expressions."""
        arguments: dict[str, str] = {}
        columns = [quoted(name) for name in sorted(step.columns)]
        for window in step.windows:
            argument = window.this.this
            if isinstance(argument, exp.Expr) and not isinstance(argument, exp.Column | exp.Star | exp.Literal):
                text = duckdb_text(argument)
                if text not in arguments:
                    arguments[text] = f"__a{len(arguments)}"
                    columns.append(f"{text} AS {quoted(arguments[text])}")
        where = step.select.args.get("where")
        return f"SELECT {', '.join(columns)} FROM {source} {duckdb_text(where) if where is not None else ''}", arguments

    def _windows(self, at: int, arguments: Mapping[str, str]) -> tuple[list[Sliding], exp.Select]:
        """A step's distinct windows, and its SELECT with columns in their place."""
        step, windows = self._steps[at], dict[tuple[object, ...], Sliding]()
        select = step.select.copy()
        named = set(step.named)
        for original, copied in zip(_in_select(step.select, named), _in_select(select, named), strict=True):
            shape = window_shape(original, step.definition(original), arguments)
            window = windows.setdefault(shape, Sliding(f"__w{len(windows)}", *shape))  # type: ignore[arg-type]
            copied.replace(exp.column(window.name, quoted=True))
        select.set("windows", None)
        return list(windows.values()), select

    def _select(self, select: exp.Select, source: str, *, filtered: bool = True) -> str:
        columns = ", ".join(f"{duckdb_text(part.unalias())} AS {quoted(part.alias_or_name)}" for part in select.expressions)
        where = select.args.get("where")
        return f"SELECT {columns} FROM {source} {duckdb_text(where) if filtered and where is not None else ''}"

    def _order(self) -> list[str]:
        """The order of the source that suits every window and the view's key."""
        wanted = [self._traced(name, len(self._steps)) for name in self.view.key]
        keys: list[tuple[str, bool]] = [(name, False) for name in wanted]
        for at in range(len(self._steps) - 1, self._first - 1, -1):
            for window in self._steps[at].windows:
                definition = self._steps[at].definition(window)
                partition = [self._traced(plain_column(part), at) for part in definition.args.get("partition_by") or ()]
                order = [
                    (self._traced(plain_column(part.this), at), bool(part.args.get("desc")))
                    for part in (definition.args["order"].expressions if definition.args.get("order") else ())
                ]
                keys = _merged(keys, partition, order)
        return [f"{quoted(name)} {'DESC NULLS LAST' if desc else 'ASC NULLS FIRST'}" for name, desc in keys]

    def _traced(self, name: str, at: int, down_to: int | None = None) -> str:
        """A column of step `at`'s source (`len(steps)`: of the result) as a column of a lower step's, by default the first windows'."""
        while at > (self._first if down_to is None else down_to):
            at -= 1
            columns = [part for part in self._steps[at].select.expressions if part.alias_or_name == name]
            if len(columns) != 1:
                raise NoChain
            name = plain_column(columns[0].unalias())
        return name


def _merged(
    keys: list[tuple[str, bool]], partition: Sequence[str], order: Sequence[tuple[str, bool]]
) -> list[tuple[str, bool]]:
    """The keys, longer where a window asks for more; raises NoChain where it asks for another order."""
    size = len(partition)
    if len(keys) < size or {name for name, _ in keys[:size]} != set(partition):
        raise NoChain
    for number, item in enumerate(order, size):
        if number == len(keys):
            keys = [*keys, item]
        elif keys[number] != item:
            raise NoChain
    return keys


def _steps(tree: exp.Expr) -> tuple[list[_Step], str]:
    """The chain from the innermost step out, and the source of the innermost."""
    with_ = tree.args.get("with_")
    ctes = {cte.alias: cte.this for cte in with_.expressions} if with_ is not None else {}
    steps: list[_Step] = []
    query: exp.Expr | None = tree
    base = ""
    while query is not None:
        if not isinstance(query, exp.Select) or any(query.args.get(name) for name in set(query.args) - _PLAIN):
            raise NoChain
        if steps and query.args.get("with_") is not None:
            raise NoChain
        source = query.args["from_"].this
        named = {window.name: window for window in query.args.get("windows") or ()}
        steps.append(_Step(query, source.alias_or_name, _in_select(query, set(named)), named))
        base = duckdb_text(source)
        below = source.this if isinstance(source, exp.Subquery) else ctes.get(source.name)
        query = below if isinstance(below, exp.Select) and _single(below) else None
    return steps[::-1], base


def _single(select: exp.Select) -> bool:
    """True for a SELECT over one source, row by row."""
    return not any(select.args.get(name) for name in set(select.args) - _PLAIN)


def _in_select(select: exp.Select, named: set[str]) -> list[exp.Window]:
    return [window for part in select.expressions for window in part.find_all(exp.Window)]
