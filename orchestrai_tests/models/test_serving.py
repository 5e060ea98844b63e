"""The scoring endpoint serves the champion, follows it, and survives a broken one."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from orchestrai.ledger.ledger import Ledger
from orchestrai.models.estimators.artifact import load_model
from orchestrai.models.registry.serving import ServingModel, scoring_app
from orchestrai.models.registry.versions import rollback
from orchestrai_tests.models.conftest import CHAMPION, customers, spec

Run = Callable[..., Any]
ROWS = [
    {"recency_days": 80, "spend_90d": 10.5, "orders": 1, "is_member": False, "channel": "phone"},
    {"recency_days": 2, "spend_90d": None, "orders": 4, "is_member": True, "channel": "web"},
    {"customer_id": "c1"},
]


def test_scores_are_those_of_the_champion_and_name_its_version(ledger: Ledger, run: Run) -> None:
    run(spec(), customers())
    scorer = load_model(ledger, CHAMPION)
    client = TestClient(scoring_app(ledger, CHAMPION))
    answer = client.post("/score", json={"rows": ROWS}).json()
    assert answer["model_version"] == scorer.version and len(answer["scores"]) == 3
    assert answer["scores"][0] > 0.5 > answer["scores"][1]
    table = customers().slice(0, 50)
    rows = [{k: v for k, v in row.items() if k not in ("event_time", "label")} for row in table.to_pylist()]
    assert client.post("/score", json={"rows": rows}).json()["scores"] == scorer.score(table).tolist()


def test_promotion_and_rollback_are_followed(ledger: Ledger, run: Run) -> None:
    first = run(spec(), customers())[0].version
    client = TestClient(scoring_app(ledger, CHAMPION, every=0))
    assert client.get("/model").json()["version"] == first
    second = run(spec(), customers(seed=2))[0].version
    assert client.get("/health").json() == {"status": "ok", "version": second}
    rollback(ledger, CHAMPION)
    assert client.post("/score", json={"rows": ROWS}).json()["model_version"] == first


def test_a_broken_new_champion_is_not_served_and_health_says_so(ledger: Ledger, run: Run) -> None:
    first = run(spec(), customers())[0].version
    client = TestClient(scoring_app(ledger, CHAMPION, every=0))
    client.get("/health")
    run(spec(), customers(seed=2))
    entry = next(e for e in ledger.open(CHAMPION).files("all").files if e.path == "model.ubj")
    good = ledger.lake.read(entry.key)
    ledger.lake.write(entry.key, good[:-1] + b"x")
    assert client.get("/health").json() == {"status": "degraded", "version": first}
    assert client.post("/score", json={"rows": ROWS}).json()["model_version"] == first
    ledger.lake.write(entry.key, good)
    assert client.get("/health").json()["status"] == "ok"


def test_without_a_champion_the_endpoint_is_unavailable(ledger: Ledger) -> None:
    client = TestClient(scoring_app(ledger, CHAMPION))
    for answer in (client.get("/health"), client.get("/model"), client.post("/score", json={"rows": ROWS})):
        assert answer.status_code == 503 and "promote a candidate first" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("row", "status", "message"),
    [
        ({"recency": 1}, 422, "found recency"),
        ({"recency_days": "soon"}, 422, "recency_days to be a number"),
        ({"channel": 7}, 422, "channel to be a category"),
        ({"recency_days": 1e300}, 422, "infinite"),
        ({"recency_days": [1]}, 422, ""),
    ],
)
def test_rows_that_cannot_be_scored_are_refused(
    ledger: Ledger, run: Run, row: dict[str, Any], status: int, message: str
) -> None:
    run(spec(), customers())
    answer = TestClient(scoring_app(ledger, CHAMPION)).post("/score", json={"rows": [row]})
    assert answer.status_code == status and message in answer.text


def test_the_log_is_read_at_most_once_per_interval(ledger: Ledger, run: Run) -> None:
    first = run(spec(), customers())[0].version
    now = [0.0]
    serving = ServingModel(ledger, CHAMPION, every=5, monotonic=lambda: now[0])
    assert serving.current().version == first
    second = run(spec(), customers(seed=2))[0].version
    now[0] = 4.9
    assert serving.current().version == first
    now[0] = 5.0
    assert serving.current().version == second
