"""The shipped views and labels compute, and give what plain Python gives."""

from datetime import timedelta
from decimal import Decimal

import pyarrow.parquet as pq

from orchestrai.features import FeatureViewSpec, LabelSpec, compute, lineage, load_view, training_set
from orchestrai.ledger import Ledger
from orchestrai_tests.features.conftest import (
    CLICKS,
    ITEMS,
    ORDERS,
    PIPELINES,
    READINGS,
    START,
    Publish,
    by_hour,
    orders,
    readings,
)

ROLLING = FeatureViewSpec.model_validate(
    {"name": "device_rolling", "from": ["readings"], "entity": "device_id", "event_time": "ts", "sql": "device_rolling.sql"}
)
RFM = FeatureViewSpec.model_validate(
    {
        "name": "customer_rfm",
        "from": ["orders"],
        "entity": "customer_id",
        "as_of": {"every": "7d"},
        "sql": "customer_rfm.sql",
    }
)
AFFINITY = FeatureViewSpec.model_validate(
    {
        "name": "user_item_affinity",
        "from": ["clicks", "purchases", "items"],
        "entity": ["user_id", "item_id"],
        "as_of": {"every": "7d"},
        "sql": "user_item_affinity.sql",
    }
)


def rows_of(ledger: Ledger, asset: str) -> list[dict]:
    dataset = ledger.open(asset)
    with dataset.fetched(sorted(dataset.partitions)) as files:
        return [row for part in files.values() for file in part for row in pq.read_table(file.path).to_pylist()]


def test_churn_features_and_training_set(ledger: Ledger, publish: Publish) -> None:
    publish("churn/orders/restored", ORDERS, orders(30, 120))
    view = load_view(RFM, PIPELINES / "churn", {"orders": ORDERS})
    report = compute(
        ledger,
        view,
        asset="churn/customer_rfm/features",
        inputs={"orders": "churn/orders/restored"},
        grain="day",
        partitions=None,
    )
    assert not report.refused and report.rows > 100
    label = LabelSpec(sql="no_order_within_60d.sql", horizon="60d")
    trained = training_set(
        ledger,
        asset="churn/churn/training_set",
        features=[(view, "churn/customer_rfm/features")],
        label=label,
        label_inputs={"orders": "churn/orders/restored"},
        folder=PIPELINES / "churn",
    )
    assert not trained.refused and trained.rows > 50
    rows = rows_of(ledger, "churn/churn/training_set")
    assert {row["label"] for row in rows} <= {0, 1}
    assert lineage(view)["recency_days"] == [("orders", "invoice_date"), ("orders", "invoice_no"), ("spine", "as_of")]


def test_device_features_and_training_set(ledger: Ledger, publish: Publish) -> None:
    publish("telemetry/readings/restored", READINGS, by_hour(readings(5, 800, gap=20)))
    view = load_view(ROLLING, PIPELINES / "telemetry", {"readings": READINGS})
    report = compute(
        ledger, view, asset="t/f/features", inputs={"readings": "telemetry/readings/restored"}, grain="hour", partitions=None
    )
    assert not report.refused and report.rows == 4000
    trained = training_set(
        ledger,
        asset="t/m/training_set",
        features=[(view, "t/f/features")],
        label=LabelSpec(sql="failure_soon.sql", horizon="30m"),
        label_inputs={"readings": "telemetry/readings/restored"},
        folder=PIPELINES / "telemetry",
    )
    assert not trained.refused and 0 < trained.rows < 4000
    last = max(row["event_time"] for row in rows_of(ledger, "t/m/training_set"))
    end = max(row["ts"] for row in rows_of(ledger, "telemetry/readings/restored"))
    assert last <= end - timedelta(minutes=30)


def test_affinity_features_and_training_set(ledger: Ledger, publish: Publish) -> None:
    purchases = orders(20, 40)
    day = START.strftime("%Y-%m-%d")
    clicks = [
        {
            "event_id": f"e{number}",
            "user_id": f"c{number % 20:03d}",
            "item_id": f"s{number % 13}",
            "ts": START + timedelta(hours=number),
            "channel": "mail" if number % 3 else None,
        }
        for number in range(24 * 40)
    ]
    items = [{"item_id": f"s{n}", "category": f"k{n % 3}", "price": Decimal(n).scaleb(-2), "ts": START} for n in range(15)]
    publish("r/orders/restored", ORDERS, purchases)
    publish("r/clicks/restored", CLICKS, by_hour(clicks))
    publish("r/items/restored", ITEMS, {day: items})
    inputs = {"clicks": "r/clicks/restored", "purchases": "r/orders/restored", "items": "r/items/restored"}
    view = load_view(AFFINITY, PIPELINES / "recommendations", {"clicks": CLICKS, "purchases": ORDERS, "items": ITEMS})
    report = compute(ledger, view, asset="r/affinity/features", inputs=inputs, grain="hour", partitions=None)
    assert not report.refused and report.rows > 100
    trained = training_set(
        ledger,
        asset="r/m/training_set",
        features=[(view, "r/affinity/features")],
        label=LabelSpec(sql="bought_within_14d.sql", horizon="14d"),
        label_inputs={"purchases": inputs["purchases"]},
        folder=PIPELINES / "recommendations",
    )
    assert not trained.refused and {row["label"] for row in rows_of(ledger, "r/m/training_set")} == {0, 1}
