"""A champion is given the features it learned from: joined as its training set was, and of the same definitions."""

import random
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from orchestrai.errors import NotReceipted
from orchestrai.features.views.moment_partitions import PointInTime
from orchestrai.ledger.ledger import Ledger
from orchestrai.models.estimators.artifact import load_model
from orchestrai.models.registry.serving import scoring_app
from orchestrai.pipeline.load import load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import load_settings

DAYS = [f"2026-10-{day:02d}" for day in range(1, 11)]
EARLY = DAYS[:7]
NOW = datetime(2026, 11, 1, tzinfo=UTC)
VIEWS = ("totals", "states", "sites")
MODEL = "plant/alarm"
PIPELINE = """
pipeline: plant
datasets:
  - name: readings
    source: {url: landing/readings/, format: csv}
    contract: readings.contract.yaml
    partitions: {grain: day, start: 2026-10-01, end: 2026-11-01}
    backup: {every: "0 2 * * *"}
features:
  - name: totals
    from: [readings]
    entity: [site_id, device_id]
    as_of: {every: 1d}
    sql: "SELECT s.site_id, s.device_id, s.as_of, CAST(SUM(r.pence) AS BIGINT) AS spent FROM spine AS s JOIN readings AS r
      ON r.site_id = s.site_id AND r.device_id = s.device_id GROUP BY s.site_id, s.device_id, s.as_of"
  - name: states
    from: [readings]
    entity: [site_id, device_id]
    event_time: ts
    sql: "SELECT site_id, device_id, ts, pence AS newest FROM readings"
  - name: sites
    from: [readings]
    entity: site_id
    as_of: {every: 2d}
    sql: "SELECT s.site_id, s.as_of, COUNT(r.ts) AS visits FROM spine AS s JOIN readings AS r ON r.site_id = s.site_id
      GROUP BY s.site_id, s.as_of"
models:
  - name: alarm
    features: [totals, states, sites]
    entity: [site_id, device_id]
    label: {horizon: 1d, sql: "SELECT s.site_id, s.device_id, s.as_of, CASE WHEN MAX(r.pence) > 60 THEN 1 ELSE 0 END AS label
      FROM spine AS s LEFT JOIN readings AS r ON r.site_id = s.site_id AND r.device_id = s.device_id
      GROUP BY s.site_id, s.device_id, s.as_of"}
    estimator: {xgboost: {max_depth: 3, num_boost_round: 8}}
    split: {by: time, test_share: 0.25, gap: 1d}
    promote_when: {metric: auc, at_least: 0.5}
"""
CONTRACT = """
kind: DataContract
apiVersion: v3.0.2
id: plant-readings
name: readings
version: 1.0.0
status: active
schema:
  - name: readings
    physicalType: table
    properties:
      - {name: site_id, logicalType: string, required: true}
      - {name: device_id, logicalType: string, required: true}
      - {name: ts, logicalType: timestamp, required: true}
      - {name: pence, logicalType: integer, required: true}
customProperties:
  - {property: eventTime, value: ts}
  - {property: volume, value: {method: none}}
"""


def _runtime(home: Path, text: str = PIPELINE) -> Runtime:
    folder = home.parent / f"{home.name}-declared"
    folder.mkdir(exist_ok=True)
    (folder / "pipeline.yaml").write_text(text)
    (folder / "readings.contract.yaml").write_text(CONTRACT)
    return Runtime(load_settings(home=home, engine="duckdb"), load_project([folder], {}), clock=lambda: NOW)


