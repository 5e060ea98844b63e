"""From landing to champion through the runtime: what bad input does there, and where the champion goes afterwards."""

import json
import pickle  # noqa: TID251  the attack under test
import random
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrai.errors import DigestMismatch, ModelError, OrchestraiError
from orchestrai.models.estimators.artifact import load_model
from orchestrai.models.registry.serving import ServingModel
from orchestrai.pipeline.load import load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings

DAYS = [f"2026-10-{day:02d}" for day in range(1, 9)]
NOW = datetime(2026, 11, 1, tzinfo=UTC)
MODEL = "shop/alarm"
STAGES = ("training_set", "candidate", "evaluation", "champion")
PIPELINE = """
pipeline: shop
datasets:
  - name: readings
    source: {{url: landing/readings/, format: csv}}
    contract: readings.contract.yaml
    partitions: {{grain: day, start: 2026-10-01, end: 2026-11-01}}
    backup: {{every: "0 2 * * *"}}
features:
  - {{name: levels, from: [readings], entity: device_id, event_time: ts, sql: "SELECT device_id, ts, level, hint FROM readings"}}
models:
  - name: alarm
    features: [levels]
    entity: device_id
    label: {{sql: "SELECT device_id, ts, CASE WHEN failed THEN 1 ELSE 0 END AS label FROM readings", horizon: 1m}}
    estimator: {{xgboost: {{max_depth: 2, num_boost_round: 5}}}}
    split: {{by: time, test_share: 0.25, gap: 1m}}
    promote_when: {{metric: auc, at_least: 0.6}}
    sla: 4h
    registry: "{registry}"
"""
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
      - {name: level, logicalType: number}
      - {name: hint, logicalType: number}
      - {name: failed, logicalType: boolean, required: true}
customProperties:
  - {property: eventTime, value: ts}
"""
Row = tuple[str, str, bool]


def _day(day: str, make: Callable[[float, bool], Row], rows: int = 30) -> str:
    chance, start = random.Random(day), datetime.fromisoformat(day).replace(tzinfo=UTC)
    lines = ["device_id,ts,level,hint,failed"]
    for number in range(rows):
        level = chance.random() * 100
        level_text, hint, failed = make(level, level + chance.gauss(0, 25) > 60)
        moment = start + timedelta(minutes=40 * number)
        lines.append(f"d{number % 3},{moment.isoformat()},{level_text},{hint},{str(failed).lower()}")
    return "\n".join(lines) + "\n"


def _land(home: Path, make: Callable[[float, bool], Row], rows: int = 30) -> None:
    for day in DAYS:
        (home / "landing/readings").mkdir(parents=True, exist_ok=True)
        (home / f"landing/readings/{day}.csv").write_text(_day(day, make, rows))


def _good(level: float, failed: bool) -> Row:
    return f"{level:.3f}", "1", failed


def _runtime(home: Path, registry: str = "", engine: str = "auto") -> Runtime:
    folder = home.parent / f"{home.name}-declared"
    folder.mkdir(exist_ok=True)
    (folder / "pipeline.yaml").write_text(PIPELINE.format(registry=registry))
    (folder / "readings.contract.yaml").write_text(CONTRACT)
    return Runtime(Settings(home=home, engine=engine), load_project([folder], {}), clock=lambda: NOW)


def _data(runtime: Runtime) -> None:
    for stage in ("raw_events", "snapshot", "restored"):
        report = runtime.run(runtime.project.nodes[f"shop/readings/{stage}"], DAYS)
        assert not report.refused, report.refused
    runtime.run(runtime.project.nodes["shop/levels/features"], DAYS)


def _model(runtime: Runtime, *stages: str) -> None:
    for stage in stages or STAGES:
        report = runtime.run(runtime.project.nodes[f"{MODEL}/{stage}"], ["all"])
        if report.refused:
            closed = [v for outcome in report.refused for v in outcome.verdicts if v.closes_gate]
            raise ModelError("; ".join(f"{v.check}: {v.message}" for v in closed))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a champion; not to be written to."""
    home = tmp_path_factory.mktemp("shop") / "home"
    _land(home, _good)
    runtime = _runtime(home)
    _data(runtime)
    _model(runtime)
    return home


@pytest.fixture
def home(served: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(served, tmp_path / "home"))


