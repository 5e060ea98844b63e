"""Tasks on data that others made, where it is at hand: figures are finite, and what was published of it is about reached."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pytest

from orchestrai.ledger.ledger import Ledger
from orchestrai_tests.models.conftest import EVALUATION, START, spec

# a folder with telco_churn/ and online_retail_by_day/; never part of this repository
DATA = Path(os.environ.get("ORCHESTRAI_TEST_DATA", "absent"))
Run = Callable[..., Any]
TELCO = sorted((DATA / "telco_churn").glob("*.csv"))
RETAIL = sorted((DATA / "online_retail_by_day").rglob("20*.csv"))


def _figures(ledger: Ledger) -> dict[str, Any]:
    with ledger.open(EVALUATION).fetched(["all"]) as fetched:
        path = next(file.path for file in fetched["all"] if file.entry.path == "metrics.json")
        document: dict[str, Any] = json.loads(path.read_bytes())
    return document


def _subscribers(label: str, *without: str) -> pa.Table:
    table = csv.read_csv(TELCO[0]).drop_columns(["TotalCharges", "Churn", *without])
    names = {"customerID": "customer_id", label: "label"}
    table = table.rename_columns([names.get(name, name) for name in table.column_names])
    return table.append_column("event_time", pa.array([START] * table.num_rows, pa.timestamp("us", "UTC")))


@pytest.mark.skipif(not TELCO, reason="set ORCHESTRAI_TEST_DATA to a folder with telco_churn/*.csv")
@pytest.mark.parametrize(
    ("task", "label", "metric"), [("multiclass", "Contract", "macro_f1"), ("regression", "MonthlyCharges", "mae")]
)
def test_subscribers_by_their_contract_and_by_what_they_pay(
    ledger: Ledger, run: Run, task: str, label: str, metric: str
) -> None:
    model = spec(task=task, promote_when={"metric": metric}, split={"by": "entity"}, baseline=None)
    trained, _, promoted = run(model, _subscribers(label))
    document = _figures(ledger)
    assert promoted.version == trained.version
    ours, naive = document["candidate"][metric]["value"], document["naive"][metric]["value"]
    # what a month costs follows from what was ordered; a contract does so in part
    assert ours < 0.1 * naive if task == "regression" else ours > 2 * naive


@pytest.mark.skipif(len(RETAIL) < 100, reason="set ORCHESTRAI_TEST_DATA to a folder with online_retail_by_day")
def test_what_countries_spend_next_is_forecast_beside_last_week(ledger: Ledger, run: Run) -> None:
    days: dict[str, dict[str, float]] = {}
    for path in RETAIL:
        sold = csv.read_csv(path, convert_options=csv.ConvertOptions(include_columns=["Country", "Quantity", "UnitPrice"]))
        worth = pc.multiply(sold.column("Quantity").cast(pa.float64()), sold.column("UnitPrice").cast(pa.float64()))
        sums = (
            pa.table({"country": sold.column("Country"), "worth": worth}).group_by("country").aggregate([("worth", "sum")])
        )
        for country, amount in zip(sums.column("country").to_pylist(), sums.column("worth_sum").to_pylist(), strict=True):
            days.setdefault(country, {})[path.stem[-10:]] = amount
    lines = []
    for country in sorted(days, key=lambda name: -len(days[name]))[:4]:
        dates = sorted(days[country])
        for number in range(6, len(dates)):
            when = datetime.fromisoformat(dates[number]).replace(tzinfo=UTC)
            before = [days[country][date] for date in dates[number - 6 : number]]
            lines.append(
                (country, when, days[country][dates[number]], before[-1], before[0], sum(before) / 6, when.weekday())
            )
    names = ("shop", "event_time", "label", "day_before", "week_before", "mean_of_week", "weekday")
    columns = dict(zip(names, zip(*lines, strict=True), strict=True))
    table = pa.table({**columns, "event_time": pa.array(columns["event_time"], pa.timestamp("us", "UTC"))})
    model = spec(
        task="forecast", entity=["shop"], forecast={"season": "7d", "ahead": "1d"}, baseline=None,
        split={"backtests": 3, "gap": "1d"}, promote_when={"metric": "mase"},
    )  # fmt: skip
    _, _, promoted = run(model, table)
    document = _figures(ledger)
    ours, naive = document["candidate"]["mase"], document["naive"]["mase"]
    assert 0 < ours["low"] <= ours["value"] <= ours["high"]
    assert (ours["value"] < naive["value"]) == bool(promoted.version)
