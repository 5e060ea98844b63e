"""Models of every task beside each other in one graph, from landing to predictions, by Dagster."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from orchestrai.defs.build import build_definitions
from orchestrai.defs.launch.backfill import backfill
from orchestrai.pipeline.check.project_check import check_project
from orchestrai.pipeline.load import load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import load_settings

DAYS = [datetime(2026, 10, day, tzinfo=UTC) for day in range(1, 9)]
# a boolean label needs no task
MODELS = {
    "fails": ("failed", "", "auc"),
    "mood": ("mood", "task: multiclass", "log_loss"),
    "worth": ("worth", "task: regression", "rmse"),
    "choice": ("picked", "task: ranking", "ndcg_at_2"),
    "ahead": ("worth", "task: forecast\n    forecast: {season: 1d, ahead: 1m}", "mase"),
}
PIPELINE = """
pipeline: tasks
datasets:
  - name: readings
    source: {url: landing/readings/, format: csv}
    contract: readings.contract.yaml
    partitions: {grain: day, start: 2026-10-01, end: 2026-10-09}
    backup: {every: "0 2 * * *"}
features:
  - {name: levels, from: [readings], entity: [device, slot], event_time: ts,
     sql: "SELECT device, slot, ts, level, place FROM readings"}
models:
"""
MODEL = """  - name: {name}
    features: [levels]
    entity: [device, slot]
    label: {{sql: "SELECT device, slot, ts, {column} AS label FROM readings", horizon: 1m}}
    {task}
    estimator: {{xgboost: {{max_depth: 3, num_boost_round: 20}}}}
    split: {{by: time, test_share: 0.25, gap: 1m}}
    promote_when: {{metric: {metric}}}
"""
CONTRACT = """
kind: DataContract
apiVersion: v3.0.2
id: readings
name: readings
version: 1.0.0
status: active
schema:
  - name: readings
    properties:
      - {name: device, logicalType: string, required: true}
      - {name: slot, logicalType: string, required: true}
      - {name: ts, logicalType: timestamp, required: true}
      - {name: level, logicalType: number, required: true}
      - {name: place, logicalType: integer, required: true}
      - {name: failed, logicalType: boolean, required: true}
      - {name: mood, logicalType: string, required: true}
      - {name: worth, logicalType: number, required: true}
      - {name: picked, logicalType: integer, required: true}
customProperties:
  - {property: eventTime, value: ts}
"""


def _day(day: datetime) -> str:
    chance, lines = random.Random(f"{day:%d}"), ["device,slot,ts,level,place,failed,mood,worth,picked"]
    for hour in range(0, 24, 3):
        for device in ("d1", "d2"):
            for place in range(4):
                level = chance.random() * 100
                felt = level + chance.gauss(0, 8)
                mood = ("calm", "busy", "wild")[(felt > 35) + (felt > 70)]
                moment = (day + timedelta(hours=hour)).isoformat()
                worth = 3 * level + 5 * place + chance.gauss(0, 10)
                lines.append(
                    f"{device},s{place},{moment},{level:.2f},{place},{felt > 60},{mood},{worth:.2f},{int(felt > 55)}"
                )
    return "\n".join(lines) + "\n"


def test_models_of_every_task_are_trained_judged_promoted_and_predict_in_one_graph(tmp_path: Path) -> None:
    folder, home = tmp_path / "tasks", tmp_path / "home"
    (home / "landing" / "readings").mkdir(parents=True)
    folder.mkdir()
    models = [
        MODEL.format(name=name, column=column, task=task or "alarm_above: 1.0", metric=metric)
        for name, (column, task, metric) in MODELS.items()
    ]
    (folder / "pipeline.yaml").write_text(PIPELINE + "".join(models))
    (folder / "readings.contract.yaml").write_text(CONTRACT)
    for day in DAYS:
        (home / "landing" / "readings" / f"{day:%Y-%m-%d}.csv").write_text(_day(day))
    assert [mistake.message for mistake in check_project([folder], {})[0].mistakes] == []
    settings = load_settings(home=home, engine="duckdb")
    runtime = Runtime(settings, load_project([folder], {}), clock=lambda: datetime(2026, 10, 10, tzinfo=UTC))
    definitions = build_definitions(runtime)
    with dg.DagsterInstance.ephemeral() as instance:
        (pipeline,) = runtime.project.pipelines
        runs = list(backfill(definitions, runtime, instance, pipeline, "2026-10-01", "2026-10-08"))
    assert all(run.success for run in runs), [(run.job, run.success) for run in runs]
    tasks = ("binary", "multiclass", "regression", "ranking", "forecast")
    for (name, (_, _, metric)), task in zip(MODELS.items(), tasks, strict=True):
        champion = runtime.ledger.open(f"tasks/{name}/champion").receipt("all")
        predictions = runtime.ledger.open(f"tasks/{name}/predictions")
        (key,) = predictions.partitions
        assert champion.facts["task"] == task == predictions.receipt(key).facts["task"]
        assert metric in champion.facts["metrics"]  # type: ignore[operator]
        assert predictions.partitions[key].rows == 64