BAD: dict[str, tuple[Callable[[float, bool], Row], int, str]] = {
    "an empty class": (lambda level, failed: (f"{level:.3f}", "1", False), 30, "both classes"),
    "one row": (_good, 1, "at least 10 training rows"),
    "an all-null feature": (lambda level, failed: (f"{level:.3f}", "", failed), 30, "only nulls in hint"),
    "values beyond a float": (lambda level, failed: ("1e300", "1", failed), 30, "infinite"),
    "a label that leaks": (
        lambda level, failed: (f"{level:.3f}", str(int(failed)), failed),
        30,
        "hint alone tells the label",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_a_clear_error_and_the_champion_keeps_serving(home: Path, case: str) -> None:
    make, rows, message = BAD[case]
    runtime = _runtime(home)
    serving = ServingModel(runtime.ledger, f"{MODEL}/champion", every=0)
    before = serving.current().version
    _land(home, make, rows)
    _data(runtime)
    with pytest.raises(OrchestraiError, match=message):
        _model(runtime)
    assert serving.current().version == before and serving.problem == ""
    assert load_model(runtime.ledger, f"{MODEL}/champion").version == before


@pytest.mark.parametrize("attack", ["a pickle", "another model"])
def test_a_champion_file_that_was_replaced_is_never_parsed_and_the_one_in_memory_serves_on(home: Path, attack: str) -> None:
    runtime = _runtime(home)
    serving = ServingModel(runtime.ledger, f"{MODEL}/champion", every=0)
    before = serving.current()
    entry = next(e for e in runtime.ledger.open(f"{MODEL}/champion").files("all").files if e.path == "model.ubj")
    data = pickle.dumps({"a": 1}) if attack == "a pickle" else before.model.encode() + b" "
    runtime.ledger.lake.write(entry.key, data)
    with pytest.raises(DigestMismatch):
        _model(runtime, "predictions")
    assert serving.current().version == before.version
    with pytest.raises(ModelError, match="bytes of sha256"):
        ServingModel(runtime.ledger, f"{MODEL}/champion", every=0).current()


def test_what_a_step_costs_and_how_long_training_took_is_recorded(home: Path) -> None:
    runtime = _runtime(home)
    receipt = runtime.ledger.open(f"{MODEL}/candidate").receipt("all")
    assert receipt.cost.cpu_seconds > 0 and receipt.cost.bytes_read > 0 and receipt.cost.bytes_written > 0
    within = next(v for v in receipt.verdicts["all"] if v.check == "training_time")
    assert within.passed and "4:00:00" in within.message
    checks = {check.name for check in runtime.project.nodes[f"{MODEL}/candidate"].checks}
    assert {"training_time", "identifier_features"} <= checks


def test_each_prediction_resolves_to_model_training_set_and_snapshot(home: Path) -> None:
    import pyarrow.parquet as pq

    runtime = _runtime(home)
    report = runtime.run(runtime.project.nodes[f"{MODEL}/predictions"], ["all"])
    assert set(report.plots) == {"drift"}
    ledger = runtime.ledger
    predictions = ledger.open(f"{MODEL}/predictions")
    key = next(iter(predictions.partitions))
    with predictions.fetched([key]) as files:
        (version,) = set(pq.read_table(files[key][0].path).column("model_version").to_pylist())
    inputs = {ref.asset: ref.version for ref in predictions.receipt(key).inputs}
    assert inputs[f"{MODEL}/champion"] == version
    trained = ledger.open(f"{MODEL}/candidate", version).receipt("all").inputs
    learned = next(ref for ref in trained if ref.asset == f"{MODEL}/training_set")
    features = ledger.open(learned.asset, learned.version).receipt("all").inputs
    restored = next(ref for ref in features if ref.asset.endswith("/features"))
    day = next(iter(ledger.open(restored.asset, restored.version).partitions))
    back = next(ref for ref in ledger.open(restored.asset).receipt(day).inputs if ref.asset.endswith("/restored"))
    assert back.version == ledger.open("shop/readings/snapshot").version == ledger.open("shop/readings/raw_events").version


@pytest.mark.emulator
def test_a_declared_registry_is_an_asset_of_the_graph_and_a_command(
    home: Path, mlflow_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    from orchestrai_tests.cli.conftest import command

    runtime = _runtime(home, f"mlflow+{mlflow_url}")
    node = runtime.project.nodes[f"{MODEL}/deployment"]
    assert node.deps == (f"{MODEL}/champion",) and [check.name for check in node.checks] == ["registered"]
    _model(runtime, "deployment")
    champion = runtime.ledger.open(f"{MODEL}/champion").version
    held = MlflowClient(mlflow_url).get_model_version_by_alias("shop.alarm", "champion")
    assert held.tags["orchestrai_version"] == champion
    monkeypatch.setenv("ORCHESTRAI_HOME", str(home))
    monkeypatch.setenv("ORCHESTRAI_PIPELINES", str(home.parent))
    code, text = command("model", "deploy", "alarm", "--json")
    told = json.loads(text)
    assert code == 0 and told["version"] == champion and told["changed"] == []
    assert told["targets"][0]["version"] == held.version


def test_without_a_registry_there_is_no_such_asset(home: Path) -> None:
    assert f"{MODEL}/deployment" not in _runtime(home).project.nodes


@pytest.mark.spark
def test_every_stage_by_executors_gives_the_versions_of_one_process(
    served: Path, spark_session: Any, tmp_path: Path
) -> None:
    runtime = _runtime(tmp_path / "home", engine="spark")
    runtime.spark_session = lambda: spark_session  # type: ignore[method-assign]
    told: list[str] = []
    runtime.listener = lambda what, done, total: told.append(what)
    _land(tmp_path / "home", _good)
    _data(runtime)
    _model(runtime)
    here = _runtime(served).ledger
    stages = [f"shop/readings/{stage}" for stage in ("raw_events", "snapshot", "restored")]
    for asset in [*stages, "shop/levels/features", *(f"{MODEL}/{stage}" for stage in ("training_set", "candidate"))]:
        assert runtime.ledger.open(asset).version == here.open(asset).version, asset
    name = f"spark {spark_session.version}"
    assert {f"store on {name}", f"restore on {name}"} <= set(told)
    assert runtime.ledger.open("shop/levels/features").receipt(DAYS[0]).facts["engine"] == name
