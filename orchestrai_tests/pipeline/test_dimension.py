"""A dimension beside time: what `check` refuses of it, and what each value's gate looks at."""

import json
from pathlib import Path

import pytest

from orchestrai.errors import ConfigError
from orchestrai.ingest.discovery.reconciliation import reconcile
from orchestrai.pipeline.check.project_check import check_project
from orchestrai.pipeline.reports.landing_status import judge_of
from orchestrai.stage.absent_values import absent_values
from orchestrai_tests.regions import CONTRACT, DAYS, NOW, PIPELINE, REGIONS, WITH_MODEL, Shops, csv_of

RAW = "shops/sales/raw_events"
DIMENSION = 'dimension: {name: region, values: [eu, us], column: region, path: "{region}/*"}'
TENANTS = "dimension: {name: tenant, values: [a, b]}"


def mistakes(folder: Path, *changes: tuple[str, str], contract: str = CONTRACT) -> list[str]:
    """What `check` says of the pipeline with texts replaced."""
    text = WITH_MODEL
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    Shops(folder)  # writes the contracts
    declared = folder / "declared"
    (declared / "pipeline.yaml").write_text(text)
    (declared / "sales.contract.yaml").write_text(contract)
    (checked,) = check_project([declared], {})
    return [mistake.message for mistake in checked.mistakes]


def test_what_the_tests_declare_has_no_mistake(tmp_path: Path) -> None:
    assert mistakes(tmp_path) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("values: [eu, us]", 'values: [eu, "u|s"]', "expected a value of letters, digits, dots, dashes and underscores"),
        ("values: [eu, us]", "values: [eu, EU]", "expected values that differ in more than case"),
        ("values: [eu, us]", "values: []", "at least 1"),
        ("column: region", "column: market", "expected a column of text of sales (region, customer), found none of that name"),
        ("column: region", "column: amount", "expected a column of text of sales (region, customer), found BIGINT"),
        ('path: "{region}/*"', 'path: "*/*"', "expected {region} once"),
        ("name: region,", "name: Region,", "should match pattern"),
        ("grain: day\n      start: 2026-03-01", "grain: all", "expected a grain of time beside it, found the grain all"),
        (
            "{url: landing/sales/, format: csv, max_refused_share: 0.5}",
            "{url: 'log://sales', format: jsonl}",
            "expected a source of objects, whose names tell the value, found a source of kind stream",
        ),
    ],
)  # fmt: skip
def test_a_dimension_that_cannot_be_is_told_in_one_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    told = mistakes(tmp_path, (old, new))
    assert any(said in line for line in told), told


RATES_BY_TENANT = (
    "contract: rates.contract.yaml\n    partitions: {grain: day, start: 2026-03-01}",
    f"contract: rates.contract.yaml\n    partitions: {{grain: day, start: 2026-03-01, {TENANTS}}}",
)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            [RATES_BY_TENANT],
            "features[0].from[1]: expected one dimension in all inputs of spent, region eu, us as sales has it, found tenant a, b in rates",
        ),
        (
            [("from: [sales, rates]", "from: [rates, sales]")],
            "features[0].from[0]: expected sales first, which has the dimension region",
        ),
        (
            [("  - name: spent\n    from: [sales, rates]", "  - name: spent\n    online: true\n    from: [sales, rates]")],
            "features[0].entity: expected the column of the dimension region in it: rows of two values are told apart by",
        ),
        (
            [("column: region, ", "")],
            "models[0].entity: expected the column of the dimension region in it: rows of two values are told apart by nothing else",
        ),
    ],
)  # fmt: skip
def test_what_would_mix_values_is_told_in_one_line(tmp_path: Path, changes: list[tuple[str, str]], said: str) -> None:
    told = mistakes(tmp_path, *changes)
    assert any(said in line for line in told), told


