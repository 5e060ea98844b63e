"""A day's costs are published once it is over, are cheap to look up afterwards, and hold budgets to what was declared."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrai.ledger.costs.cost_record import COSTS, CostRecord
from orchestrai.ledger.costs.price_table import Charge
from orchestrai.ledger.costs.usage import Usage
from orchestrai.observability.alerts.condition import Condition
from orchestrai.observability.metrics import metric_names as names
from orchestrai.observability.metrics.survey import survey
from orchestrai.observability.watch.cost_watch import over_budget
from orchestrai.pipeline.costs.budgets import spent
from orchestrai.pipeline.costs.cost_page import cost_page
from orchestrai.pipeline.costs.cost_report import KEPT, published_days, recent_days
from orchestrai.pipeline.runtime import Runtime
from orchestrai.storage.local import LocalStore
from orchestrai_tests.features.shop import RAW, Shop
from orchestrai_tests.pipeline.costs.cost_records import records, rewritten

REPORT = "late/costs"


def declared(shop: Shop, budget: str) -> Shop:
    file = shop.folder / "declared" / "pipeline.yaml"
    file.write_text(file.read_text() + f"budget: {budget}\n")
    shop.runtime = Runtime(shop.runtime.settings, shop.project, clock=lambda: shop.now)
    return shop


def of_budget(shop: Shop) -> list[Condition]:
    return list(over_budget(shop.runtime, shop.runtime.project.pipeline("late"), shop.now))


def used(cpu: float, usd: float) -> object:
    def change(record: CostRecord) -> CostRecord:
        charges = (Charge("desk", "cpu_hour", 1.0, usd),)
        return replace(record, usage=Usage(cpu_seconds=cpu, wall_seconds=cpu), charges=charges)

    return change


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """Six days with a run in each, of ten CPU seconds and a quarter of a dollar."""
    shop = Shop(tmp_path / "shop")
    shop.days(0, 6)
    rewritten(shop.runtime, used(10.0, 0.25))  # type: ignore[arg-type]
    yield shop


def test_closed_days_are_published_and_a_second_report_of_the_same_records_changes_nothing(shop: Shop) -> None:
    first = shop.run(REPORT)
    days = published_days(shop.runtime.ledger, REPORT)
    # the sixth run was on the day that is not over
    assert [day.day for day in days] == [f"2026-10-0{number}" for number in range(2, 7)]
    assert all(day.total.runs == 1 and day.total.usd == 0.25 and day.cpu_seconds == 10.0 for day in days)
    assert {*days[0].by_asset} == {RAW} and {*days[0].by_stage} == {"raw_events"}
    assert first.facts["day_usd"] == 0.25 and first.facts["day"] == "2026-10-06" and len(first.facts["days"]) == 5
    assert first.plots == {}, "nothing is drawn before somebody looks"
    assert shop.run(REPORT).version == first.version
    shop.now += timedelta(days=1)
    shop.run(REPORT)
    # the runs of the report itself are work of the pipeline too
    newest = published_days(shop.runtime.ledger, REPORT)[-1]
    assert newest.day == "2026-10-07" and {*newest.by_asset} == {RAW, REPORT}


def test_records_that_are_old_and_summed_are_removed_and_their_sums_stay(shop: Shop) -> None:
    shop.run(REPORT)
    before = published_days(shop.runtime.ledger, REPORT)
    shop.now += KEPT - timedelta(days=3)
    shop.run(REPORT)
    left = {record.day for record in records(shop.runtime)}
    assert "2026-10-02" not in left and {"2026-10-05", "2026-10-06"} <= left
    assert published_days(shop.runtime.ledger, REPORT)[:5] == before


def test_a_day_that_is_settled_is_not_read_from_its_records_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.run(REPORT)
    pipeline = shop.runtime.project.pipeline("late")
    asked: list[str] = []
    listed = LocalStore.list

    def listening(self: LocalStore, prefix: str = "", **more: str) -> object:
        asked.append(prefix)
        return listed(self, prefix, **more)

    monkeypatch.setattr(LocalStore, "list", listening)
    month = spent(shop.runtime.ledger, pipeline, shop.now, "month")
    days = [prefix for prefix in asked if prefix.startswith(COSTS.folder)]
    assert "costs/2026-10-03/late/" not in days and "costs/2026-10-07/late/" in days
    assert month.total.usd == pytest.approx(1.5) and month.total.runs == 7
    # looked at again, nothing is read but what is new
    read: list[str] = []
    reads = LocalStore.read
    monkeypatch.setattr(LocalStore, "read", lambda self, key, **more: (read.append(key), reads(self, key, **more))[1])
    assert spent(shop.runtime.ledger, pipeline, shop.now, "month") == month
    assert [key for key in read if key.startswith(COSTS.folder)] == []
    assert [*recent_days(shop.runtime.ledger, REPORT)] == [f"2026-10-0{number}" for number in range(2, 7)]


def test_a_budget_warns_from_its_share_on_is_an_error_when_it_is_used_up_and_is_over_with_its_day(shop: Shop) -> None:
    assert of_budget(declared(shop, "{cpu: 12s, usd: 9, per: day}")) == [
        Condition(
            "over_budget",
            "late",
            "at most 12s of CPU a day for the pipeline",
            "10s of CPU since 2026-10-07 (UTC), 83% of it",
            "orchestrai cost report late",
            cause="cpu 2026-10-07",
            severity="warning",
        )
    ]
    rewritten(shop.runtime, used(12.0, 0.25))  # type: ignore[arg-type]
    (told,) = of_budget(shop)
    assert told.severity == "error" and "100%" in told.found
    shop.now += timedelta(days=1)
    assert of_budget(shop) == []


def test_a_budget_of_a_month_counts_the_days_of_the_month_in_money(shop: Shop) -> None:
    declared(shop, "{usd: 1.5, per: month, warn_at: 0.5}")
    (told,) = of_budget(shop)
    assert told.expected == "at most USD 1.5 a month for the pipeline" and told.found.startswith("USD 1.5 since 2026-10-01")
    shop.run(REPORT)
    assert of_budget(shop)[0].id == told.id, "the report says the same as the records"
    shop.now = shop.now.replace(month=11, day=1)
    assert of_budget(shop) == []


def test_figures_tell_of_today_and_of_budgets(shop: Shop) -> None:
    declared(shop, "{cpu: 40s}")
    figures = survey(shop.runtime)
    assert figures.value(names.COST_CPU, "late") == 10.0 and figures.value(names.COST_DAY, "late") == 0.25
    assert figures.value(names.COST_RUNS, "late", "published") == 1
    assert figures.value(names.BUDGET, "late", "cpu", "day") == 0.25


def test_the_page_draws_a_bar_a_day_and_escapes_what_it_shows(shop: Shop) -> None:
    shop.run(REPORT)
    days = published_days(shop.runtime.ledger, REPORT)
    page = cost_page({"<late>": days, "quiet": []})
    # CPU, bytes and money, each with a picture and the same in numbers, a line a day
    assert page.count("<svg") == 3 and all(page.count(f">{day.day}</t") >= 3 for day in days)
    assert "&lt;late&gt;" in page and "<late>" not in page
    assert "Nothing ran in these days" in page and "://" not in page


@pytest.mark.parametrize(
    ("text", "told"),
    [("{}", "usd or cpu"), ("{usd: 0}", "greater than 0"), ("{cpu: soon}", "duration"), ("{usd: 1, per: week}", "day")],
)
def test_a_wrong_budget_is_told(shop: Shop, text: str, told: str) -> None:
    with pytest.raises(Exception, match=told):
        declared(shop, text)
        shop.project.pipeline("late")
