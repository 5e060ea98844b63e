"""No unverified byte reaches a feature or a model: triggers x faults x seeds, and clean data is never refused.

ORCHESTRAI_TEST_TRIALS=1000 runs that many; without it about 100 run. Each trial copies a published home, breaks one thing about the
ninth day at one stage, pulls a trigger, and then looks at what anyone would be given: the ninth day may be in later stages only
with the very roots it has when nothing goes wrong, and not at all where the fault makes its bytes unfit.
"""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from orchestrai.defs.assets import asset_key, build_assets
from orchestrai.defs.backfill import SILENT_CONSOLE, backfill
from orchestrai.defs.build import build_definitions
from orchestrai_tests.defs import shop
from orchestrai_tests.defs.shop import (
    CANDIDATE,
    DAYS,
    FEATURES,
    KEPT,
    NINTH,
    PARTITIONED,
    RAW,
    STAGES,
    TRAINING,
    Base,
    Fault,
    World,
)

TRIALS = int(os.environ.get("ORCHESTRAI_TEST_TRIALS", "0"))
START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@dataclass(frozen=True)
class Matrix:
    """The world, and its Dagster objects over the one runtime that trials move about."""

    world: World
    definitions: dg.Definitions
    automated: dg.Definitions

    def job(self, name: str, base: Base, *only: str, tags: dict[str, str]) -> None:
        with dg.DagsterInstance.ephemeral() as instance:
            self.definitions.resolve_job_def(name).execute_in_process(
                run_config=SILENT_CONSOLE,
                instance=instance,
                tags=tags,
                asset_selection=[asset_key(asset) for asset in only],
                raise_on_error=False,
            )


@pytest.fixture(scope="session")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    world = shop.build(tmp_path_factory.mktemp("matrix"))
    definitions = build_definitions(world.workshop.runtime)
    careless = dg.AutomationCondition.any_deps_updated()
    automated = definitions.map_asset_specs(func=lambda spec: spec.replace_attributes(automation_condition=careless))
    return Matrix(world, definitions, automated)


# -- triggers: each asks for everything after the stage the ninth day has reached ----------------------------------------------


def later(base: Base) -> list[str]:
    return STAGES[STAGES.index(base.next) :]


def by_runtime(matrix: Matrix, base: Base) -> None:
    """`Runtime.run`, stage after stage, whatever the one before said."""
    for asset in later(base):
        matrix.world.workshop.run(asset)


def by_materialize(matrix: Matrix, base: Base) -> None:
    """`dagster.materialize` of everything there is."""
    nodes = [node for asset, node in matrix.world.workshop.project.nodes.items() if asset in STAGES]
    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize(
            build_assets(nodes),
            resources={"runtime": matrix.world.workshop.runtime},
            partition_key=NINTH,
            instance=instance,
            run_config=SILENT_CONSOLE,
            raise_on_error=False,
        )


def by_downstream(matrix: Matrix, base: Base) -> None:
    """Runs of the stages after the fault only: one for each stage, as a person would click them."""
    for asset in later(base):
        name = "shop_readings_ingest" if asset in PARTITIONED else "shop_train"
        matrix.job(name, base, asset, tags={START: NINTH, END: NINTH} if asset in PARTITIONED else {})


def by_refresh(matrix: Matrix, base: Base) -> None:
    """One run over a range of days, the bad one among good ones."""
    only = [asset for asset in later(base) if asset not in (RAW, KEPT)]
    if base.next in (RAW, KEPT):
        matrix.job("shop_readings_ingest", base, RAW, KEPT, tags={START: DAYS[6], END: NINTH})
    matrix.job("shop_refresh", base, *only, tags={START: DAYS[6], END: NINTH} if set(only) & set(PARTITIONED) else {})


def by_backfill(matrix: Matrix, base: Base) -> None:
    """What `orchestrai backfill` runs."""
    runtime = matrix.world.workshop.runtime
    with dg.DagsterInstance.ephemeral() as instance:
        for _ in backfill(matrix.definitions, runtime, instance, runtime.project.pipelines[0], DAYS[7], NINTH):
            pass


def by_automation(matrix: Matrix, base: Base) -> None:
    """The most careless automation there is, `any_deps_updated()` on every asset, without a look at any check."""
    with dg.DagsterInstance.ephemeral() as instance:
        keys = {asset_key(asset): asset for asset in later(base)}
        # it answers to updates, so it is told that the stage before was materialized, as somebody's report would say
        result = dg.evaluate_automation_conditions(matrix.automated, instance)
        upstream = asset_key(base.stage) if base.stage else asset_key("shop/readings/landing")
        partition = NINTH if base.stage in PARTITIONED or not base.stage else None
        instance.report_runless_asset_event(dg.AssetMaterialization(upstream, partition=partition))
        for _ in range(3):
            result = dg.evaluate_automation_conditions(matrix.automated, instance, cursor=result.cursor)
            wanted = [name for key, name in keys.items() if result.get_num_requested(key)]
            for asset in wanted:
                name = "shop_readings_ingest" if asset in PARTITIONED else "shop_train"
                tags = {START: NINTH, END: NINTH} if asset in PARTITIONED else {}
                matrix.automated.resolve_job_def(name).execute_in_process(
                    run_config=SILENT_CONSOLE,
                    instance=instance,
                    tags=tags,
                    asset_selection=[asset_key(asset)],
                    raise_on_error=False,
                )


