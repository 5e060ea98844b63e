"""`known_at: arrival`: what came later is not seen earlier, now or when everything is built again from the vault."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrai.errors import FeatureViewError, IntegrityError
from orchestrai.features.spec import FeatureViewSpec
from orchestrai.features.views.view import load_view
from orchestrai.ledger.ledger import Ledger
from orchestrai.pipeline.runtime import Runtime
from orchestrai.provenance.recall.rebuild import rebuild, recover_bytes
from orchestrai.provenance.recall.reproduce import reproduce
from orchestrai.settings import load_settings
from orchestrai.storage.url import open_store
from orchestrai_tests.features.conftest import ORDERS, Publish, orders
from orchestrai_tests.features.shop import FEATURES, FIRST, MODEL, RAW, RESTORED, Shop, rows_of, sales_of
from orchestrai_tests.running import compute

LATE = 90_000_000
ARRIVAL = "    lookback: {time: 28d}\n    tables: {sales: {known_at: arrival}}\n"


def correct(shop: Shop) -> None:
    """More sales of an old day come a month late, in an object of their own that shares a part with the day's first."""
    day = FIRST + timedelta(days=1)
    (shop.landing / "2026-10-02-late.csv").write_text(sales_of(day, cents=LATE))
    shop.now = datetime(2026, 10, 28, 6, tzinfo=UTC)
    shop.run(RAW, "2026-10-02")
    shop.restored(["2026-10-02"])


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A shop whose features know a row from its arrival on, for 28 days."""
    return Shop(tmp_path / "shop", ARRIVAL)


def test_a_correction_is_seen_from_its_arrival_on_and_never_before(shop: Shop) -> None:
    shop.restored(shop.days(0, 27))
    live = shop.features()
    before = shop.roots()
    # the day that ends at the moment comes six hours after it
    assert sorted(live) == ["2026-10-05", "2026-10-12", "2026-10-19", "2026-10-26"]
    assert [row["n"] for row in live["2026-10-05"] if row["customer_id"] == "c0"] == [3]
    correct(shop)
    shop.restored(shop.days(27, 41))
    later = shop.features()
    assert {key: shop.roots()[key] for key in before} == before
    assert {key for key, rows in later.items() if any(row["cents"] >= LATE for row in rows)} == set()
    # inside the look-back of 28 days and after its arrival: no moment yet; with a longer look-back it is seen
    spec = FeatureViewSpec.model_validate(
        {
            **shop.runtime.project.pipelines[0].views[0].view.spec.model_dump(by_alias=True, exclude={"backup"}),
            "lookback": None,
        }
    )
    schema = shop.runtime.project.pipelines[0].datasets[0].contract.arrow_schema()
    whole = load_view(spec, Path(), {"sales": schema})
    compute(shop.runtime.ledger, whole, asset="late/w/features", inputs={"sales": RESTORED}, grain="day", partitions=None)
    seen = rows_of(shop.runtime.ledger, "late/w/features")
    assert {key for key, rows in seen.items() if any(row["cents"] >= LATE for row in rows)} == {"2026-11-02", "2026-11-09"}
    assert seen["2026-10-05"] == live["2026-10-05"]
    # without the second clock the correction leaks into every moment after the day it speaks of
    leaky = load_view(spec.model_copy(update={"tables": {}}), Path(), {"sales": schema})
    compute(shop.runtime.ledger, leaky, asset="late/l/features", inputs={"sales": RESTORED}, grain="day", partitions=None)
    leaked = rows_of(shop.runtime.ledger, "late/l/features")
    assert {key for key, rows in leaked.items() if any(row["cents"] >= LATE for row in rows)} == set(leaked)


def test_a_training_set_is_the_same_after_the_lake_was_lost_and_a_year_went_by(shop: Shop, tmp_path: Path) -> None:
    shop.restored(shop.days(0, 27, 9))
    correct(shop)
    shop.restored(shop.days(27, 48, 7))
    shop.features()
    for stage in ("training_set", "candidate", "evaluation", "champion"):
        shop.run(f"{MODEL}/{stage}")
    ledger = shop.runtime.ledger
    wanted = {asset: ledger.open(asset).version for asset in (FEATURES, f"{MODEL}/training_set", f"{MODEL}/candidate")}
    moments = sorted(ledger.open(FEATURES).partitions)
    # an empty machine that has the vault alone makes the model again, byte for byte
    found = reproduce(
        f"{MODEL}/champion",
        None,
        vault=open_store(shop.runtime.settings.vault),
        keyring=ledger.keyring,
        home=tmp_path / "reproduced",
        project=shop.project,
    )
    assert found.first_difference is None and found.ok
    assert {stage.asset: stage.found for stage in found.stages}[f"{MODEL}/training_set"] == wanted[f"{MODEL}/training_set"]
    # and the records come back from the vault, and what is computed with another clock from them is the same
    shop.now += timedelta(days=365)
    settings = load_settings(home=tmp_path / "again", vault_url=shop.runtime.settings.vault, engine="duckdb")
    again = Runtime(settings, shop.project, clock=lambda: shop.now)
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "keys").symlink_to(shop.folder / "home" / "keys")
    rebuild(again.ledger)
    recover_bytes(again.ledger, again.vault)
    nodes = again.project.nodes
    view = nodes[FEATURES].subject.view  # type: ignore[union-attr]
    compute(
        again.ledger,
        view,
        asset="late/again/features",
        inputs={"sales": RESTORED},
        grain="day",
        partitions=moments,
    )
    assert again.ledger.open("late/again/features").version == wanted[FEATURES]


def test_the_same_bytes_landed_again_keep_their_first_arrival_and_others_do_not(shop: Shop) -> None:
    shop.days(0, 2)
    path = shop.landing / "2026-10-02.csv"

    def arrived() -> list[str]:
        dataset = shop.runtime.ledger.open(RAW)
        (runs,) = dataset.files("2026-10-02").stats["arrived"].values()
        assert sum(rows for rows, _ in runs) == dataset.partitions["2026-10-02"].rows
        assert [m.arrived for m in dataset.receipt("2026-10-02").materials] == [moment for _, moment in runs]
        return [moment for _, moment in runs]

    assert arrived() == ["2026-10-03T06:00:00+00:00"]
    shop.now += timedelta(days=30)
    path.write_text(path.read_text())
    shop.run(RAW, "2026-10-02")
    assert arrived() == ["2026-10-03T06:00:00+00:00"]
    (shop.landing / "2026-10-02-more.csv").write_text(sales_of(FIRST + timedelta(days=1), cents=1))
    shop.run(RAW, "2026-10-02")
    assert arrived() == ["2026-11-02T06:00:00+00:00", "2026-10-03T06:00:00+00:00"]
    shop.now += timedelta(days=1)
    path.write_text(sales_of(FIRST + timedelta(days=1), cents=7))
    shop.run(RAW, "2026-10-02")
    assert arrived() == ["2026-11-02T06:00:00+00:00", "2026-11-03T06:00:00+00:00"]


def test_data_of_which_no_arrival_was_noted_are_refused_by_name(ledger: Ledger, publish: Publish) -> None:
    publish("p/orders/restored", ORDERS, orders(5, 10))
    spec = {
        "name": "n", "from": "orders", "entity": "customer_id", "as_of": {"every": "7d"}, "tables": {"orders": {"known_at": "arrival"}},
        "sql": "SELECT s.customer_id, s.as_of, COUNT(*) AS n FROM spine AS s JOIN orders AS o ON o.customer_id = s.customer_id "
        "GROUP BY s.customer_id, s.as_of",
    }  # fmt: skip
    view = load_view(FeatureViewSpec.model_validate(spec), Path(), {"orders": ORDERS})
    with pytest.raises(IntegrityError, match="arrival of all 20 rows"):
        compute(ledger, view, asset="p/n/features", inputs={"orders": "p/orders/restored"}, grain="day", partitions=None)
    assert ledger.find("p/n/features") is None


def test_a_clock_that_has_no_meaning_is_refused_when_the_view_is_loaded() -> None:
    spec = {"name": "n", "from": "orders", "entity": "customer_id", "sql": "SELECT 1"}
    with pytest.raises(ValueError, match="known_at beside as_of"):
        FeatureViewSpec.model_validate({**spec, "event_time": "invoice_date", "tables": {"orders": {"known_at": "arrival"}}})
    import pyarrow as pa

    named = ORDERS.append(pa.field("arrival", pa.timestamp("us", tz="UTC")))
    declared = {
        **spec,
        "as_of": {"every": "7d"},
        "tables": {"orders": {"event_time": "invoice_date", "known_at": "arrival"}},
    }
    with pytest.raises(FeatureViewError, match="a column of that name in orders"):
        load_view(FeatureViewSpec.model_validate(declared), Path(), {"orders": named})
