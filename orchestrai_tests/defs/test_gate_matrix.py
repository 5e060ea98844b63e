"""No unverified byte reaches a feature or a model: triggers x faults x seeds, and clean data is never refused.

ORCHESTRAI_TEST_TRIALS=1000 runs that many; without it fewer than 100 run. Each trial breaks one thing about the ninth day in a
published home, pulls a trigger, and then looks at what anyone would be given: the ninth day may be in later stages only
with the very roots it has when nothing goes wrong, and not at all where the fault makes its bytes unfit.
"""

import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import dagster as dg
import pytest

from orchestrai.core.verdict import Verdict
from orchestrai.defs.asset_keys import asset_key
from orchestrai.defs.assets import build_assets
from orchestrai.defs.build import build_definitions
from orchestrai.defs.launch.backfill import SILENT_CONSOLE, backfill
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.ledger.dataset import Dataset, VerifiedFile
from orchestrai.ledger.heads import Head, head_prefix
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import FileEntry, sha256_hex
from orchestrai.ledger.signing import HEAD_TYPE, Keyring
from orchestrai.storage.base import Store
from orchestrai_tests.defs import faults, shop
from orchestrai_tests.defs.faults import Fault
from orchestrai_tests.defs.shop import (
    CANDIDATE,
    DAYS,
    FEATURES,
    KEPT,
    NINTH,
    PARTITIONED,
    RAW,
    RESTORED,
    STAGES,
    TRAINING,
    Base,
    World,
)
from orchestrai_tests.scratch import fast_folder

TRIALS = int(os.environ.get("ORCHESTRAI_TEST_TRIALS", "0"))
START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@dataclass(frozen=True)
class Matrix:
    """The world, and its Dagster objects over the one runtime that trials move about."""

    world: World
    definitions: dg.Definitions
    assets: list[dg.AssetsDefinition | dg.AssetSpec]
    automated: dg.Definitions

    def job(self, name: str, *only: str, tags: dict[str, str]) -> None:
        with dg.DagsterInstance.ephemeral() as instance:
            run(self.definitions, instance, name, only, tags)


def run(
    definitions: dg.Definitions, instance: dg.DagsterInstance, job: str, only: tuple[str, ...], tags: dict[str, str]
) -> None:
    definitions.resolve_job_def(job).execute_in_process(
        run_config=SILENT_CONSOLE,
        instance=instance,
        tags=tags,
        asset_selection=[asset_key(asset) for asset in only],
        raise_on_error=False,
    )


@pytest.fixture(scope="session")
def matrix() -> Iterator[Matrix]:
    # homes lie in memory, and a database is opened once: a trial is then a few hundredths of a second
    folder = Path(tempfile.mkdtemp(prefix="orchestrai-matrix-", dir=fast_folder()))
    opened = lru_cache(DuckDbEngine(threads=1)._open)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DuckDbEngine, "_open", lambda engine, numbers: opened(numbers))
        world = shop.build(folder)
        runtime = world.workshop.runtime
        definitions = build_definitions(runtime)
        careless = dg.AutomationCondition.any_deps_updated()
        automated = definitions.map_asset_specs(func=lambda spec: spec.replace_attributes(automation_condition=careless))
        assets = build_assets([node for asset, node in runtime.project.nodes.items() if asset in STAGES])
        yield Matrix(world, definitions, assets, automated)
    shutil.rmtree(folder)


# -- triggers: each asks for everything after the stage the ninth day has reached ----------------------------------------------


def later(base: Base) -> list[str]:
    return STAGES[STAGES.index(base.next) :]


def by_runtime(matrix: Matrix, base: Base) -> None:
    """`Runtime.run`, stage after stage, whatever the one before said."""
    for asset in later(base):
        matrix.world.workshop.run(asset)


def by_materialize(matrix: Matrix, base: Base) -> None:
    """`dagster.materialize` of everything there is."""
    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize(
            matrix.assets,
            resources={"orchestrai_runtime": matrix.world.workshop.runtime},
            partition_key=NINTH,
            instance=instance,
            run_config=SILENT_CONSOLE,
            raise_on_error=False,
        )


