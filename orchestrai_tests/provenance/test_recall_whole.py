"""A poisoned object in the shipped telemetry pipeline: recalled, and the last clean champion serves again."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from orchestrai.errors import NotReceipted
from orchestrai.ledger.manifest import sha256_hex
from orchestrai.models.estimators.artifact import load_model
from orchestrai.pipeline.load import Project
from orchestrai.pipeline.reports.summary import summarize
from orchestrai.pipeline.runtime import Runtime
from orchestrai.provenance.index import ReceiptIndex
from orchestrai.provenance.recall.recall import apply_recall, plan_recall
from orchestrai.provenance.recall.retraining import redeploy
from orchestrai.provenance.trace import trace
from orchestrai.settings import load_settings
from orchestrai_tests.provenance.conftest import run_telemetry
from orchestrai_tests.provenance.places import Place

pytestmark = pytest.mark.e2e
CHAMPION = "telemetry/failure/champion"


def eager(project: Project, registry: str) -> Project:
    """The same project, whose candidates are promoted whatever they score and whose champion a registry follows."""
    pipeline = project.pipeline("telemetry")
    model = pipeline.models[0]
    rule = model.spec.promote_when.model_copy(update={"at_least": 0.0, "better_than_champion_by": None})
    changed = dataclasses.replace(model, spec=model.spec.model_copy(update={"promote_when": rule, "registry": [registry]}))
    return Project((dataclasses.replace(pipeline, models=(changed,)),))


def test_a_poisoned_object_is_recalled_and_the_clean_champion_serves(
    trained: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    shutil.copytree(trained.settings.home, home)
    registry = Place.instead(monkeypatch)
    runtime = Runtime(load_settings(home=home), eager(trained.project, "mlflow+sqlite:///registry.db"))
    clean = runtime.ledger.open(CHAMPION).version
    last = max(runtime.ledger.open("telemetry/readings/raw_events").partitions)
    batches = sorted(
        Path(runtime.landing(runtime.project.dataset("telemetry/readings")).url.removeprefix("file://")).iterdir()
    )
    victim = next(
        path for path in batches if path.name.startswith(f"{last[:10]}T{last[11:13]}")
    )  # within the label's horizon
    rows = [json.loads(line) for line in victim.read_text().splitlines()]
    hot = [{**row, "temperature": (row["temperature"] or 60) + 30} for row in rows]
    victim.write_text("".join(json.dumps(row) + "\n" for row in hot))
    run_telemetry(runtime, last, last)
    assert runtime.ledger.open(CHAMPION).version != clean
    assert registry.held[-1] == runtime.ledger.open(CHAMPION).version

    ledger = runtime.ledger
    target = sha256_hex(victim.read_bytes())
    plan = plan_recall(ledger, ReceiptIndex.build(ledger.lake, ledger.keyring), target, "sensor fault")
    assert plan.drop == dict.fromkeys(
        [
            *(f"telemetry/device_rolling/{s}" for s in ("features", "feature_backup")),
            *(f"telemetry/readings/{s}" for s in ("raw_events", "restored", "snapshot")),
        ],
        (last,),
    )
    assert [(move.asset, move.to) for move in plan.champions] == [(CHAMPION, clean)]
    done = apply_recall(ledger, plan)
    assert load_model(ledger, CHAMPION).version == clean
    made_of_it = ("training_set", "candidate", "evaluation", "deployment")
    assert done.retrain == tuple(f"telemetry/failure/{stage}" for stage in made_of_it)
    redeploy(runtime, [move.asset for move in plan.champions])
    assert registry.held[-1] == clean
    with pytest.raises(NotReceipted, match="sensor fault"):
        load_model(ledger, "telemetry/failure/candidate")
    summarize(ledger, runtime.project.pipeline("telemetry"))

    victim.unlink()
    run_telemetry(runtime, last, last)
    uris = {material.sha256 for material in trace(ledger, CHAMPION).objects}
    assert target not in uris
