"""Feature functions in Python: declared, confined, repeatable, and equal to a full recompute when computed bit by bit."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrai.errors import FeatureViewError
from orchestrai.features.engines.spark_engine import SparkEngine
from orchestrai.features.spec import FeatureViewSpec
from orchestrai.features.views.column_lineage import lineage
from orchestrai.features.views.view import FeatureView, load_view
from orchestrai.ledger.ledger import Ledger
from orchestrai_tests.features.conftest import ORDERS, READINGS, START, Publish, by_hour, orders, readings
from orchestrai_tests.features.test_shipped_views import rows_of
from orchestrai_tests.running import compute

HOT = """
import pandas as pd


def hot(readings):
    rows = readings.sort_values(["device_id", "ts", "seq"]).drop_duplicates(["device_id", "ts"])
    seen = rows.groupby("device_id")["temperature"].rolling(3, min_periods=1).max()
    return pd.DataFrame({"device_id": rows.device_id, "ts": rows.ts, "hottest": seen.to_numpy()})
"""
SPEND = """
import pyarrow.compute as pc


def spend(spine, orders):
    rows = orders.join(spine, "customer_id", join_type="inner")
    found = rows.group_by(["customer_id", "as_of"]).aggregate([("quantity", "sum")])
    return found.rename_columns(["customer_id", "as_of", "pieces"])
