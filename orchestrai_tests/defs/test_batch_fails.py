"""When the batch part of the recommendations fails: it is tried again, people are told, and nothing trains (mission row M6)."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
import yaml

from orchestrai.defs.asset_keys import asset_key
from orchestrai.defs.build import build_definitions
from orchestrai.defs.reporting.run_failure import failure_of
from orchestrai.defs.sensors.instance_conditions import run_conditions
from orchestrai.observability.alerts.alert_desk import AlertDesk
from orchestrai.observability.alerts.alert_settings import tellers_of
from orchestrai.observability.alerts.condition import Sight
from orchestrai.pipeline.load import SHIPPED, load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings
from orchestrai_tests.observability.hooks import Hook, webhook
from orchestrai_tests.servers.process import free_port

DAY = "2026-10-05"
NOW = datetime(2026, 10, 6, 12, tzinfo=UTC)
RAW, TRAINING = "recommendations/purchases/raw_events", "recommendations/next_purchase/training_set"


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    with webhook() as made:
        monkeypatch.setenv("ALERTS", made.url)
        yield made


@pytest.fixture
def runtime(tmp_path: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    monkeypatch.setenv("PURCHASES_DSN", f"postgresql://shop:canary@127.0.0.1:{free_port()}/shop")
    folder = tmp_path / "recommendations"
    folder.mkdir()
    for path in (SHIPPED / "recommendations").iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    declared = yaml.safe_load((folder / "pipeline.yaml").read_text())
    (purchases,) = [dataset for dataset in declared["datasets"] if dataset.get("name") == "purchases"]
    purchases["source"]["sql"]["retries"] = 0
    purchases["retries"] = {"delay": "0s"}
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(declared))
    environment = {"PURCHASES_URL": "env://PURCHASES_DSN", "PURCHASES_WITHIN": "50h"}
    settings = Settings(home=tmp_path / "home", alert_url="env://ALERTS", environment="test")
    return Runtime(settings, load_project([folder], environment), clock=lambda: NOW)


def test_it_is_tried_again_nothing_trains_and_an_alert_goes_out(runtime: Runtime, hook: Hook) -> None:
    definitions = build_definitions(runtime)
    chain = ["purchases/raw_events", "purchases/snapshot", "purchases/restored", "user_item_affinity/features"]
    chain += [f"next_purchase/{stage}" for stage in ("training_set", "candidate", "evaluation", "champion")]
    selection = [asset_key(f"recommendations/{name}") for name in chain]
    with dg.DagsterInstance.ephemeral() as instance:
        job = definitions.resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(
            instance=instance, partition_key=DAY, asset_selection=selection, raise_on_error=False
        )
        assert not result.success
        events = result.all_events
        tries = [event for event in events if event.is_step_up_for_retry]
        assert len(tries) == 3 and {event.step_key for event in tries} == {"recommendations__purchases_raw_events"}
        assert {event.step_key for event in events if event.is_step_start} == {"recommendations__purchases_raw_events"}
        assert runtime.ledger.find(TRAINING) is None
        run = instance.get_run_by_id(result.run_id)
        assert run is not None
        failure = failure_of(instance, run)
        assert failure.steps == ("recommendations__purchases_raw_events",) and not failure.by_gate
        (failed,) = run_conditions(instance, [], instance.get_run_records())
    desk = AlertDesk(runtime.ledger, tellers_of(runtime.settings))
    desk.observe(Sight(NOW, frozenset({"dagster"}), frozenset({failed})))
    desk.deliver(NOW)
    (told,) = hook.told
    assert "recommendations__purchases_raw_events" in told["text"] and "[test] a run failed" in told["text"]
    assert "expected postgresql://127.0.0.1" in told["text"] and failure.reason in told["text"]
    assert "canary" not in json.dumps(told)


def test_a_training_of_its_own_halts_while_the_newest_purchases_are_old(runtime: Runtime) -> None:
    report = runtime.run(runtime.project.nodes[TRAINING], ["all"])
    (verdict,) = (verdict for verdict in report.refused[0].verdicts if verdict.closes_gate)
    assert verdict.check == "inputs_current" and "recommendations/purchases" in verdict.message
    assert runtime.ledger.find(TRAINING) is None
