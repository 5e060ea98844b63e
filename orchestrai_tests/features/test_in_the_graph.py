"""What a declaration of features comes to in the graph: the drift check, the online store."""

from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from orchestrai.defs.checks.drift_checks import build_drift_checks
from orchestrai.features.by_key.online import OnlineStore
from orchestrai.pipeline.load import load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import load_settings
from orchestrai_tests.provenance.small import CHAMPION, CONTRACT, DAYS, FEATURES, NOW, PIPELINE, Small

DECLARED = PIPELINE.replace("ENCRYPT", "").replace(
    "entity: device_id, event_time: ts,\n",
    "entity: device_id, event_time: ts, online: true, files_every: 1h, checks: {drift: 0.25, coverage: 0.9},\n",
)
PYTHON = DECLARED.replace(
    'sql: "SELECT device_id, ts, level * 2 AS twice, level + 1 AS more FROM readings"}',
    'python: "levels:levels", outputs: {device_id: STRING, ts: TIMESTAMP, twice: BIGINT, more: BIGINT}, lookback: {rows: 0}}',
)
LEVELS = """
import pyarrow.compute as pc


def levels(readings):
    found = readings.select(["device_id", "ts"])
    found = found.append_column("twice", pc.multiply(readings["level"], 2))
    return found.append_column("more", pc.add(readings["level"], 1))
"""


def small(folder: Path, text: str) -> Small:
    declared = folder / "declared"
    declared.mkdir()
    (declared / "pipeline.yaml").write_text(text)
    # drifted days are what is looked at here: none is held
    (declared / "readings.contract.yaml").write_text(CONTRACT + "  - {property: hold, value: off}\n")
    (declared / "levels.py").write_text(LEVELS)
    (folder / "home" / "landing" / "readings").mkdir(parents=True)
    moments = (NOW + timedelta(milliseconds=number) for number in range(10**9))
    settings = load_settings(home=folder / "home", engine="duckdb")
    return Small(Runtime(settings, load_project([declared], {}), clock=lambda: next(moments)))


@pytest.mark.parametrize("text", [DECLARED, PYTHON], ids=["sql", "python"])
def test_features_go_online_in_the_step_that_publishes_them(tmp_path: Path, text: str) -> None:
    world = small(tmp_path, text)
    world.land(*DAYS[:2])
    world.publish(*DAYS[:2])
    version = world.runtime.ledger.open(FEATURES).version
    with OnlineStore(world.home / "online" / "small" / "levels.sqlite") as store:
        row = store.get("d1")
    assert row is not None and row.version == version and row.time > datetime.fromisoformat(f"{DAYS[1]}T00:00:00+00:00")
    assert row.values["more"] == row.values["twice"] / 2 + 1


def test_the_drift_check_compares_with_what_the_champion_learned_from(tmp_path: Path) -> None:
    world = small(tmp_path, DECLARED)
    world.land(*DAYS)
    world.publish(*DAYS[:8])
    (check,) = build_drift_checks(world.runtime.project.pipelines)

    def looked() -> dg.AssetCheckResult:
        with dg.DagsterInstance.ephemeral() as instance:
            found = check(dg.build_asset_check_context(instance=instance), orchestrai_runtime=world.runtime)
        assert isinstance(found, dg.AssetCheckResult)
        return found

    before = looked()
    assert before.passed and "no champion yet" in str(before.metadata["message"].value)
    world.train()
    after = looked()
    assert "alarm was trained" in str(after.metadata["message"].value)
    assert "PSI" in str(after.metadata["features"].value) and {"distributions", "null_rates"} <= set(after.metadata)
    # the reference stays what the champion learned from, however the training set goes on
    trained = world.runtime.ledger.open(CHAMPION).receipt("all").facts["training_set"]
    path = world.home / "landing" / "readings" / "2026-10-10.csv"
    path.write_text((world.home / "landing" / "readings" / f"{DAYS[8]}.csv").read_text().replace(DAYS[8], "2026-10-10"))
    lines = path.read_text().splitlines()
    moved = [",".join([*line.split(",")[:2], "950", line.split(",")[3]]) for line in lines[1:]]
    path.write_text("\n".join([lines[0], *moved]) + "\n")
    world.publish("2026-10-10")
    far = looked()
    assert not far.passed and far.severity == dg.AssetCheckSeverity.WARN and "twice" in str(far.metadata["message"].value)
    assert world.runtime.ledger.open(CHAMPION).receipt("all").facts["training_set"] == trained
