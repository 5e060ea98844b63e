"""Of a dimension beside time: what comes late of one value makes partitions of that value stale, and of no other."""

from pathlib import Path

from orchestrai.core.time.partition_key import value_part
from orchestrai.features.staleness.stale_features import missing_features
from orchestrai.pipeline.reports.stale_assets import stale_assets
from orchestrai_tests.regions import DAYS, NOW, REGIONS, WITH_VIEWS, Shops

SPENT, RECENT, EVER = (f"shops/{view}/features" for view in ("spent", "recent", "ever"))
LATE = f"{DAYS[2]}|eu"


def stale(shops: Shops) -> dict[str, list[str]]:
    left = stale_assets(shops.runtime.context(), shops.project.nodes)
    assert not left.unreadable
    return {asset: [one.partition for one in some] for asset, some in left.by_asset.items()}


def test_a_late_day_of_one_region_leaves_the_other_current(tmp_path: Path) -> None:
    shops = Shops(tmp_path, WITH_VIEWS)
    keys = [f"{day}|{region}" for day in DAYS for region in REGIONS]
    for day in DAYS:
        shops.land_rates(day)
        for region in REGIONS:
            if (day, region) != (DAYS[2], "eu"):
                shops.land(day, region)
    shops.restore(*DAYS, dataset="rates")
    shops.restore(*keys)
    for asset in (SPENT, RECENT, EVER):
        shops.run(asset, *(keys if asset != EVER else ["all"]))
    assert stale(shops) == {}
    shops.land(DAYS[2], "eu")
    shops.restore(LATE)
    left = stale(shops)
    assert left[SPENT] == [f"{day}|eu" for day in DAYS[3:5]]
    assert LATE not in left[RECENT] and f"{DAYS[3]}|eu" in left[RECENT]
    assert {value_part(key) for keys in left.values() for key in keys} == {"eu"} and set(left) == {SPENT, RECENT, EVER}
    subject = shops.project.nodes[SPENT].subject
    assert missing_features(shops.runtime.ledger, subject, NOW) == [LATE]
    report = shops.runtime.run(shops.project.nodes[SPENT], [LATE, f"{DAYS[2]}|us"])
    assert sorted(outcome.partition for outcome in report.outcomes if outcome.published) == [
        LATE, f"{DAYS[2]}|us", *(f"{day}|eu" for day in DAYS[3:5]),
    ]  # fmt: skip
    shops.run(RECENT, LATE)
    shops.run(EVER, "all")
    assert stale(shops) == {} and missing_features(shops.runtime.ledger, shops.project.nodes[EVER].subject, NOW) == []
