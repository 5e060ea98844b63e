"""Training sets hold nothing of the future, and statistics see a feature that moved."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrai.errors import FeatureViewError, NotReceipted
from orchestrai.features.labels import data_end, declared_label
from orchestrai.features.profile.portrait import portrait
from orchestrai.features.profile.statistics import drift, feature_stats
from orchestrai.features.spec import FeatureViewSpec, LabelSpec
from orchestrai.features.training_set import LabelInputs, training_set
from orchestrai.features.views.view import FeatureView, load_view
from orchestrai.features.views.view_inputs import open_inputs
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import StageReport
from orchestrai_tests.features.conftest import CLICKS, ORDERS, PIPELINES, READINGS, START, Publish, orders
from orchestrai_tests.running import compute

ORDERS_ASSET = "p/orders/restored"
LABEL = LabelSpec(sql="no_order_within_60d.sql", horizon="60d")


def view(name: str = "rfm", sql: str = "customer_rfm.sql", **spec: Any) -> FeatureView:
    body = {"name": name, "from": "orders", "entity": "customer_id", "as_of": {"every": "7d"}, "sql": sql, **spec}
    return load_view(FeatureViewSpec.model_validate(body), PIPELINES / "churn", {"orders": ORDERS})


def features(ledger: Ledger, found: FeatureView) -> tuple[FeatureView, str]:
    asset = f"p/{found.name}/features"
    compute(ledger, found, asset=asset, inputs={"orders": ORDERS_ASSET}, grain="day", partitions=None)
    return found, asset


def train(ledger: Ledger, *used: tuple[FeatureView, str], **options: Any) -> StageReport:
    return training_set(
        ledger, asset="p/m/training_set", features=used, label=LABEL,
        inputs=LabelInputs({"orders": ORDERS_ASSET}, PIPELINES / "churn"), **options,
    )  # fmt: skip


def rows_of(ledger: Ledger) -> list[dict[str, Any]]:
    dataset = ledger.open("p/m/training_set")
    with dataset.fetched(["all"]) as files:
        return [row for file in files["all"] for row in pq.read_table(file.path).to_pylist()]


def test_labels_are_what_happened_after_each_moment(ledger: Ledger, publish: Publish) -> None:
    days = orders(300, 120, per_day=12)
    publish(ORDERS_ASSET, ORDERS, days)
    report = train(ledger, features(ledger, view()))
    flat = [row for part in days.values() for row in part if not row["invoice_no"].startswith("C")]
    end = max(row["invoice_date"] for part in days.values() for row in part)
    rows = rows_of(ledger)
    assert report.facts["rows"] == len(rows) and {row["label"] for row in rows} == {0, 1}
    for row in rows:
        as_of = row["event_time"]
        assert as_of + timedelta(days=60) <= end
        bought = [
            o
            for o in flat
            if o["customer_id"] == row["customer_id"] and as_of <= o["invoice_date"] < as_of + timedelta(days=60)
        ]
        assert row["label"] == (0 if bought else 1)


BOTH = LabelSpec(
    sql="SELECT s.customer_id, s.as_of, CASE WHEN COUNT(c.event_id) + COUNT(o.invoice_no) > 0 THEN 1 ELSE 0 END AS label "
    "FROM spine AS s LEFT JOIN orders AS o ON o.customer_id = s.customer_id AND o.invoice_date >= s.as_of "
    "LEFT JOIN clicks AS c ON c.user_id = s.customer_id AND c.ts >= s.as_of GROUP BY s.customer_id, s.as_of",
    horizon="7d",
)
CLICKS_ASSET = "p/clicks/restored"


def clicks(days: int) -> dict[str, list[dict[str, Any]]]:
    moments = [START + timedelta(days=day, hours=9) for day in range(days)]
    return {
        f"{ts:%Y-%m-%d}": [{"event_id": f"e{ts:%j}", "user_id": "c001", "item_id": "i", "ts": ts, "channel": "web"}]
        for ts in moments
    }


@pytest.mark.parametrize("names", [("orders", "clicks"), ("clicks", "orders")])
@pytest.mark.parametrize(("bought", "clicked"), [(60, 41), (41, 60)])
def test_labels_end_with_the_first_of_their_inputs_that_does(
    ledger: Ledger, publish: Publish, names: tuple[str, ...], bought: int, clicked: int
) -> None:
    publish(ORDERS_ASSET, ORDERS, days := orders(40, bought))
    publish(CLICKS_ASSET, CLICKS, clicks(clicked))
    last = max(row["invoice_date"] for part in days.values() for row in part)
    end = min(last, START + timedelta(days=clicked - 1, hours=9))
    assets = {"orders": ORDERS_ASSET, "clicks": CLICKS_ASSET}
    report = training_set(
        ledger,
        asset="p/m/training_set",
        features=[features(ledger, view())],
        label=BOTH,
        inputs=LabelInputs({name: assets[name] for name in names}, PIPELINES / "churn"),
    )
    assert report.facts["data_end"] == end.isoformat()
    moments = {row["event_time"] for row in rows_of(ledger)}
    assert moments and max(moments) + BOTH.horizon <= end < max(moments) + BOTH.horizon + timedelta(days=7)


def test_an_input_in_which_little_happens_ends_with_its_newest_whole_partition(ledger: Ledger, publish: Publish) -> None:
    publish(ORDERS_ASSET, ORDERS, days := orders(40, 60))
    sparse = clicks(1) | {f"{START + timedelta(days=day):%Y-%m-%d}": [] for day in range(1, 50)}
    publish(CLICKS_ASSET, CLICKS, sparse)
    label = declared_label(BOTH, {"orders": ORDERS, "clicks": CLICKS}, PIPELINES / "churn", view())
    opened = open_inputs(ledger, label, {"orders": ORDERS_ASSET, "clicks": CLICKS_ASSET})
    with opened.fetched({name: list(spans) for name, spans in opened.spans.items()}) as files:
        last = max(row["invoice_date"] for part in days.values() for row in part)
        assert data_end(label, opened, files) == START + timedelta(hours=9)
        for positioned, end in ((False, START + timedelta(days=50)), (True, START + timedelta(hours=9))):
            declared: Any = {CLICKS_ASSET: SimpleNamespace(positioned=positioned)}
            assert data_end(label, opened, files, declared) == min(last, end)


def test_a_table_that_the_label_does_not_read_ends_nothing(ledger: Ledger, publish: Publish) -> None:
    publish(ORDERS_ASSET, ORDERS, orders(40, 120))
    publish(CLICKS_ASSET, CLICKS, clicks(3))
    report = training_set(
        ledger,
        asset="p/m/training_set",
        features=[features(ledger, view())],
        label=LABEL,
        inputs=LabelInputs({"clicks": CLICKS_ASSET, "orders": ORDERS_ASSET}, PIPELINES / "churn"),
    )
    assert report.facts["rows"]


def test_data_that_arrives_later_changes_no_earlier_feature(ledger: Ledger, publish: Publish) -> None:
    days = orders(20, 130)
    publish(ORDERS_ASSET, ORDERS, {key: part for key, part in days.items() if key < "2026-04-15"})
    train(ledger, features(ledger, view()), as_of_limit=datetime(2026, 4, 1, tzinfo=UTC))
    before = rows_of(ledger)
    publish(ORDERS_ASSET, ORDERS, days)
    train(ledger, features(ledger, view()), as_of_limit=datetime(2026, 4, 1, tzinfo=UTC))
    assert before and rows_of(ledger) == before


def test_two_views_join_at_the_newest_moment_known(ledger: Ledger, publish: Publish) -> None:
    publish(ORDERS_ASSET, ORDERS, orders(20, 120))
    text = (
        "SELECT s.customer_id, s.as_of, COUNT(o.invoice_no) AS lines, MAX(o.invoice_date) AS newest FROM spine AS s "
        "JOIN orders AS o ON o.customer_id = s.customer_id GROUP BY s.customer_id, s.as_of"
    )
    second = view("fortnight", text, as_of={"every": "14d"})
    train(ledger, features(ledger, view()), features(ledger, second))
    rows = rows_of(ledger)
    assert any(row["lines"] is not None for row in rows)
    assert all(row["newest"] is None or row["newest"] < row["event_time"] for row in rows)


def test_a_training_set_refuses_features_of_another_definition(ledger: Ledger, publish: Publish) -> None:
    publish(ORDERS_ASSET, ORDERS, orders(20, 90))
    _, asset = features(ledger, view())
    with pytest.raises(NotReceipted, match="another definition"):
        train(ledger, (view(lookback={"time": "30d"}), asset))
    with pytest.raises(FeatureViewError, match="feature name of its own"):
        train(ledger, (view(), asset), (view(), asset))


def test_no_complete_horizon_closes_the_gate(ledger: Ledger, publish: Publish) -> None:
    publish(ORDERS_ASSET, ORDERS, orders(20, 30))
    report = train(ledger, features(ledger, view()))
    assert [verdict.check for verdict in report.refused[0].verdicts if verdict.closes_gate] == ["not_empty"]


def test_a_label_of_other_events_than_the_rows_are_of_is_refused_with_a_remedy() -> None:
    body = {
        "name": "hot", "from": ["readings", "failures"], "entity": "device_id", "event_time": "ts", "lookback": {"time": "1h"},
        "sql": "SELECT device_id, ts, seq FROM readings",
    }  # fmt: skip
    schemas = {"readings": READINGS, "failures": READINGS}
    first = load_view(FeatureViewSpec.model_validate(body), Path(), schemas)
    label = LabelSpec(sql="SELECT device_id, ts, 1 AS label FROM failures", horizon="1h")
    with pytest.raises(
        FeatureViewError, match=r"read readings, whose events its rows are of, found failures: .* with as_of first"
    ):
        declared_label(label, schemas, Path(), first)
    declared_label(LabelSpec(sql="SELECT device_id, ts, 1 AS label FROM readings", horizon="1h"), schemas, Path(), first)


def test_drift_sees_what_moved_and_only_that(tmp_path: Path) -> None:
    def store(name: str, shift: float, nulls: int) -> Path:
        count = 4000
        table = pa.table(
            {
                "steady": [float(n * 7919 % 1000) for n in range(count)],
                "moved": [float(n * 104729 % 1000) + shift for n in range(count)],
                "gone": [None if n < nulls else 1.0 + n % 50 for n in range(count)],
                "kind": ["a" if n % 3 else "b" for n in range(count)],
            }
        )
        pq.write_table(table, tmp_path / name)
        return tmp_path / name

    one, two = store("one.parquet", 0, 40), store("two.parquet", 400, 2000)
    found = {item.column: item for item in drift(one, two)}
    assert found["steady"].psi == 0 and found["steady"].ks == 0 and found["kind"].psi == 0
    assert found["moved"].psi > 0.25 and found["moved"].ks == pytest.approx(0.4, abs=0.02) and found["gone"].psi > 0.25
    verdict = portrait([two], [one], list(found), 0.25, "the champion was trained").verdict
    assert (
        not verdict.passed and verdict.severity == "warn" and "moved" in verdict.message and "steady" not in verdict.message
    )
    stats = feature_stats(two)
    assert stats["gone"].null_rate == 0.5 and (stats["steady"].low, stats["steady"].high) == (0.0, 999.0)
    assert stats["kind"].categories["a"] == pytest.approx(2 / 3, abs=0.01)