def _land(home: Path) -> None:
    """Each device is read at noon, give or take; a device that was high stays so for some days."""
    (home / "landing" / "readings").mkdir(parents=True, exist_ok=True)
    for number, day in enumerate(DAYS):
        lines = ["site_id,device_id,ts,pence"]
        for device in range(40):
            chance = random.Random(f"{day} {device}")
            moment = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(hours=12, seconds=chance.randrange(3600))
            high = (device * 7 + number // 3) % 4 == 0
            lines.append(
                f"s{device % 5},d{device},{moment.isoformat()},{chance.randrange(50, 100) if high else chance.randrange(62)}"
            )
        (home / "landing" / "readings" / f"{day}.csv").write_text("\n".join(lines) + "\n")


def _publish(runtime: Runtime, days: list[str], views: tuple[str, ...] = VIEWS) -> None:
    for stage in ("raw_events", "snapshot", "restored"):
        assert not runtime.run(runtime.project.nodes[f"plant/readings/{stage}"], days).refused
    for view in views:
        assert not runtime.run(runtime.project.nodes[f"plant/{view}/features"], days).refused


def _model(runtime: Runtime, *stages: str) -> None:
    for stage in stages or ("training_set", "candidate", "evaluation", "champion"):
        report = runtime.run(runtime.project.nodes[f"{MODEL}/{stage}"], ["all"])
        assert not report.refused, (stage, report.refused)


def _read(ledger: Ledger, asset: str, key: str) -> pa.Table:
    with ledger.open(asset).fetched([key]) as files:
        return pa.concat_tables([pq.read_table(file.path) for file in files[key]])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a champion over three views; not to be written to."""
    home = tmp_path_factory.mktemp("plant") / "home"
    _land(home)
    runtime = _runtime(home)
    _publish(runtime, EARLY)
    _model(runtime)
    return home


@pytest.fixture
def home(served: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(served, tmp_path / "home"))


def test_predictions_have_the_features_that_a_training_set_has_at_that_moment(home: Path) -> None:
    runtime = _runtime(home)
    ledger = runtime.ledger
    _model(runtime, "predictions")
    (moment,) = ledger.open(f"{MODEL}/predictions").partitions
    assert moment == "2026-10-08"
    predicted = _read(ledger, f"{MODEL}/predictions", moment)
    champion = load_model(ledger, f"{MODEL}/champion")
    # two days later the moment's labels are known, and a training set has its rows
    _publish(runtime, DAYS)
    _model(runtime, "training_set")
    learned = _read(ledger, f"{MODEL}/training_set", "all")
    learned = learned.filter(pc.equal(learned["event_time"], predicted["event_time"][0]))
    assert learned.num_rows == predicted.num_rows == 40
    assert learned["newest"].null_count == learned["visits"].null_count == 0
    assert predicted.select(["site_id", "device_id"]).equals(learned.select(["site_id", "device_id"]))
    assert predicted["score"].to_pylist() == champion.score(learned).tolist()


def test_predictions_name_the_partitions_that_they_read_and_no_other(home: Path) -> None:
    runtime = _runtime(home)
    _model(runtime, "predictions")
    dataset = runtime.ledger.open(f"{MODEL}/predictions")
    read = {ref.asset: sorted(ref.partitions) for ref in dataset.receipt("2026-10-08").inputs}
    assert read == {
        f"{MODEL}/champion": ["all"],
        "plant/totals/features": ["2026-10-08"],
        # every device was read the day before; the site's own moments are two days apart
        "plant/states/features": ["2026-10-07"],
        "plant/sites/features": [max(runtime.ledger.open("plant/sites/features").partitions)],
    }


def test_a_model_says_which_views_it_learned_from(home: Path) -> None:
    runtime = _runtime(home)
    views = load_model(runtime.ledger, f"{MODEL}/champion").info.views
    assert views is not None and [view.name for view in views] == list(VIEWS)
    (node,) = [node for node in runtime.project.pipelines[0].views if node.view.name == "sites"]
    sites = views[2]
    assert (sites.asset, sites.hash, sites.kind, sites.time) == (node.asset, node.view.hash, "entity", "as_of")
    assert (sites.entity, sites.first_table, sites.features) == (("site_id",), "readings", ("visits",))


CHANGES = {
    "the view that gives the rows": ("CAST(SUM(r.pence) AS BIGINT)", "CAST(SUM(r.pence * 100) AS BIGINT)"),
    "a view beside it": ("pence AS newest", "pence * 100 AS newest"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_features_of_another_definition_are_not_scored_until_the_model_is_trained_again(home: Path, change: str) -> None:
    before = _runtime(home)
    old, new = CHANGES[change]
    client = TestClient(scoring_app(before.ledger, f"{MODEL}/champion", known=PointInTime(before.ledger), every=0))
    row = {"spent": 100, "newest": 50, "visits": 3}
    assert client.post("/score", json={"rows": [row]}).status_code == 200
    runtime = _runtime(home, PIPELINE.replace(old, new))
    _publish(runtime, EARLY)
    with pytest.raises(
        NotReceipted, match=r"expected .* of definition .*, found another definition .* train the model again"
    ):
        _model(runtime, "predictions")
    refused = client.post("/score", json={"rows": [row]})
    assert refused.status_code == client.get("/health").status_code == 503
    assert "train the model again" in refused.json()["detail"]
    _model(runtime)
    _model(runtime, "predictions")
    assert client.post("/score", json={"rows": [row]}).status_code == 200
    restored = _runtime(home)
    _publish(restored, EARLY)
    with pytest.raises(NotReceipted, match="train the model again"):
        _model(restored, "predictions")


def test_a_candidate_is_not_compared_with_a_champion_of_another_definition(home: Path) -> None:
    runtime = _runtime(home, PIPELINE.replace(*CHANGES["a view beside it"]))
    _publish(runtime, EARLY)
    _model(runtime, "training_set", "candidate", "evaluation")
    receipt = runtime.ledger.open(f"{MODEL}/evaluation").receipt("all")
    promotion = next(verdict for verdict in receipt.verdicts["all"] if verdict.check == "promotion")
    assert receipt.facts["champion_metrics"] is None
    assert "learned from another definition of plant/states/features" in promotion.message
    _model(runtime, "champion")


def test_rows_that_name_another_definition_are_refused(home: Path) -> None:
    ledger = _runtime(home).ledger
    client = TestClient(scoring_app(ledger, f"{MODEL}/champion"))
    row = {"spent": 100, "newest": 50, "visits": 3}
    learned = {view["name"]: view["hash"] for view in client.get("/model").json()["views"]}
    assert set(learned) == set(VIEWS)
    assert client.post("/score", json={"rows": [row], "views": learned}).status_code == 200
    other = client.post("/score", json={"rows": [row], "views": {**learned, "sites": "0" * 64}})
    assert other.status_code == 422 and "train the model again" in other.json()["detail"]


def test_a_view_that_is_no_longer_declared_for_the_model_is_missed_by_name(home: Path) -> None:
    runtime = _runtime(home, PIPELINE.replace("features: [totals, states, sites]", "features: [totals, states]"))
    from orchestrai.errors import ModelError

    with pytest.raises(ModelError, match="found no plant/sites/features among"):
        _model(runtime, "predictions")
