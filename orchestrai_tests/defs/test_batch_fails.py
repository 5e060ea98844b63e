"""When the batch part of the recommendations fails: it is tried again, people are told, and nothing trains (mission row M6)."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from orchestrai.defs.build import build_definitions
from orchestrai.errors import StorageError, TransientStorageError
from orchestrai.observability.alerts import Alert, send_alert
from orchestrai.pipeline.load import SHIPPED, load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings
from orchestrai_tests.servers.process import free_port

DAY = "2026-10-05"
NOW = datetime(2026, 10, 6, 12, tzinfo=UTC)
RAW, TRAINING = "recommendations/purchases/raw_events", "recommendations/next_purchase/training_set"


class Webhook:
    """A webhook that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.answers: list[int] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = hook.answers.pop(0) if hook.answers else 200
                if status == 200:
                    hook.told.append(json.loads(body))
                self.send_response(status)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Silent."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/services/canary"


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    hook = Webhook()
    thread = threading.Thread(target=hook.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    monkeypatch.setenv("ALERTS", hook.url)
    yield hook
    hook.server.shutdown()
    hook.server.server_close()
    thread.join()


@pytest.fixture
def runtime(tmp_path: Path, webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> Runtime:
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


def test_it_is_tried_again_nothing_trains_and_an_alert_goes_out(runtime: Runtime, webhook: Webhook) -> None:
    definitions = build_definitions(runtime)
    chain = ["purchases/raw_events", "purchases/snapshot", "purchases/restored", "user_item_affinity/features"]
    chain += [f"next_purchase/{stage}" for stage in ("training_set", "candidate", "evaluation", "champion")]
    selection = [dg.AssetKey(["recommendations", *name.split("/")]) for name in chain]
    with dg.DagsterInstance.ephemeral() as instance:
        job = definitions.resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(
            instance=instance, partition_key=DAY, asset_selection=selection, raise_on_error=False
        )
        assert not result.success
        events = result.all_events
        tries = [event for event in events if event.is_step_up_for_retry]
        assert len(tries) == 3 and {event.step_key for event in tries} == {"recommendations__purchases__raw_events"}
        assert {event.step_key for event in events if event.is_step_start} == {"recommendations__purchases__raw_events"}
        assert runtime.ledger.find(TRAINING) is None
        sensor = definitions.get_sensor_def("alert_on_failure")
        (failure,) = [event for event in events if event.event_type == dg.DagsterEventType.RUN_FAILURE]
        run = instance.get_run_by_id(result.run_id)
        assert run is not None
        context = dg.build_run_status_sensor_context(
            sensor_name=sensor.name, dagster_instance=instance, dagster_run=run, dagster_event=failure
        ).for_run_failure()
        sensor(context)
    (told,) = webhook.told
    assert "recommendations__purchases__raw_events" in told["text"] and "[test] run failed" in told["text"]
    assert "expected postgresql://127.0.0.1" in told["text"] and "canary" not in json.dumps(told)


def test_a_training_of_its_own_halts_while_the_newest_purchases_are_old(runtime: Runtime) -> None:
    report = runtime.run(runtime.project.nodes[TRAINING], ["all"])
    (verdict,) = (verdict for verdict in report.refused[0].verdicts if verdict.closes_gate)
    assert verdict.check == "inputs_current" and "recommendations/purchases" in verdict.message
    assert runtime.ledger.find(TRAINING) is None


def test_an_alert_is_sent_again_after_a_fault_and_its_url_is_never_shown(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    alert = Alert("run failed", "test", "job", "1", ("step",), "why")
    slept: list[float] = []
    webhook.answers = [503, 429]
    send_alert(alert, "env://ALERTS", sleep=slept.append)
    assert webhook.told[0]["text"] == "[test] run failed: job at step (run 1)\nwhy" and slept == [1.0, 2.0]
    webhook.answers = [404]
    with pytest.raises(StorageError, match="status 404") as refused:
        send_alert(alert, "env://ALERTS", sleep=slept.append)
    monkeypatch.setenv("ALERTS", f"http://127.0.0.1:{free_port()}/canary")
    with pytest.raises(TransientStorageError) as caught:
        send_alert(alert, "env://ALERTS", sleep=slept.append)
    assert "canary" not in str(refused.value) + str(caught.value)
