"""The shipped views and labels compute, and give what plain Python gives."""

from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import permutations

import pyarrow.parquet as pq
import pytest

from orchestrai.features.spec import FeatureViewSpec, LabelSpec
from orchestrai.features.training_set import LabelInputs, training_set
from orchestrai.features.views.column_lineage import lineage
from orchestrai.features.views.view import load_view
from orchestrai.ledger.ledger import Ledger
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
from orchestrai_tests.running import compute

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


def assert_rfm(rows: list[dict], lines: list[dict]) -> None:
    """Every feature as Python counts it from what lies before the moment."""
    for row in rows:
        as_of = row["as_of"]
        mine = [o for o in lines if o["customer_id"] == row["customer_id"] and o["invoice_date"] < as_of]
        last = {n: [o for o in mine if o["invoice_date"] >= as_of - timedelta(days=n)] for n in (30, 60, 90)} | {0: mine}
        kept = {n: [o for o in found if not o["invoice_no"].startswith("C")] for n, found in last.items()}
        assert row["recency_days"] == (as_of - max(o["invoice_date"] for o in kept[0])).days if kept[0] else None
        assert row["tenure_days"] == (as_of - min(o["invoice_date"] for o in mine)).days
        for n, name in ((0, "all"), (30, "30d"), (60, "60d"), (90, "90d")):
            assert row[f"orders_{name}"] == len({o["invoice_no"] for o in kept[n]})
            assert row[f"money_{name}"] == int(sum(o["quantity"] * o["unit_price"] * 1000 for o in kept[n])) / 1000
            if n in (0, 90):
                assert row[f"products_{name}"] == len({o["stock_code"] for o in kept[n]})
        assert row["returns_all"] == len({o["invoice_no"] for o in mine if o["invoice_no"].startswith("C")})
        assert row["return_rate"] == (len(mine) - len(kept[0])) / len(mine)
        assert (row["trend_30_90"], row["trend_60_90"]) == (len(last[30]) / len(last[90]), len(last[60]) / len(last[90]))
        assert row["is_uk"] == max(int(o["country"] == "United Kingdom") for o in mine)


def test_churn_features_and_training_set(ledger: Ledger, publish: Publish) -> None:
    days = orders(30, 120)
    publish("churn/orders/restored", ORDERS, days)
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
    assert_rfm(rows_of(ledger, "churn/customer_rfm/features")[::7], [row for part in days.values() for row in part])
    label = LabelSpec(sql="no_order_within_60d.sql", horizon="60d")
    trained = training_set(
        ledger,
        asset="churn/churn/training_set",
        features=[(view, "churn/customer_rfm/features")],
        label=label,
        inputs=LabelInputs({"orders": "churn/orders/restored"}, PIPELINES / "churn"),
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
        inputs=LabelInputs({"readings": "telemetry/readings/restored"}, PIPELINES / "telemetry"),
    )
    assert not trained.refused and 0 < trained.rows < 4000
    last = max(row["event_time"] for row in rows_of(ledger, "t/m/training_set"))
    end = max(row["ts"] for row in rows_of(ledger, "telemetry/readings/restored"))
    assert last <= end - timedelta(minutes=30)


def moments_of(ledger: Ledger, asset: str) -> set[datetime]:
    return {row["as_of"] for row in rows_of(ledger, asset)}


def assert_affinity(rows: list[dict], clicks: list[dict], purchases: list[dict]) -> None:
    """Every feature as Python counts it from what lies before the moment."""
    as_of = rows[0]["as_of"]
    bought: dict[str, Counter[str]] = {}
    for row in purchases:
        if row["invoice_date"] < as_of and row["customer_id"] and not row["invoice_no"].startswith("C"):
            bought.setdefault(row["customer_id"], Counter())[row["stock_code"]] += 1
    users = Counter(pair for basket in bought.values() for pair in permutations(basket, 2))
    for row in rows:
        user, item = row["user_id"], row["item_id"]
        seen = [c["ts"] for c in clicks if c["user_id"] == user and c["item_id"] == item and c["ts"] < as_of]
        mine = bought.get(user, Counter())
        together = sum(users[item, other] for other in mine if users[item, other] > 1)
        assert (row["clicks"], row["clicks_7d"]) == (len(seen), sum(ts >= as_of - timedelta(days=7) for ts in seen))
        assert (row["buys"], row["affinity"]) == (mine[item], len(seen) + 5 * mine[item])
        assert row["hours_since_click"] == (as_of - max(seen)) // timedelta(hours=1)
        assert row["item_buyers"] == sum(item in basket for basket in bought.values())
        assert row["item_buys"] == sum(basket[item] for basket in bought.values())
        assert row["bought_together"] == together
    assert len({row["bought_together"] for row in rows}) > 2


@pytest.mark.thorough("churn's views take the same way")
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
    rows = [
        row
        for row in rows_of(ledger, "r/affinity/features")
        if row["as_of"] == max(moments_of(ledger, "r/affinity/features"))
    ]
    assert_affinity(rows, clicks, [row for part in purchases.values() for row in part])
    trained = training_set(
        ledger,
        asset="r/m/training_set",
        features=[(view, "r/affinity/features")],
        label=LabelSpec(sql="bought_within_14d.sql", horizon="14d"),
        inputs=LabelInputs({"purchases": inputs["purchases"]}, PIPELINES / "recommendations"),
    )
    assert not trained.refused and {row["label"] for row in rows_of(ledger, "r/m/training_set")} == {0, 1}