def by_downstream(matrix: Matrix, base: Base) -> None:
    """Runs of the stages after the fault only: one for each stage, as a person would click them."""
    for asset in later(base):
        name = "shop_readings_ingest" if asset in PARTITIONED else "shop_train"
        matrix.job(name, asset, tags={START: NINTH, END: NINTH} if asset in PARTITIONED else {})


def by_refresh(matrix: Matrix, base: Base) -> None:
    """One run over a range of days, the bad one among good ones."""
    only = [asset for asset in later(base) if asset not in (RAW, KEPT)]
    if base.next in (RAW, KEPT):
        matrix.job("shop_readings_ingest", RAW, KEPT, tags={START: DAYS[6], END: NINTH})
    matrix.job("shop_refresh", *only, tags={START: DAYS[6], END: NINTH} if set(only) & set(PARTITIONED) else {})


def by_backfill(matrix: Matrix, base: Base) -> None:
    """What `orchestrai backfill` runs."""
    runtime = matrix.world.workshop.runtime
    with dg.DagsterInstance.ephemeral() as instance:
        for summary in backfill(matrix.definitions, runtime, instance, runtime.project.pipelines[0], DAYS[7], NINTH):
            assert summary.success or summary.refused or summary.errors or summary.unreadable, "red without a reason"


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
            for asset in [name for key, name in keys.items() if result.get_num_requested(key)]:
                name = "shop_readings_ingest" if asset in PARTITIONED else "shop_train"
                tags = {START: NINTH, END: NINTH} if asset in PARTITIONED else {}
                run(matrix.automated, instance, name, (asset,), tags)


Trigger = Callable[[Matrix, Base], None]
THROUGH_DAGSTER: list[Trigger] = [by_materialize, by_downstream, by_refresh, by_backfill, by_automation]
# reads every stage anew from the landing, so faults in between are mended by it rather than met; a refresh does where it includes raw
# events: the objects of a copied home lie elsewhere, and are published anew with receipts that say where
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


def stages_of(fault: Fault) -> list[str]:
    """The stages after which a fault can befall the ninth day."""
    landed = [""] if fault in faults.LANDING_FAULTS or fault is faults.nothing else []
    if fault in faults.LANDING_FAULTS:
        return landed
    # a pack has no neighbours that anyone lists
    return landed + [stage for stage in STAGES[:4] if (stage, fault) != (KEPT, faults.extra)]


ALL_FAULTS = [*faults.LANDING_FAULTS, *faults.STORED_FAULTS, *faults.HARMLESS]


def cases(trials: int) -> list[Case]:
    """Every fault at every stage by the quick trigger, each fault by each of Dagster's, then more seeds until there are enough.

    Without a count each fault meets every second of its stages, and one of Dagster's triggers.
    """
    pairs = [(stage, fault) for fault in ALL_FAULTS for stage in stages_of(fault)]
    pairs = pairs if trials else pairs[::2]
    found = []
    for number, fault in enumerate(ALL_FAULTS):
        stages = stages_of(fault)
        chosen = THROUGH_DAGSTER if trials else [THROUGH_DAGSTER[number % len(THROUGH_DAGSTER)]]
        found += [Case(trigger, stages[(number + turn) % len(stages)], fault, turn) for turn, trigger in enumerate(chosen)]
    if not trials:
        # a head that no longer verifies is met while a backfill sums up what it did
        found += [Case(by_backfill, RAW, faults.head_flipped, 3), Case(by_backfill, RESTORED, faults.head_ahead, 3)]
    seeds = max(len(pairs), trials - len(found))
    return [Case(by_runtime, *pairs[number % len(pairs)], number) for number in range(seeds)] + found


@pytest.mark.parametrize("case", cases(TRIALS), ids=str)
def test_bad_bytes_go_no_further_and_clean_ones_do(
    case: Case, matrix: Matrix, record_property: Callable[[str, object], None]
) -> None:
    outcome = attempt(case, matrix)
    record_property("table", ["trials by fault", case.fault.__name__, case.trigger.__name__])
    record_property("table", ["trials by outcome", outcome, case.trigger.__name__])


