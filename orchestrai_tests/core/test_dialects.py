"""One window said in each dialect: sqlglot reads it there, and names and values stay what they are."""

import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from orchestrai.core.sql.dialects import BIGQUERY, DUCKDB, MYSQL, POSTGRES, REDSHIFT, SNOWFLAKE, SQLITE, Dialect
from orchestrai.errors import ConfigError
from orchestrai.storage.databases.table_port import Reached, Relation, Wanted, Window
from orchestrai.storage.databases.window_query import count_query, rows_query

ALL = (POSTGRES, DUCKDB, SQLITE, MYSQL, BIGQUERY, REDSHIFT, SNOWFLAKE)
WANTED = Wanted(
    ("order", "select; --"), frozenset({"order"}), ("at", "order", "x y"), timed=True, numbers=frozenset({"x y"})
)
CUT = Window(Reached("2026-11-20 10:00:00", ("it's", "7")), Reached("2026-11-21 10:00:00", ("b", "9")))


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.parser)
@pytest.mark.parametrize("window", [Window(), Window(Reached("2026-11-20 10:00:00")), CUT], ids=["all", "back", "cut"])
def test_a_window_is_one_statement_of_the_dialect_with_the_names_as_they_are(dialect: Dialect, window: Window) -> None:
    for query in (
        rows_query(dialect, Relation("shop.order"), WANTED, window, 10),
        count_query(dialect, Relation("shop.order"), WANTED, window),
    ):
        (tree,) = sqlglot.parse(query, read=dialect.parser, error_level=sqlglot.ErrorLevel.RAISE)
        assert isinstance(tree, exp.Select)
        (table,) = tree.find_all(exp.Table)
        assert (table.db, table.name) == (dialect.spelled("shop"), dialect.spelled("order"))
        names = {dialect.spelled(name) for name in (*WANTED.order, *WANTED.columns)}
        assert {column.name for column in tree.find_all(exp.Column)} <= names
        literals = {one.this for one in tree.find_all(exp.Literal) if one.is_string}
        assert window is not CUT or {"it's", "b"} <= literals


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.parser)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    text=st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
    | st.sampled_from(["'", "''", "\\'", "\\", "'; --"])
)
def test_a_text_is_one_value_of_the_dialect(dialect: Dialect, text: str) -> None:
    if "\\" in text and dialect is REDSHIFT:
        with pytest.raises(ConfigError, match="backslash"):
            dialect.value(text)
        return
    if "\\" in text and dialect is MYSQL:
        return  # of a session without backslashes, which sqlglot does not know; the servers' tests do
    (tree,) = sqlglot.parse(f"SELECT {dialect.value(text)}", read=dialect.parser)
    assert tree is not None
    (value,) = tree.expressions
    assert isinstance(value, exp.Literal) and value.this == text


def test_a_name_is_folded_as_the_database_folds_it() -> None:
    assert [SNOWFLAKE.column(name) for name in ("id", "Id", "x y")] == ['"ID"', '"Id"', '"x y"']
    assert REDSHIFT.column("CustomerID") == '"customerid"' and POSTGRES.column("CustomerID") == '"CustomerID"'
