"""What a model cost: each run of its lineage counts once, with what is shared and what is unknown said."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrai.ledger.costs.cost_record import COSTS, CostRecord
from orchestrai.ledger.costs.price_table import DECLARED, Charge
from orchestrai.pipeline.runtime import Runtime
from orchestrai.provenance.lineage_cost import lineage_cost, receipts_behind
from orchestrai.provenance.verified_records import Records
from orchestrai_tests.features.shop import FEATURES, MODEL, RAW, RESTORED, Shop
from orchestrai_tests.pipeline.costs.cost_records import records, rewritten


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A model of 24 days: a run a day up to raw events, then one run a stage; not to be written to."""
    shop = Shop(tmp_path_factory.mktemp("cost") / "shop")
    shop.restored(shop.days(0, 24))
    shop.run(FEATURES)
    shop.run(f"{MODEL}/training_set")
    shop.run(f"{MODEL}/candidate")
    return shop


def records_of(runtime: Runtime) -> Records:
    return Records(runtime.ledger.lake, runtime.ledger.keyring)


def test_every_run_behind_a_model_counts_once_by_stage_and_by_subject(shop: Shop) -> None:
    cost = lineage_cost(records_of(shop.runtime), f"{MODEL}/candidate")
    kept = {record.name: record for record in records(shop.runtime)}
    assert cost.total.runs == len(kept) == 24 + 5 == cost.total.measured
    assert cost.total.usage.cpu_seconds == pytest.approx(sum(one.usage.cpu_seconds for one in kept.values()), abs=0.01)
    assert {line.key: line.runs for line in cost.by_stage} == {
        "raw_events": 24,
        "snapshot": 1,
        "restored": 1,
        "features": 1,
        "training_set": 1,
        "candidate": 1,
    }
    assert {line.key: line.runs for line in cost.by_subject} == {"late/sales": 26, "late/spent": 1, MODEL: 2}
    for lines in (cost.by_stage, cost.by_subject):
        assert sum(line.usage.bytes_read for line in lines) == cost.total.usage.bytes_read
    # the label reads the same restored days as the features do
    assert cost.used_twice >= 1 and any("counts whole and once" in note for note in cost.notes)
    assert any("no price applies" in note for note in cost.notes) and cost.total.usd == 0


def test_what_another_model_uses_too_is_named(shop: Shop) -> None:
    behind = receipts_behind(records_of(shop.runtime), RESTORED)
    cost = lineage_cost(records_of(shop.runtime), f"{MODEL}/candidate", others={"late/other": behind, "far/away": ["none"]})
    assert dict(cost.shared) == {"late/other": ("late/sales",)}
    assert any("late/sales: shared with late/other" in note for note in cost.notes)


def test_a_run_without_a_record_counts_with_what_its_receipt_says(shop: Shop, tmp_path: Path) -> None:
    before = lineage_cost(records_of(shop.runtime), RAW)
    lake = shop.runtime.ledger.lake
    gone = next(record for record in records(shop.runtime) if record.asset == RAW)
    envelope = lake.read(COSTS.key(gone.name))
    lake.delete(COSTS.key(gone.name))
    try:
        cost = lineage_cost(records_of(shop.runtime), RAW)
    finally:
        lake.write(COSTS.key(gone.name), envelope)
    assert (cost.total.runs, cost.total.measured) == (24, 23)
    assert 0 < cost.total.usage.wall_seconds < before.total.usage.wall_seconds
    assert any("1 of 24 runs have no record" in note for note in cost.notes)


def test_a_record_that_ended_after_midnight_is_found_and_a_job_taken_up_again_is_paid_once(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop")
    shop.days(0, 2)

    def dear(record: CostRecord) -> CostRecord:
        later = shop.now.replace(hour=0) + timedelta(days=1, minutes=5)
        finished = later.isoformat() if record.finished > shop.now.replace(hour=0).isoformat() else record.finished
        return replace(record, finished=finished, charges=(Charge(DECLARED, "job", 1.0, 2.5, "train-1"),))

    rewritten(shop.runtime, dear)
    cost = lineage_cost(records_of(shop.runtime), RAW)
    assert (cost.total.runs, cost.total.measured, cost.total.priced) == (2, 2, 2)
    assert cost.total.usd == 2.5