def attempt(case: Case, matrix: Matrix) -> str:
    """Run one trial and tell how it went; raises AssertionError when bad bytes got through or clean ones did not."""
    world, base = matrix.world, matrix.world.bases[case.stage]
    try:
        case.fault(base, base.home, random.Random(case.seed))
        before = world.workshop.move(base.home)
        heads = {asset: _seq(before, asset) for asset in (TRAINING, CANDIDATE)}
        world.workshop.move(base.home)
        case.trigger(matrix, base)

        runtime = world.workshop.move(base.home)
        for asset in (asset for asset in later(base) if asset in PARTITIONED):
            dataset = shop.current(runtime, asset)
            found = dataset.partitions.get(NINTH) if dataset else None
            if found is not None:
                assert found.root == world.clean[asset][NINTH], f"{asset} holds other bytes than a clean run gives"
        _learned_from_clean_bytes(world, base.home)

        reached = _reached(world, base, heads)
        redone = bool(case.stage) and (case.trigger in REDOES_ALL or (case.trigger is by_refresh and base.next == KEPT))
        if case.fault in faults.HARMLESS:
            assert reached, "clean data was refused"
            return "clean, taken"
        assert redone or not reached, f"{base.next} accepted the day"
        return "unfit, made anew from clean bytes" if reached else "unfit, refused"
    finally:
        base.mend()


def _seq(runtime: shop.Runtime, asset: str) -> int:
    head = runtime.ledger.head(asset)
    return head.seq if head else 0


def _reached(world: World, base: Base, heads: dict[str, int]) -> bool:
    """Whether the stage after the fault published the ninth day."""
    runtime = world.workshop.move(base.home)
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


def test_every_fault_is_met_by_the_guard_and_not_by_luck(matrix: Matrix) -> None:
    """The base is sound: each stage takes the ninth day when nothing is wrong, and its features are read by training."""
    for stage, base in matrix.world.bases.items():
        if base.next == CANDIDATE:
            continue
        matrix.world.workshop.move(base.home)
        try:
            assert matrix.world.workshop.run(base.next)
            assert base.made or not stage
            if base.next == TRAINING:
                ledger = matrix.world.workshop.runtime.ledger
                assert FEATURES in [source.asset for source in ledger.open(TRAINING).receipt("all").inputs]
        finally:
            base.mend()


# -- controls: with a guard removed the matrix turns red -----------------------------------------------------------------------


def _trusting_files(patch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def unhashed(dataset: Dataset, entry: FileEntry) -> Iterator[VerifiedFile]:
        with dataset.ledger.sealed.of(dataset.ledger.lake, entry.key, 10**9) as copy:
            yield VerifiedFile(copy.path, entry)

    patch.setattr(Dataset, "_verified", unhashed)


def _trusting_verdicts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Verdict, "closes_gate", property(lambda verdict: False))


def _trusting_heads(patch: pytest.MonkeyPatch) -> None:
    def unplaced(store: Store, keyring: Keyring, asset: str, seq: int) -> Head:
        envelope = store.read(f"{head_prefix(asset)}{seq:012d}.json")
        body = json.loads(keyring.open(HEAD_TYPE, envelope))
        del body["format"]
        return Head(**{**body, "changed": tuple(body["changed"]), "digest": sha256_hex(envelope)})

    for module in ("heads", "decisions.standing", "log_replica"):
        patch.setattr(f"orchestrai.ledger.{module}.read_head", unplaced)


def _trusting_the_log(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ledger, "_witnessed", lambda ledger, asset, last: last)


@pytest.mark.parametrize(
    ("without", "stage", "fault"),
    [
        (_trusting_files, RESTORED, faults.swapped),
        (_trusting_verdicts, "", faults.volume_drop),
        (_trusting_verdicts, "", faults.stale_file),
        (_trusting_heads, FEATURES, faults.head_ahead),
        (_trusting_the_log, FEATURES, faults.head_removed),
    ],
)
def test_the_matrix_turns_red_when_a_guard_is_removed(
    without: Callable[[pytest.MonkeyPatch], None], stage: str, fault: Fault, matrix: Matrix
) -> None:
    case = Case(by_runtime, stage, fault, 1)
    attempt(case, matrix)
    with pytest.MonkeyPatch.context() as patch:
        without(patch)
        with pytest.raises(AssertionError):
            attempt(case, matrix)
