"""Features and labels over a dataset with a dimension: of each value from its own partitions alone, and independent of the others."""

import pytest

from orchestrai.features.labels import inputs_current
from orchestrai.provenance.index import ReceiptIndex
from orchestrai.provenance.recall.recall import recall
from orchestrai.provenance.recall.reproduce import reproduce
from orchestrai_tests.regions import DAYS, NOW, REGIONS, WITH_MODEL, Shops

SPENT, RECENT, EVER = (f"shops/{view}/features" for view in ("spent", "recent", "ever"))
TRAINING = "shops/buys/training_set"


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Shops:
    """Two regions with the same customers, of which one lacks its third day, and rates for all of them."""
    shops = Shops(tmp_path_factory.mktemp("shops"), WITH_MODEL)
    for day in DAYS:
        shops.land_rates(day)
        for region in REGIONS:
            if (day, region) != (DAYS[2], "eu"):
                shops.land(day, region)
    shops.restore(*DAYS, dataset="rates")
    shops.restore(*(f"{day}|{region}" for day in DAYS for region in REGIONS))
    return shops


def test_windows_of_a_region_hold_the_rows_of_that_region(shops: Shops) -> None:
    assert len(shops.published("restored")) == 2 * len(DAYS) - 1
    keys = [f"{day}|{region}" for day in DAYS for region in REGIONS]
    done = shops.run(SPENT, *keys)
    assert {key for key, published in done.items() if not published} == {f"{DAYS[2]}|eu"}
    last = {region: shops.rows(SPENT, f"{DAYS[-1]}|{region}") for region in REGIONS}
    assert [row["n"] for row in last["eu"]] == [row["n"] for row in last["us"]]
    # amounts of us begin at 1000: one of them in a sum of eu would be seen
    assert max(row["total"] for row in last["eu"]) < 1000 <= min(row["total"] for row in last["us"])
    dataset = shops.runtime.ledger.open(SPENT)
    read = dataset.files(f"{DAYS[-1]}|eu").stats["inputs"]
    assert sorted(read["shops/sales/restored"]) == [f"{day}|eu" for day in DAYS[-3:]]


def test_what_a_region_lacks_marks_its_own_windows_alone(shops: Shops) -> None:
    shops.run(SPENT, *(f"{day}|{region}" for day in DAYS for region in REGIONS))
    dataset = shops.runtime.ledger.open(SPENT)
    lacks = {key: dataset.files(key).stats["incomplete"].get("lacks") for key in dataset.partitions}
    lacking = {"shops/sales/restored": [f"{DAYS[2]}|eu"]}
    assert {key: told for key, told in lacks.items() if told} == {f"{day}|eu": lacking for day in DAYS[3:5]}


def test_a_change_of_one_region_leaves_the_features_of_the_other(shops: Shops) -> None:
    keys = [f"{DAYS[-1]}|{region}" for region in REGIONS]
    shops.run(SPENT, *keys)
    before = shops.runtime.ledger.open(SPENT).partitions
    report = shops.runtime.run(shops.project.nodes[SPENT], keys)
    assert (report.facts["computed"], report.facts["unchanged"]) == (0, 2)
    after = shops.runtime.ledger.open(SPENT).partitions
    assert before == after


def test_features_at_moments_are_of_a_region_and_read_all_of_what_has_none(shops: Shops) -> None:
    shops.run(EVER, "all")
    dataset = shops.runtime.ledger.open(EVER)
    assert sorted(dataset.partitions)[:4] == ["2026-03-03|eu", "2026-03-03|us", "2026-03-04|eu", "2026-03-04|us"]
    newest = max(dataset.partitions).split("|")[0]
    for region, most in (("eu", 1000), ("us", 10_000_000)):
        rows = shops.rows(EVER, f"{newest}|{region}")
        assert {row["region"] for row in rows} == {region} and all(row["total"] < most for row in rows)
        # the view joins by customer alone: both regions' rows would be counted were they read together
        assert {row["n"] for row in rows} == {2 * (len(DAYS) - (region == "eu"))}
        assert {row["rate"] for row in rows} == {7}


def test_a_training_set_learns_from_all_regions_each_row_from_its_own(shops: Shops) -> None:
    shops.run(EVER, "all")
    assert shops.run(TRAINING, "all") == {"all": True}
    rows = shops.rows(TRAINING, "all")
    assert {row["region"] for row in rows} == {*REGIONS}
    # some amounts of us reach the label's limit, none of eu does: the label joins by customer alone
    assert {row["label"] for row in rows if row["region"] == "us"} == {0, 1}
    assert {row["label"] for row in rows if row["region"] == "eu"} == {0}
    dataset = shops.runtime.ledger.open(TRAINING)
    facts = dataset.receipt("all").facts
    counts = {region: sum(row["region"] == region for row in rows) for region in REGIONS}
    assert facts["values"] == counts
    # the day that eu lacks lies in the horizon of its own rows alone
    assert counts["us"] > counts["eu"]


