"""Figures of a project: what receipts say, at the price of what is new, and told also when something cannot be read."""

import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrai.core.code_identity import Producer
from orchestrai.core.verdict import Verdict
from orchestrai.errors import StorageError
from orchestrai.ledger.report import Cost
from orchestrai.observability.metrics import metric_names as names
from orchestrai.observability.metrics.exporter import Exporter
from orchestrai.observability.metrics.exposition import Figures
from orchestrai.pipeline.load import load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings
from orchestrai_tests.observability.metrics.prometheus_text import read_text

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
CONTRACT = """
kind: DataContract
apiVersion: v3.0.2
id: shop-readings
name: readings
version: 1.0.0
status: active
schema:
  - name: readings
    physicalType: table
    properties:
      - {name: device_id, logicalType: string, required: true}
      - {name: ts, logicalType: timestamp, required: true}
customProperties:
  - {property: eventTime, value: ts}
"""
# six assets a dataset
MANY = 84


def written(folder: Path, count: int) -> Path:
    folder.mkdir()
    (folder / "r.contract.yaml").write_text(CONTRACT)
    lines = ["pipeline: many", "datasets:"]
    for number in range(count):
        lines += [
            f"  - name: d{number}",
            f"    source: {{url: landing/d{number}/, format: csv}}",
            "    contract: r.contract.yaml",
            "    partitions: {grain: day, start: 2026-10-01, end: 2026-11-01}",
            '    backup: {every: "0 2 * * *", rpo: 26h, rto: 15m}',
        ]
    (folder / "pipeline.yaml").write_text("\n".join(lines) + "\n")
    return folder


def publish(runtime: Runtime, asset: str, stage: str, day: str, rows: int, verdicts: tuple[Verdict, ...] = ()) -> None:
    session = runtime.ledger.session(asset, Producer(stage, "orchestrai.ingest.run"))
    session.add_bytes(day, "part.bin", f"{asset} {day} {rows}".encode(), rows=rows)
    details = {"newest": f"{day}T23:30:00+00:00"}
    own = (Verdict("freshness", True, "well", details=details),) if stage == "raw_events" else ()
    facts = {"rto_seconds": 42.5, "rpo_seconds": 1.0} if stage == "drill" else {}
    session.commit({day: (*own, *verdicts)}, cost=Cost(1.5, 0.5, 100, 10), facts=facts)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    """A project of 504 assets, each published."""
    folder = tmp_path_factory.mktemp("many")
    project = load_project([written(folder / "many", MANY)], {})
    assert not project.left_out, project.left_out[0].message
    runtime = Runtime(Settings(home=folder / "home"), project, lambda: NOW)
    for node in project.nodes.values():
        if node.pipeline == "many":
            if node.asset.startswith("many/d0/"):
                publish(runtime, node.asset, node.stage.name, "2026-10-01", 10)
            publish(runtime, node.asset, node.stage.name, "2026-10-02", 7)
    return runtime


@contextmanager
def cpu(most: float) -> Iterator[None]:
    began = time.process_time()
    yield
    took = time.process_time() - began
    assert took < most, f"{took:.2f} s of CPU"


def test_five_hundred_assets_are_scraped_in_less_than_a_second(many: Runtime) -> None:
    exporter = Exporter(many)
    first = exporter.scrape()
    assert len(read_text(first)["orchestrai_asset_bytes"]) >= 500
    with cpu(1.0):
        again = exporter.scrape()
    same = {name: values for name, values in read_text(first).items() if name != "orchestrai_scrape_cpu_seconds"}
    assert {name: values for name, values in read_text(again).items() if name in same} == same


def test_what_receipts_say_is_told(many: Runtime) -> None:
    read = read_text(Exporter(many).scrape())
    raw = (("pipeline", "many"), ("asset", "many/d0/raw_events"), ("stage", "raw_events"))
    of = (("pipeline", "many"), ("dataset", "many/d0"))
    assert read["orchestrai_asset_rows"][raw] == 17
    assert read["orchestrai_asset_newest_partition_rows"][raw] == 7
    assert read["orchestrai_asset_partitions"][raw] == 2
    assert read["orchestrai_asset_published_timestamp_seconds"][raw] == NOW.timestamp()
    assert read["orchestrai_asset_stage_wall_seconds"][raw] == 1.5
    assert read["orchestrai_asset_stage_read_bytes"][raw] == 100
    assert (
        read["orchestrai_dataset_newest_event_timestamp_seconds"][of]
        == datetime(2026, 10, 2, 23, 30, tzinfo=UTC).timestamp()
    )
    assert read["orchestrai_dataset_dead_letters"][of] == 17
    assert read["orchestrai_backup_last_success_timestamp_seconds"][of] == NOW.timestamp()
    assert read["orchestrai_backup_rpo_target_seconds"][of] == timedelta(hours=26).total_seconds()
    assert read["orchestrai_backup_rto_target_seconds"][of] == 900
    assert read["orchestrai_drill_rto_seconds"][(("pipeline", "many"), ("asset", "many/d0/drill"))] == 42.5
    assert "orchestrai_metrics_problem" not in read