def test_a_row_of_another_value_is_set_aside_with_the_partition_that_it_belongs_to(tmp_path: Path) -> None:
    shops = Shops(tmp_path)
    odd = (
        f"us,c1,{DAYS[0]}T08:00:00Z,5",
        f"us,c1,{DAYS[1]}T08:00:00Z,5",
        f"mars,c1,{DAYS[0]}T08:00:00Z,5",
        f"eu,c1,{DAYS[1]}T08:00:00Z,5",
    )
    shops.land(DAYS[0], "eu", csv_of(DAYS[0], "eu", lines=odd))
    key = f"{DAYS[0]}|eu"
    assert shops.run(RAW, key) == {key: True}
    assert {row["region"] for row in shops.rows(RAW, key)} == {"eu"} and len(shops.rows(RAW, key)) == 8
    letters = shops.letters(key)
    assert [letter.get("belongs", "") for letter in letters] == [f"{DAYS[0]}|us", f"{DAYS[1]}|us", "", f"{DAYS[1]}|eu"]
    reasons = [letter["reason"] for letter in letters]
    assert reasons[0] == f"expected region eu in {key}, found us: the row belongs to {DAYS[0]}|us"
    assert reasons[2] == f"expected region eu in {key}, found 'mars': declared are eu, us"
    assert reasons[3].endswith(f"the row belongs to {DAYS[1]}|eu")


def test_every_object_has_its_place_and_what_tells_no_declared_value_is_told(tmp_path: Path) -> None:
    shops = Shops(tmp_path)
    shops.land(DAYS[0], "eu")
    (shops.landing / "mars").mkdir()
    (shops.landing / "mars" / f"{DAYS[0]}.csv").write_text("region,customer,ts,amount\n")
    (shops.landing / f"{DAYS[0]}.csv").write_text("region,customer,ts,amount\n")
    (dataset,) = shops.project.pipelines[0].datasets
    whole = reconcile(judge_of(shops.runtime, dataset))
    assert {*whole.due} == {f"{DAYS[0]}|eu"} and whole.listed == 3
    assert sorted(one.reason for one in whole.unplaced) == [
        f"expected a name that tells region eu, us, found '{DAYS[0]}.csv', that tells none: mend partitions.dimension or rename the object",
        f"expected region eu, us, found 'mars' in 'mars/{DAYS[0]}.csv': mend partitions.dimension or rename the object",
    ]
    # nothing came of the other region: where it is asked for, that is told like any lacking day
    assert shops.run(RAW, *(f"{DAYS[0]}|{region}" for region in REGIONS)) == {f"{DAYS[0]}|eu": True, f"{DAYS[0]}|us": False}
    assert len(shops.letters("unplaced")) == 2


MEAN = CONTRACT.replace("{method: none}", "{method: mean7d}")


def test_the_volume_of_a_value_is_judged_by_its_own_history(tmp_path: Path) -> None:
    days = [f"2026-02-{day:02d}" for day in range(20, 29)]
    shops = Shops(tmp_path, PIPELINE.replace("start: 2026-03-01", "start: 2026-02-01"), MEAN)
    for day in days:
        shops.land(day, "eu", csv_of(day, "eu", rows=8))
        shops.land(day, "us", csv_of(day, "us", rows=80))
    keys = [f"{day}|{region}" for day in days for region in REGIONS]
    assert all(shops.run(RAW, *keys).values())
    # with both histories in one mean of 44 rows each, either would be far off
    shops.land(DAYS[0], "us", csv_of(DAYS[0], "us", rows=8))
    shops.land(DAYS[0], "eu", csv_of(DAYS[0], "eu", rows=8))
    report = shops.runtime.run(shops.project.nodes[RAW], [f"{DAYS[0]}|eu", f"{DAYS[0]}|us"])
    told = {outcome.partition: next(v for v in outcome.verdicts if v.check == "row_volume") for outcome in report.outcomes}
    assert told[f"{DAYS[0]}|eu"].passed
    assert not told[f"{DAYS[0]}|us"].passed and told[f"{DAYS[0]}|us"].details["expected"] == 80


KEYED = CONTRACT.replace(
    "{name: customer, logicalType: string, required: true}",
    "{name: customer, logicalType: string, required: true, unique: true}",
)