def test_a_model_of_two_regions_predicts_for_both_and_says_what_it_learned_from(shops: Shops) -> None:
    shops.run(EVER, "all")
    for stage in ("training_set", "candidate", "evaluation", "champion", "predictions"):
        done = shops.run(f"shops/buys/{stage}", "all")
        assert all(done.values()), (stage, done)
    predictions = shops.runtime.ledger.open("shops/buys/predictions")
    (newest,) = predictions.partitions
    rows = shops.rows("shops/buys/predictions", newest)
    assert newest == "2026-03-08" and sorted((row["region"], row["customer"]) for row in rows) == [
        (region, f"c{number}") for region in REGIONS for number in range(4)
    ]
    read = next(ref for ref in predictions.receipt(newest).inputs if ref.asset == EVER)
    assert sorted(read.partitions) == [f"{newest}|eu", f"{newest}|us"]
    evaluation = shops.runtime.ledger.open("shops/buys/evaluation")
    with evaluation.fetched(["all"], role=None) as files:
        card = next(file.path.read_text() for file in files["all"] if file.entry.path.endswith(".md"))
    assert "- trained on eu (" in card and ", us (" in card
    # from the vault alone, each value by itself again
    runtime, home = shops.runtime, shops.home.parent / "reproduced"
    vault, keyring = runtime.vault.store, runtime.ledger.keyring
    again = reproduce("shops/buys/champion", None, vault=vault, keyring=keyring, home=home, project=shops.project)
    assert again.ok, again.first_difference
    assert [stage.asset for stage in again.stages][-1] == "shops/buys/candidate"


def test_a_recall_of_one_region_s_object_reaches_the_partitions_of_that_region(shops: Shops) -> None:
    shops.run(SPENT, *(f"{day}|{region}" for day in DAYS for region in REGIONS))
    shops.run(EVER, "all")
    runtime = shops.runtime
    index = ReceiptIndex.build(runtime.vault.store, runtime.ledger.keyring)
    key = f"{DAYS[-2]}|eu"
    materials = runtime.ledger.open("shops/sales/raw_events").receipt(key).materials
    reached = recall(index, next(material.uri for material in materials if material.partition == key))
    features = {one.partition for one in reached.derivations if one.asset in (SPENT, EVER)}
    assert features and all(key.endswith("|eu") for key in features)
    assert f"{DAYS[-1]}|eu" in features


def roots(shops: Shops, asset: str) -> dict[str, str]:
    """What one region's partitions of a table are."""
    current = shops.runtime.ledger.open(asset).roots()
    return {key: root for key, root in current.items() if key.endswith("|eu")}


def test_the_features_of_a_region_are_the_same_bytes_whether_there_are_others_or_not(
    tmp_path_factory: pytest.TempPathFactory, shops: Shops
) -> None:
    alone = Shops(tmp_path_factory.mktemp("alone"), WITH_MODEL)
    for day in DAYS:
        alone.land_rates(day)
        if day != DAYS[2]:
            alone.land(day, "eu")
    alone.restore(*DAYS, dataset="rates")
    keys = [f"{day}|eu" for day in DAYS]
    alone.restore(*keys)
    # day by day, so that windows go on from kept state, where the other home computes all at once
    for asset in (SPENT, RECENT):
        for key in keys:
            if key != f"{DAYS[2]}|eu":
                assert alone.run(asset, key) == {key: True}
        shops.run(asset, *(f"{day}|{region}" for day in DAYS for region in REGIONS))
        assert roots(alone, asset) == roots(shops, asset) and len(roots(shops, asset)) == len(DAYS) - 1
    for home in (alone, shops):
        home.run(EVER, "all")
    assert roots(alone, EVER) == roots(shops, EVER) != {}
    assert max(row["last_five"] for row in shops.rows(RECENT, f"{DAYS[-1]}|eu")) < 1000


def test_training_halts_for_the_value_whose_data_stands_still(tmp_path_factory: pytest.TempPathFactory) -> None:
    text = WITH_MODEL.replace(
        "    contract: sales.contract.yaml\n", "    contract: sales.contract.yaml\n    halt_training_after: 3d\n"
    )
    shops = Shops(tmp_path_factory.mktemp("halting"), text)
    for day, region in ((DAYS[0], "us"), (DAYS[-1], "eu")):
        shops.land(day, region)
        shops.restore(f"{day}|{region}")
    (model,) = shops.project.pipelines[0].models
    halted = inputs_current(shops.runtime.ledger, model, NOW)
    assert not halted.passed and f"found {DAYS[0]}|us the newest restored" in halted.message
    shops.land(DAYS[-1], "us")
    shops.restore(f"{DAYS[-1]}|us")
    assert inputs_current(shops.runtime.ledger, model, NOW).passed
