"""What a view is known by is said by the names that its inputs were given first, where that changes no meaning."""

from pathlib import Path

import pyarrow as pa
import pytest

from orchestrai.contracts.contract import Column, Contract
from orchestrai.features.spec import FeatureViewSpec, LabelSpec
from orchestrai.features.views.first_names import put_back
from orchestrai.features.views.input_table import declared_table
from orchestrai.features.views.view import FeatureView, load_view

COLUMNS = (Column("id", "STRING", "id"), Column("ts", "TIMESTAMP", "ts"), Column("amount", "BIGINT", "amount"))
CONTRACT = Contract("orders", "1.0.0", COLUMNS, event_time="ts")
SQL = "SELECT id, ts, amount * 2 AS twice FROM {0} AS o WHERE o.id <> 'x'"
PYTHON = """\
import pyarrow.compute as pc


def made({0}):
    return {0}.append_column("last", pc.add({0}["amount"], 1)).drop(["amount"])
"""


def renamed(*former: str, columns: tuple[Column, ...] = COLUMNS) -> pa.Schema:
    return declared_table(Contract("orders", "1.0.0", columns, event_time="ts"), former)


def view(folder: Path, table: str, schema: pa.Schema, text: str = SQL, **more: object) -> FeatureView:
    body = {"name": "rfm", "from": table, "entity": "id", "event_time": "ts", "sql": text.replace("{0}", table), **more}
    return load_view(FeatureViewSpec.model_validate(body), folder, {table: schema})


@pytest.mark.parametrize("quote", ["", "`"])
def test_a_view_edited_for_a_new_name_is_the_same_view(tmp_path: Path, quote: str) -> None:
    text = SQL.replace("FROM {0}", f"FROM {quote}{{0}}{quote}")
    before = view(tmp_path, "orders", declared_table(CONTRACT), text)
    after = view(tmp_path, "sales", renamed("orders"), text, tables={"sales": {"event_time": "ts"}})
    assert after.hash != view(tmp_path, "sales", renamed(), text, tables={"sales": {"event_time": "ts"}}).hash
    assert after.hash == view(tmp_path, "orders", renamed(), text, tables={"orders": {"event_time": "ts"}}).hash
    assert after.stored_sql == before.sql and after.stored_first_table == "orders" and after.first_table == "sales"
    twice = view(tmp_path, "turnover", renamed("orders", "sales"), text)
    assert twice.hash == before.hash == view(tmp_path, "sales", renamed("orders"), text).hash


def test_a_view_under_a_new_name_is_stored_by_its_first(tmp_path: Path) -> None:
    before = view(tmp_path, "orders", declared_table(CONTRACT))
    after = view(tmp_path, "orders", declared_table(CONTRACT), name="recency", renamed_from=["rfm", "older"])
    assert (after.name, after.hash) == (before.name, before.hash) and after.spec.name == "recency"


def test_a_view_in_python_is_the_same_too(tmp_path: Path) -> None:
    views = []
    for table, former in (("orders", ()), ("sales", ("orders",))):
        folder = tmp_path / table
        folder.mkdir()
        (folder / "made.py").write_text(PYTHON.replace("{0}", table))
        more = {
            "sql": "",
            "python": "made:made",
            "outputs": {"id": "STRING", "ts": "TIMESTAMP", "last": "BIGINT"},
            "lookback": {"rows": 0},
        }
        views.append(view(folder, table, renamed(*former), **more))
    assert views[0].hash == views[1].hash and views[1].stored_sql == views[0].sql


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        # a column that is called as the table is now, or as it was
        ("SELECT sales FROM sales", ["sales"]),
        ("SELECT Orders FROM sales", ["orders"]),
        # the first name means something else in the text
        ("WITH orders AS (SELECT id FROM sales) SELECT id FROM orders", ["id"]),
    ],
)  # fmt: skip
def test_where_a_name_means_two_things_nothing_is_put_back(text: str, columns: list[str]) -> None:
    assert put_back(text, {"sales": "orders"}, columns, python=False) == (text, {})


def test_only_identifiers_are_put_back() -> None:
    text = "SELECT s.id, 'sales' AS kind -- sales\nFROM `sales` AS s JOIN sales_old AS t ON s.id = t.id"
    stored, sure = put_back(text, {"sales": "orders"}, ["id"], python=False)
    assert stored == text.replace("`sales`", "`orders`") and sure == {"sales": "orders"}


def test_a_label_keeps_the_name_of_its_first_file() -> None:
    before = LabelSpec(sql="churned.sql", horizon="7d")
    after = LabelSpec(sql="left.sql", horizon="7d", renamed_from="churned")
    assert after.as_recorded() == before.as_recorded() and after.first_name == "churned"
