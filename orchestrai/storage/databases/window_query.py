"""The queries of a window: its rows in order, and their count. Both ask by the same condition."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from orchestrai.core.sql.dialects import SQLITE, Dialect
from orchestrai.storage.databases.table_port import Reached, Relation, Wanted, Window

MICROSECOND = timedelta(microseconds=1)
# the column with a row's number
NUMBER = "n"


def rows_query(
    dialect: Dialect, relation: Relation, wanted: Wanted, window: Window, limit: int, shown: dict[str, str] | None = None
) -> str:
    """The rows of a window, at most `limit`; `shown` has an expression of `{0}` for columns that are not to be read as they are."""
    named = ", ".join(_chosen(dialect, wanted, wanted.texts, shown or {}))
    return (
        f"SELECT {named} FROM {source(dialect, relation)} WHERE {_condition(dialect, wanted, window)} "
        f"ORDER BY {_order(dialect, wanted)} LIMIT {int(limit)}"
    )


def numbered_query(dialect: Dialect, relation: Relation, wanted: Wanted, window: Window, limit: int) -> str:
    """The first `limit` rows of a window with their numbers, from 1, in the column `n`: for rows whose files have no order."""
    named = ", ".join(_chosen(dialect, wanted, wanted.texts | wanted.exact, {}))
    number = dialect.column(NUMBER)
    return (
        f"SELECT * FROM (SELECT {named}, ROW_NUMBER() OVER (ORDER BY {_order(dialect, wanted)}) AS {number} "
        f"FROM {source(dialect, relation)} WHERE {_condition(dialect, wanted, window)}) AS p WHERE p.{number} <= {int(limit)}"
    )


def ranked_count_query(dialect: Dialect, relation: Relation, wanted: Wanted, window: Window, limit: int) -> str:
    """How many rows a window holds up to and with its row of the number `limit`, and those that are equal to it in the order."""
    number = dialect.column(NUMBER)
    return (
        f"SELECT count(*) FROM (SELECT RANK() OVER (ORDER BY {_order(dialect, wanted)}) AS {number} "
        f"FROM {source(dialect, relation)} WHERE {_condition(dialect, wanted, window)}) AS p WHERE p.{number} <= {int(limit)}"
    )


def _order(dialect: Dialect, wanted: Wanted) -> str:
    return ", ".join(_column(dialect, name) for name in wanted.order)


def _chosen(dialect: Dialect, wanted: Wanted, texts: frozenset[str], shown: dict[str, str]) -> list[str]:
    order = [_column(dialect, name) for name in wanted.order]
    chosen = [
        (dialect.text if name in texts else shown.get(name, "{0}")).format(_column(dialect, name)) for name in wanted.columns
    ]
    marks = [dialect.text.format(name) if wanted.timed or n else name for n, name in enumerate(order)]
    return [f"{what} AS {dialect.column(f'c{n}')}" for n, what in enumerate([*chosen, *marks])]


def count_query(dialect: Dialect, relation: Relation, wanted: Wanted, window: Window) -> str:
    """How many rows a window holds."""
    return f"SELECT count(*) FROM {source(dialect, relation)} WHERE {_condition(dialect, wanted, window)}"


def nulls_query(dialect: Dialect, relation: Relation, watermark: str) -> str:
    """How many rows no window holds."""
    return f"SELECT count(*) FROM {source(dialect, relation)} WHERE {_column(dialect, watermark)} IS NULL"


def source(dialect: Dialect, relation: Relation) -> str:
    """What is read, under the name t."""
    return f"({relation.query}) AS t" if relation.query else f"{dialect.name(relation.table)} AS t"


def _column(dialect: Dialect, name: str) -> str:
    return f"t.{dialect.column(name)}"


def _condition(dialect: Dialect, wanted: Wanted, window: Window) -> str:
    lower = _lower(dialect, wanted, window)
    if window.until is None:
        return lower
    if window.until.key is None:
        upper = f"{_column(dialect, wanted.order[0])} <= {_mark(dialect, wanted, 0, window.until)}"
    else:
        upper = f"NOT ({_behind(dialect, wanted, window.until)})"
    return f"{lower} AND {upper}"


def _lower(dialect: Dialect, wanted: Wanted, window: Window) -> str:
    first, after = _column(dialect, wanted.order[0]), window.after
    if after is None:
        return f"{first} IS NOT NULL"
    if after.key is not None:
        # the rest of a slice that was cut: strictly behind the last row read
        return f"({_behind(dialect, wanted, after)})"
    if wanted.timed and not dialect.back:
        # a plain text takes the type of the column that it is compared with, whichever of time that is
        return f"{first} >= {dialect.value(_moment_before(str(after.watermark), window.overlap))}"
    if wanted.timed:
        back = dialect.back.format(dialect.value(str(after.watermark)), window.overlap // MICROSECOND)
        return f"{f'julianday({first})' if dialect is SQLITE else first} >= {back}"
    return f"{first} >= {int(after.watermark) - window.overlap_ids}"


def _moment_before(text: str, overlap: timedelta) -> str:
    return (datetime.fromisoformat(text) - overlap).isoformat(sep=" ")


def _behind(dialect: Dialect, wanted: Wanted, reached: Reached) -> str:
    columns = [_column(dialect, name) for name in wanted.order]
    values = [_mark(dialect, wanted, place, reached) for place in range(len(columns))]
    if dialect.row_values:
        return f"({', '.join(columns)}) > ({', '.join(values)})"
    return _stepwise(columns, values)


def _stepwise(columns: Sequence[str], values: Sequence[str]) -> str:
    (first, *rest), (value, *more) = columns, values
    if not rest:
        return f"{first} > {value}"
    # the first condition again in front is one that an index serves
    return f"{first} >= {value} AND ({first} > {value} OR ({_stepwise(rest, more)}))"


def _mark(dialect: Dialect, wanted: Wanted, place: int, reached: Reached) -> str:
    value = reached.watermark if place == 0 else (reached.key or ())[place - 1]
    if isinstance(value, int) or (wanted.order[place] in wanted.numbers and not (place == 0 and wanted.timed)):
        return str(int(value))
    return dialect.value(value)