"""


def view_of(folder: Path, text: str, **spec: Any) -> FeatureView:
    (folder / "features.py").write_text(text, encoding="utf-8")
    given = {
        "name": "hot", "from": "readings", "entity": "device_id", "event_time": "ts", "python": "features:hot", "over": "pandas",
        "outputs": {"device_id": "STRING", "ts": "TIMESTAMP", "hottest": "DOUBLE"}, "lookback": {"rows": 2}, **spec,
    }  # fmt: skip
    return load_view(FeatureViewSpec.model_validate(given), folder, {"readings": READINGS, "orders": ORDERS})


def run(ledger: Ledger, view: FeatureView, asset: str = "t/f/features", **more: Any) -> Any:
    return compute(ledger, view, asset=asset, inputs={"readings": "t/r/restored"}, grain="hour", partitions=None, **more)


def test_a_function_over_pandas_gives_features_and_hour_by_hour_the_same(
    ledger: Ledger, publish: Publish, tmp_path: Path
) -> None:
    view = view_of(tmp_path, HOT)
    hours = by_hour(readings(3, 400, gap=30))
    for count in range(1, len(hours) + 1):
        publish("t/r/restored", READINGS, dict(list(sorted(hours.items()))[:count]))
        report = run(ledger, view)
    run(ledger, view, asset="t/whole/features")
    assert not report.refused and str(report.facts["engine"]).startswith("python ")
    assert ledger.open("t/f/features").version == ledger.open("t/whole/features").version
    rows = rows_of(ledger, "t/f/features")
    one = [row for row in rows if row["device_id"] == "d0001"]
    assert len(rows) == 1200 and one == sorted(one, key=lambda row: row["ts"])
    assert lineage(view) == {}


def test_a_function_over_arrow_sees_nothing_from_its_moment_on(ledger: Ledger, publish: Publish, tmp_path: Path) -> None:
    publish("t/o/restored", ORDERS, orders(5, 20))
    view = view_of(
        tmp_path, SPEND, python="features:spend", over="arrow", entity="customer_id", event_time=None, as_of={"every": "7d"},
        outputs={"customer_id": "STRING", "as_of": "TIMESTAMP", "pieces": "BIGINT"}, lookback=None, **{"from": "orders"},
    )  # fmt: skip
    report = compute(ledger, view, asset="t/s/features", inputs={"orders": "t/o/restored"}, grain="day", partitions=None)
    assert not report.refused
    expected: dict[tuple[Any, Any], int] = {}
    sold = [row for day in orders(5, 20).values() for row in day if row["customer_id"]]
    found = rows_of(ledger, "t/s/features")
    for as_of in {row["as_of"] for row in found}:
        for row in sold:
            if row["invoice_date"] < as_of:
                key = (row["customer_id"], as_of)
                expected[key] = expected.get(key, 0) + row["quantity"]
    assert {(row["customer_id"], row["as_of"]): row["pieces"] for row in found} == expected


def test_the_text_of_the_function_is_part_of_the_version(tmp_path: Path) -> None:
    before = view_of(tmp_path, HOT)
    assert view_of(tmp_path, HOT.replace("rolling(3", "rolling(2")).hash != before.hash
    # only white space moved, and Python reads that
    assert view_of(tmp_path, HOT + "\n").hash != before.hash


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HOT.replace(".max()", ".max()[::-1]"), "on no row after its own"),
        (HOT.replace("rolling(3, min_periods=1).max()", "transform('max')"), "on no row after its own"),
        (HOT.replace("seen.to_numpy()", "__import__('numpy').random.default_rng().random(len(rows))"), "found __import__"),
        (
            "import numpy as np\n" + HOT.replace("seen.to_numpy()", "np.random.default_rng().random(len(rows))"),
            "must depend on its tables alone",
        ),
        (HOT.replace('"hottest"', '"other"'), "expected the columns device_id, ts, hottest"),
        (HOT.replace("seen.to_numpy()", '"x"'), "expected the declared types"),
        ("import os\n" + HOT, "found import os"),
        ("import helpers\n" + HOT, "found import helpers"),
        (HOT + "    open('x')\n", "found open"),
        (HOT.replace("def hot(readings)", "def hot(reading)"), "expected hot\\(readings\\)"),
        ("def hot(readings:\n", "expected Python"),
    ],
)
def test_a_function_that_is_not_of_its_tables_alone_is_refused(
    ledger: Ledger, publish: Publish, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "helpers.py").write_text("", encoding="utf-8")
    publish("t/r/restored", READINGS, by_hour(readings(2, 40)))
    with pytest.raises(FeatureViewError, match=message):
        run(ledger, view_of(tmp_path, text))
    assert ledger.find("t/f/features") is None


def test_a_function_lies_in_the_pipelines_folder(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "outside.py").write_text(HOT, encoding="utf-8")
    (tmp_path / "inside" / "linked.py").symlink_to(tmp_path / "outside.py")
    for name in ("../outside:hot", "linked:hot", "missing:hot"):
        with pytest.raises(FeatureViewError, match="expected"):
            view_of(tmp_path / "inside", HOT, python=name)


def test_spark_is_refused_with_what_to_do_instead(ledger: Ledger, publish: Publish, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found spark: write the view as sql to run it there"):
        view_of(tmp_path, HOT, engine="spark")
    publish("t/r/restored", READINGS, {f"{START:%Y-%m-%d-%H:00}": readings(1, 5)})

    def never() -> None:
        raise AssertionError("no session is opened for a view that Spark cannot run")

    with pytest.raises(FeatureViewError, match="or write the view as sql"):
        run(ledger, view_of(tmp_path, HOT), engine=SparkEngine(never))


def test_slices_and_micro_batches_work_for_functions_too(ledger: Ledger, publish: Publish, tmp_path: Path) -> None:
    view = view_of(tmp_path, HOT, files_every="5m")
    rows = sorted(readings(3, 100, gap=20), key=lambda row: row["ts"])
    batches = [rows[:150], rows[150:250], rows[250:]]
    hour = f"{START:%Y-%m-%d-%H:00}"
    assert rows[-1]["ts"] < START + timedelta(hours=1)
    for count in (1, 2, 3):
        publish("t/r/restored", READINGS, {hour: batches[:count]})
        report = run(ledger, view)
    run(ledger, view, asset="t/whole/features")
    assert report.facts["mended"] == 1
    assert ledger.open("t/f/features").version == ledger.open("t/whole/features").version
