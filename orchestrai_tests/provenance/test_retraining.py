"""A recall in force asks for clean retraining; a sensor turns it into runs, once, and a model without the poison serves."""

import os
import shutil
from pathlib import Path

import dagster as dg
import pytest

from orchestrai.errors import NotReceipted, SignatureInvalid
from orchestrai.ledger.manifest import sha256_hex
from orchestrai.models.estimators.artifact import load_model
from orchestrai.provenance.index import ReceiptIndex
from orchestrai.provenance.recall.rebuild import rebuild
from orchestrai.provenance.recall.recall import RecallPlan, apply_recall, plan_recall
from orchestrai.provenance.recall.retraining import outstanding, read_requests, request_retraining, retrain
from orchestrai.provenance.trace import trace
from orchestrai.provenance.verify.audit import audit
from orchestrai_tests.copies import copies
from orchestrai_tests.dagster_names import ledger_name
from orchestrai_tests.provenance.builder import World
from orchestrai_tests.provenance.small import (
    CANDIDATE,
    CHAMPION,
    DAYS,
    FEATURES,
    PREDICTIONS,
    RAW,
    TRAINING,
    Small,
)  # fmt: skip

BAD = DAYS[-1]


@pytest.fixture(scope="module")
def bitten_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight good days with a champion, then a poisoned ninth that a later champion learned from."""
    small = Small.at(tmp_path_factory.mktemp("bitten"))
    small.land(*DAYS[:-1])
    small.publish(*DAYS[:-1])
    small.train()
    small.land(BAD, poisoned=True)
    small.publish(BAD)
    small.train(PREDICTIONS)
    return small.home.parent


@pytest.fixture
def bitten(bitten_home: Path, tmp_path: Path) -> Small:
    shutil.copytree(bitten_home, tmp_path / "copy")
    return Small.at(tmp_path / "copy")


def poison(small: Small) -> str:
    return sha256_hex((small.home / "landing" / "readings" / f"{BAD}.csv").read_bytes())


def recalled(small: Small, target: str | None = None) -> RecallPlan:
    ledger = small.runtime.ledger
    plan = plan_recall(ledger, ReceiptIndex.build(ledger.lake, ledger.keyring), target or poison(small), "flipped", "ann")
    return apply_recall(ledger, plan)


def learned(small: Small, asset: str = CHAMPION) -> set[str]:
    return {material.sha256 for material in trace(small.runtime.ledger, asset).objects}


def test_a_recall_in_force_leaves_a_signed_request_in_lake_and_vault(bitten: Small) -> None:
    plan, ledger = recalled(bitten), bitten.runtime.ledger
    assert plan.request is not None
    assert (plan.request.models, plan.request.features) == (("small/alarm",), {FEATURES: (BAD,)})
    assert (plan.request.by, plan.request.reason, plan.request.recall) == ("ann", "flipped", plan.record.digest)
    assert ledger.vault is not None
    assert read_requests(ledger.lake, ledger.keyring) == read_requests(ledger.vault, ledger.keyring) == [plan.request]
    assert request_retraining(ledger, plan.record, plan.reach.derivations) == plan.request


def test_a_recall_that_reached_no_model_asks_for_nothing(world: World) -> None:
    world.prove({"2026-01-01": b"orders"})
    plan = plan_recall(world.ledger, ReceiptIndex.build(world.lake, world.keyring), "churn/orders/raw_events@2026-01-01")
    assert apply_recall(world.ledger, plan).request is None


def test_what_is_outstanding_is_read_from_the_ledger(bitten: Small) -> None:
    request = recalled(bitten).request
    assert request is not None
    ledger, project = bitten.runtime.ledger, bitten.runtime.project
    left = outstanding(ledger, project, request)
    assert (left.features, left.models) == ({}, ("small/alarm",))
    bitten.land(BAD)
    for asset in ("small/readings/raw_events", "small/readings/snapshot", "small/readings/restored"):
        bitten.run(asset, [BAD])
    later = outstanding(ledger, project, request)
    assert later.features == {FEATURES: (BAD,)}
    bitten.run(FEATURES, [BAD])
    ready = outstanding(ledger, project, request)
    assert not ready.features and ready.inputs != left.inputs
    bitten.train(PREDICTIONS)
    assert outstanding(ledger, project, request).done


def test_retraining_without_a_daemon_serves_a_model_without_the_poison(bitten: Small) -> None:
    bad = poison(bitten)
    assert bad in learned(bitten)
    request = recalled(bitten).request
    assert request is not None
    assert bad not in learned(bitten)
    retrain(bitten.runtime, request)
    for asset in (CHAMPION, CANDIDATE):
        assert bad not in learned(bitten, asset)
    scored = bitten.runtime.ledger.open(PREDICTIONS)
    copies(scored, DAYS[-2], bitten.home / "scored")
    with pytest.raises(NotReceipted, match="flipped"):
        copies(scored, BAD, bitten.home / "scored")
    assert outstanding(bitten.runtime.ledger, bitten.runtime.project, request).done
    assert retrain(bitten.runtime, request) == []


def test_a_withdrawn_champion_is_followed_by_one_from_clean_data(tmp_path: Path) -> None:
    small = Small.at(tmp_path)
    small.land(*DAYS[:-1])
    small.land(BAD, poisoned=True)
    small.publish(*DAYS)
    small.train()
    bad, plan = poison(small), recalled(small)
    with pytest.raises(NotReceipted):
        load_model(small.runtime.ledger, CHAMPION)
    assert plan.request is not None
    retrain(small.runtime, plan.request)
    load_model(small.runtime.ledger, CHAMPION)
    assert bad not in learned(small)


def test_a_request_that_a_stranger_signed_is_refused(bitten: Small) -> None:
    plan, stranger = recalled(bitten), World()
    lake = bitten.runtime.ledger.lake
    key = next(info.key for info in lake.list("retrainings/"))
    lake.delete(key)
    assert request_retraining(stranger.ledger, plan.record, plan.reach.derivations) is not None
    lake.write(key, stranger.lake.read(key))
    with pytest.raises(SignatureInvalid):
        read_requests(lake, bitten.runtime.ledger.keyring)
    assert not audit(lake, bitten.runtime.ledger.keyring).ok


def test_a_lost_lake_gets_its_requests_back(bitten: Small) -> None:
    request, ledger = recalled(bitten).request, bitten.runtime.ledger
    for info in list(ledger.lake.list("retrainings/")):
        ledger.lake.delete(info.key)
    assert rebuild(ledger).copied["retrainings"] == 1
    assert read_requests(ledger.lake, ledger.keyring) == [request]


@pytest.mark.e2e
def test_the_sensor_turns_the_request_into_one_run_and_a_clean_champion_serves(bitten: Small) -> None:
    from orchestrai.defs.build import build_definitions

    bad = poison(bitten)
    definitions = build_definitions(bitten.runtime)
    sensor = definitions.get_sensor_def("small_retrain_after_recall")
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    with dg.DagsterInstance.ephemeral() as instance:

        def tick() -> list[dg.RunRequest]:
            with dg.build_sensor_context(
                instance=instance,
                repository_def=definitions.get_repository_def(),
                resources={"orchestrai_runtime": bitten.runtime},
            ) as context:
                return list(sensor.evaluate_tick(context).run_requests or ())

        def launch(request: dg.RunRequest) -> bool:
            job = definitions.get_repository_def().get_implicit_global_asset_job_def()
            return job.execute_in_process(
                instance=instance, tags=dict(request.tags), asset_selection=list(request.asset_selection or ())
            ).success  # fmt: skip

        assert tick() == []
        recalled(bitten)
        (first,) = tick()
        assert [ledger_name(key) for key in first.asset_selection or ()] == [
            TRAINING, CANDIDATE, "small/alarm/evaluation", CHAMPION, PREDICTIONS,
        ]  # fmt: skip
        assert tick()[0].run_key == first.run_key
        assert launch(first)
        assert tick() == []
        assert bad not in learned(bitten)

        # corrected data that lands later is another matter: its ingest makes the features, the schedule trains
        bitten.land(BAD)
        for asset in (RAW, "small/readings/snapshot", "small/readings/restored"):
            bitten.run(asset, [BAD])
        (again,) = tick()
        assert again.tags["dagster/asset_partition_range_start"] == BAD
        assert launch(again)
        assert tick() == []


@pytest.mark.e2e
def test_the_command_recalls_and_retrains(bitten: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    from typer.testing import CliRunner

    from orchestrai.cli.app import app

    monkeypatch.setenv("ORCHESTRAI_HOME", str(bitten.home))
    monkeypatch.setenv("ORCHESTRAI_PIPELINES", os.fspath(bitten.home.parent / "declared"))
    bad = poison(bitten)
    told = CliRunner().invoke(app, ["recall", bad, "--apply", "--by", "ann"], catch_exceptions=False)
    assert told.exit_code == 0, told.output
    assert "serves again" in told.output
    assert "small_retrain_after_recall" in told.output
    done = CliRunner().invoke(app, ["recall", bad, "--apply", "--retrain", "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert CHAMPION in json.loads(done.stdout)["retrained"]
    assert bad not in learned(bitten)