Trigger = Callable[[Matrix, Base], None]
QUICK: list[Trigger] = [by_runtime]
THROUGH_DAGSTER: list[Trigger] = [by_materialize, by_downstream, by_refresh, by_backfill]
# reads every stage anew from the landing, so faults in between are mended by it rather than met
REDOES_ALL = (by_materialize, by_backfill)


# -- cases ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One trial."""

    trigger: Trigger
    stage: str
    fault: Fault
    seed: int

    def __str__(self) -> str:
        return f"{self.trigger.__name__}-{self.stage.rsplit('/', 1)[-1] or 'landing'}-{self.fault.__name__}-{self.seed}"


def possible() -> Iterator[tuple[str, Fault]]:
    for fault in (shop.nothing, *shop.LANDING_FAULTS):
        yield "", fault
    for stage in STAGES[:4]:
        for fault in (*shop.STORED_FAULTS, *shop.HARMLESS):
            # a pack has no neighbours that anyone lists; and training goes on without a day whose features are gone from the log
            if (stage, fault) not in ((KEPT, shop.extra), (FEATURES, shop.head_removed)):
                yield stage, fault


def cases(trials: int) -> list[Case]:
    """Every combination with the quick trigger, all triggers in turn through Dagster, then more seeds until there are enough."""
    pairs = list(possible())
    quick = max(1, (trials or 130) * 17 // 20 // len(pairs))
    found = [Case(by_runtime, stage, fault, seed) for seed in range(quick) for stage, fault in pairs]
    left = max(40, trials - len(found)) if trials else 40
    for number in range(left):
        stage, fault = pairs[number * 7 % len(pairs)]
        trigger = (*THROUGH_DAGSTER, by_automation)[number % 5]
        found.append(Case(trigger, stage, fault, 1000 + number))
    return found


@pytest.mark.parametrize("case", cases(TRIALS), ids=str)
def test_bad_bytes_go_no_further_and_clean_ones_do(case: Case, matrix: Matrix, tmp_path: Path) -> None:
    world, base = matrix.world, matrix.world.bases[case.stage]
    home = tmp_path / "home"
    shutil.copytree(base.home, home)
    case.fault(base, home, random.Random(case.seed))
    before = world.workshop.move(home)
    heads = {asset: _seq(before, asset) for asset in (TRAINING, CANDIDATE)}
    world.workshop.move(home)
    case.trigger(matrix, base)

    runtime = world.workshop.move(home)
    for asset in (asset for asset in later(base) if asset in PARTITIONED):
        dataset = shop.current(runtime, asset)
        found = dataset.partitions.get(NINTH) if dataset else None
        if found is not None:
            assert found.root == world.clean[asset][NINTH], f"{asset} holds other bytes than a clean run gives"
    _learned_from_clean_bytes(world, home)

    harmless = case.fault in shop.HARMLESS
    redone = bool(case.stage) and case.trigger in REDOES_ALL
    reached = _reached(world, home, base, heads)
    if harmless:
        assert reached, "clean data was refused"
    elif not redone:
        assert not reached, f"{base.next} accepted the day"
    shutil.rmtree(home)


def _seq(runtime: shop.Runtime, asset: str) -> int:
    head = runtime.ledger.head(asset)
    return head.seq if head else 0


def _reached(world: World, home: Path, base: Base, heads: dict[str, int]) -> bool:
    """Whether the stage after the fault published the ninth day."""
    runtime = world.workshop.move(home)
    if base.next in PARTITIONED:
        dataset = shop.current(runtime, base.next)
        return dataset is not None and NINTH in dataset.partitions
    return _seq(runtime, base.next) > heads[base.next]


def _learned_from_clean_bytes(world: World, home: Path) -> None:
    """Every root that the current training set names as its input is one that a clean run has."""
    dataset = shop.current(world.workshop.move(home), TRAINING)
    assert dataset is not None
    for source in dataset.receipt("all").inputs:
        for day, root in source.partitions.items():
            assert root == world.clean[source.asset][day], f"the training set learned from {source.asset}@{day} at {root}"


def test_every_fault_is_met_by_the_guard_and_not_by_luck(matrix: Matrix, tmp_path: Path) -> None:
    """The base is sound: each stage takes the ninth day when nothing is wrong, and its features are read by training."""
    for stage, base in matrix.world.bases.items():
        if base.next == CANDIDATE:
            continue
        home = tmp_path / (stage.replace("/", "_") or "landing")
        shutil.copytree(base.home, home)
        matrix.world.workshop.move(home)
        assert matrix.world.workshop.run(base.next)
        assert base.made or not stage
    names = [source.asset for source in matrix.world.workshop.runtime.ledger.open(TRAINING).receipt("all").inputs]
    assert FEATURES in names