def test_what_is_new_is_seen_and_nothing_else_is_read_again(many: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = Exporter(many)
    exporter.scrape()
    read: list[str] = []
    published = {asset for asset, node in many.project.nodes.items() if node.pipeline == "many"}
    find = many.ledger.find
    monkeypatch.setattr(many.ledger, "find", lambda asset: read.append(asset) or find(asset))
    publish(many, "many/d1/restored", "restored", "2026-10-03", 5, (Verdict("odd", False, "unlike", severity="warn"),))
    told = read_text(exporter.scrape())
    labels = (("pipeline", "many"), ("asset", "many/d1/restored"), ("stage", "restored"))
    assert [asset for asset in read if asset in published] == ["many/d1/restored"]
    assert told["orchestrai_asset_newest_partition_rows"][labels] == 5
    assert told["orchestrai_asset_checks"][(*labels, ("outcome", "failed"))] == 1
    assert told["orchestrai_check_failing"][(*labels, ("check", "odd"), ("severity", "warn"))] == 1
    publish(many, "many/d1/restored", "restored", "2026-10-03", 6)
    assert "orchestrai_check_failing" not in read_text(exporter.scrape())


def test_a_survey_tells_of_landings_gates_rpo_and_staleness(tmp_path: Path) -> None:
    runtime = Runtime(Settings(home=tmp_path / "home"), load_project([written(tmp_path / "few", 2)], {}), lambda: NOW)
    landing = tmp_path / "home" / "landing" / "d0"
    landing.mkdir(parents=True)
    (landing / "2026-10-01.csv").write_text("device_id,ts\na,2026-10-01T00:00:00Z\n")
    publish(runtime, "many/d0/raw_events", "raw_events", "2026-10-02", 7)
    publish(runtime, "many/d0/raw_events", "raw_events", "2026-10-03", 7, (Verdict("keys", False, "twice"),))
    exporter = Exporter(runtime)
    exporter.survey()
    read = read_text(exporter.scrape())
    of = (("pipeline", "many"), ("dataset", "many/d0"))
    assert read["orchestrai_landing_objects"][(*of, ("place", "waiting"))] == 1
    assert read["orchestrai_landing_oldest_waiting_timestamp_seconds"][of] > 0
    assert read["orchestrai_backup_unprotected"][of] >= 1 and of in read["orchestrai_backup_rpo_seconds"]
    assert read["orchestrai_gate_refused_partitions"][(("pipeline", "many"), ("asset", "many/d0/raw_events"))] == 1
    assert read["orchestrai_gate_held_partitions"][(("pipeline", "many"), ("asset", "many/d0/raw_events"))] == 0
    assert read["orchestrai_survey_timestamp_seconds"][()] == NOW.timestamp()
    # the landing of the other is not there: one figure, and all else is told
    assert any("landing of many/d1" in labels[0][1] for labels in read["orchestrai_metrics_problem"])
    assert set(read) <= {metric.name for metric in names.METRICS}


def test_a_store_that_does_not_answer_is_a_figure(many: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    class Unwell:
        name = "unwell"

        def tell(self, figures: Figures) -> None:
            raise StorageError("no answer")

    exporter = Exporter(many, (Unwell(),))
    exporter.scrape()

    def gone(asset: str) -> None:
        raise StorageError("no answer")

    monkeypatch.setattr(many.ledger, "find", gone)
    publish(many, "many/d2/raw_events", "raw_events", "2026-10-04", 1)
    read = read_text(exporter.scrape())
    problems = {labels[0][1] for labels in read["orchestrai_metrics_problem"]}
    assert problems == {"many/d2/raw_events: StorageError", "unwell: StorageError"}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed: install the package prometheus")
def test_promtool_accepts_a_whole_scrape(many: Runtime) -> None:
    done = subprocess.run(["promtool", "check", "metrics"], input=Exporter(many).scrape(), capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_server_answers_scrapes_and_nothing_else(many: Runtime) -> None:
    from orchestrai.cli.reports.metrics_commands import LOOPBACK
    from orchestrai.observability.metrics.metrics_server import MetricsServer

    server = MetricsServer((LOOPBACK, 0), Exporter(many))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        base = f"http://{LOOPBACK}:{server.server_port}"
        with urllib.request.urlopen(f"{base}/metrics", timeout=10) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert len(read_text(answer.read().decode())["orchestrai_asset_bytes"]) >= 500
        with urllib.request.urlopen(f"{base}/-/healthy", timeout=10) as answer:
            assert answer.status == 200
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{base}/../keys", timeout=10)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def test_open_alerts_and_what_receivers_are_owed_are_told(tmp_path: Path) -> None:
    from orchestrai.observability.alerts.alert_changes import Alert, Message, Outbox
    from orchestrai.observability.alerts.alert_log import AlertLog
    from orchestrai.observability.alerts.condition import Condition
    from orchestrai.observability.alerts.condition_kinds import KINDS

    runtime = Runtime(Settings(home=tmp_path / "home"), load_project([written(tmp_path / "few", 1)], {}), lambda: NOW)
    kind = sorted(KINDS)[0]
    alerts = [Alert(Condition(kind, subject, "well", "unwell", "mend"), NOW.isoformat()) for subject in ("a", "b", "c")]
    taken = Alert(Condition(kind, "d", "well", "unwell", "mend"), NOW.isoformat(), acknowledged=NOW.isoformat())
    owed = Message("opened", alerts[0], NOW.isoformat(), "pager", NOW.isoformat())
    log = AlertLog(runtime.ledger)
    exporter = Exporter(runtime)
    assert "orchestrai_alerts" not in read_text(exporter.scrape())
    log.append(log.newest(), Outbox((*alerts, taken), (owed,)), (), NOW)
    read = read_text(exporter.scrape())
    severity = KINDS[kind].severity
    of = (("kind", kind), ("severity", severity))
    assert read["orchestrai_alerts"] == {(*of, ("state", "open")): 3, (*of, ("state", "acknowledged")): 1}
    assert read["orchestrai_alert_messages_owed"] == {(("receiver", "pager"),): 1}
