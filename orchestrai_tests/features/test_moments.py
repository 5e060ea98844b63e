"""What a moment takes in: nothing from its own time on, so that what is bad later does not reach it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestrai.provenance.index import ReceiptIndex
from orchestrai.provenance.recall.recall import plan_recall
from orchestrai_tests.features.shop import FEATURES, RAW, RESTORED, Shop


def test_the_recall_of_a_late_day_reaches_the_moments_after_it_alone(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop")
    shop.restored(shop.days(0, 28, 14))
    moments = sorted(shop.features())
    assert moments == ["2026-10-05", "2026-10-12", "2026-10-19", "2026-10-26"]
    ledger = shop.runtime.ledger
    for key in moments:
        inputs = ledger.open(FEATURES).files(key).stats["inputs"][RESTORED]
        assert sorted(inputs) == [day for day in sorted(ledger.open(RESTORED).partitions) if day < key]
    plan = plan_recall(ledger, ReceiptIndex.build(ledger.lake, ledger.keyring), f"{RAW}@2026-10-20")
    assert {found.partition for found in plan.reach.of("features")} == {"2026-10-26"}
    assert plan.drop[FEATURES] == ("2026-10-26",)


def test_a_late_row_has_the_moments_after_it_computed_again(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop")
    keys = shop.days(0, 28, 14)
    shop.restored(keys)
    before = {key: len(rows) for key, rows in shop.features().items()}
    assert len(before) == 4
    (shop.landing / "2026-10-20-late.csv").write_text("customer_id,ts,cents\nnew,2026-10-20T10:00:00+00:00,5\n")
    shop.run(RAW, "2026-10-20")
    shop.restored(["2026-10-20"])
    report = shop.run(FEATURES)
    assert (report.facts["computed"], report.facts["unchanged"]) == (1, 3)


def test_a_moment_is_due_when_its_last_day_is_there_and_it_has_come(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop")
    shop.restored(shop.days(0, 11, 11))
    shop.now = datetime(2026, 10, 11, 23, 59, tzinfo=UTC)
    assert sorted(shop.features()) == ["2026-10-05"]
    shop.now += timedelta(minutes=2)
    assert sorted(shop.features()) == ["2026-10-05", "2026-10-12"]