def test_a_key_of_one_value_may_be_one_of_another_and_not_twice_its_own(tmp_path: Path) -> None:
    shops = Shops(tmp_path, contract=KEYED)
    for day, region in ((DAYS[0], "eu"), (DAYS[0], "us"), (DAYS[1], "us")):
        shops.land(day, region, csv_of(day, region, rows=4))
    keys = [f"{DAYS[0]}|eu", f"{DAYS[0]}|us", f"{DAYS[1]}|us"]
    report = shops.runtime.run(shops.project.nodes[RAW], keys)
    told = {o.partition: next(v for v in o.verdicts if v.check == "key_across_partitions") for o in report.outcomes}
    assert [told[key].passed for key in keys] == [True, True, False]
    assert f"stands in {DAYS[0]}|us too" in told[keys[2]].message


def test_a_published_dataset_is_given_no_dimension_under_its_name(tmp_path: Path) -> None:
    plain = PIPELINE.replace(f"      {DIMENSION}\n", "")
    shops = Shops(tmp_path, plain)
    (shops.landing / f"{DAYS[0]}.csv").write_text(csv_of(DAYS[0], "eu"))
    assert shops.run(RAW, DAYS[0]) == {DAYS[0]: True}
    assert shops.runtime.ledger.open(RAW).files(DAYS[0]).stats.get("cut") is None
    divided = Shops(tmp_path)
    divided.land(DAYS[1], "eu")
    with pytest.raises(
        ConfigError, match="found it declared by the day of UTC and by region: declare it under another name"
    ):
        divided.run(RAW, f"{DAYS[1]}|eu")


def test_a_value_is_added_and_none_with_partitions_is_taken_away(tmp_path: Path) -> None:
    shops = Shops(tmp_path)
    for region in REGIONS:
        shops.land(DAYS[0], region)
    shops.run(RAW, *(f"{DAYS[0]}|{region}" for region in REGIONS))
    more = Shops(tmp_path, PIPELINE.replace("[eu, us]", "[eu, us, apac]"))
    (more.landing / "apac").mkdir()
    more.land(DAYS[0], "apac")
    assert more.run(RAW, f"{DAYS[0]}|apac") == {f"{DAYS[0]}|apac": True}
    fewer = Shops(tmp_path, PIPELINE.replace("[eu, us]", "[us, apac]"))
    with pytest.raises(
        ConfigError, match="expected region us, apac and eu, of which partitions of shops/sales/raw_events are"
    ):
        fewer.run(RAW, f"{DAYS[0]}|us")


def test_what_a_time_lacks_follows_from_the_ledger(tmp_path: Path) -> None:
    shops = Shops(tmp_path)
    (dataset,) = shops.project.pipelines[0].datasets
    ledger = shops.runtime.ledger
    shops.land(DAYS[0], "eu")
    shops.land(DAYS[1], "us", "region,customer,ts\nus,c1,x\n")
    shops.run(RAW, f"{DAYS[0]}|eu", f"{DAYS[1]}|us")
    # refused is not lacking: it came
    assert absent_values(ledger, dataset, None, NOW) == {DAYS[0]: ["us"], DAYS[1]: ["eu"]}
    assert absent_values(ledger, dataset, [f"{DAYS[1]}|us", f"{DAYS[2]}|us"], NOW) == {DAYS[1]: ["eu"]}
    # a day that is not over may still be completed
    assert absent_values(ledger, dataset, None, NOW.replace(day=3)) == {DAYS[0]: ["us"]}
    shops.land(DAYS[0], "us")
    shops.run(RAW, f"{DAYS[0]}|us")
    assert absent_values(ledger, dataset, [f"{DAYS[0]}|eu"], NOW) == {}


def test_no_name_in_a_store_has_a_bar_in_it(tmp_path: Path) -> None:
    shops = Shops(tmp_path)
    shops.land(DAYS[0], "eu")
    shops.restore(f"{DAYS[0]}|eu")
    names = [str(path.relative_to(shops.home)) for path in shops.home.rglob("*")]
    assert not [name for name in names if "|" in name]
    assert any(f"{DAYS[0]}_eu/" in name for name in names)
    (letters,) = [json.dumps(sorted(shops.runtime.ledger.open("shops/sales/restored").partitions))]
    assert letters == f'["{DAYS[0]}|eu"]'
