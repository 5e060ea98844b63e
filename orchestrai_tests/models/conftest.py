"""Training sets made by a seed and published as the features stage would."""

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import StageReport
from orchestrai.models.spec import Estimator, ModelAssets, ModelSpec
from orchestrai_tests.producers import producer

TRAINING_SET, CANDIDATE, EVALUATION, CHAMPION = (
    f"churn/churn/{stage}" for stage in ("training_set", "candidate", "evaluation", "champion")
)
START = datetime(2026, 1, 1, tzinfo=UTC)


def parquet(table: pa.Table) -> bytes:
    """A table's bytes."""
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def publish(ledger: Ledger, asset: str, table: pa.Table, partition: str = "all", **parameters: Any) -> StageReport:
    """Publish a table as one partition of an asset."""
    session = ledger.session(asset, producer("training_set"))
    session.add_bytes(partition, "part-0.parquet", parquet(table), rows=table.num_rows)
    return session.commit(parameters=parameters)


def customers(seed: int = 1, per_moment: int = 150, moments: int = 6, noise: float = 1.0) -> pa.Table:
    """Customers at monthly as-of moments, who leave when they were away for long, paid little, or came by phone."""
    rng = np.random.default_rng(seed)
    count = per_moment * moments
    recency = rng.integers(0, 90, count).astype(np.float64)
    spend = rng.gamma(2.0, 50.0, count)
    channel = rng.choice(["web", "shop", "phone"], count)
    drive = (recency - 45) / 20 - (spend - 100) / 80 + np.where(channel == "phone", 1.0, 0.0) + rng.normal(0, noise, count)
    spend[rng.random(count) < 0.05] = np.nan
    return pa.table(
        {
            "customer_id": pa.array([f"c{n % per_moment:05d}" for n in range(count)]),
            "event_time": pa.array(
                [START + timedelta(days=30 * (n // per_moment)) for n in range(count)], pa.timestamp("us", "UTC")
            ),
            "label": pa.array((drive > 0.5).astype(np.int64)),
            "recency_days": pa.array(recency),
            "spend_90d": pa.array(spend, from_pandas=True),
            "orders": pa.array(rng.integers(1, 9, count)),
            "is_member": pa.array(rng.random(count) < 0.3),
            "channel": pa.array(channel),
        }
    )


def plans() -> pa.Table:
    """Customers, and which of three plans each takes, mostly by what they spend."""
    table = customers(per_moment=60)
    spend = np.nan_to_num(table.column("spend_90d").to_numpy(), nan=60.0)
    chosen = np.digitize(spend + np.random.default_rng(2).normal(0, 15, len(spend)), [70.0, 120.0])
    labels = pa.array([("basic", "family", "pro")[place] for place in chosen])
    return table.set_column(table.column_names.index("label"), "label", labels)


def spec(**changes: Any) -> ModelSpec:
    """A small churn model; keywords replace its fields."""
    fields: dict[str, Any] = {
        "name": "churn",
        "features": ["customer_rfm"],
        "entity": ["customer_id"],
        "estimator": Estimator.model_validate({"xgboost": {"num_boost_round": 30, "max_depth": 3}}),
        "promote_when": {"metric": "auc", "at_least": 0.7},
        "baseline": "recency_days",
    }
    return ModelSpec.model_validate({**fields, **changes})


@pytest.fixture
def run(ledger: Ledger) -> Callable[..., tuple[StageReport, StageReport, StageReport]]:
    """Train, evaluate and promote on a table (or on what is published already)."""

    def steps(model: ModelSpec, table: pa.Table | None = None) -> tuple[StageReport, StageReport, StageReport]:
        from orchestrai.models.evaluation import evaluate
        from orchestrai.models.promotion import promote
        from orchestrai.models.training import train

        if table is not None:
            publish(ledger, TRAINING_SET, table)
        trained = train(ledger, model, training_set=TRAINING_SET, asset=CANDIDATE)
        judged = evaluate(ledger, model, ModelAssets(TRAINING_SET, CANDIDATE, EVALUATION, CHAMPION))
        return trained, judged, promote(ledger, model, candidate=CANDIDATE, evaluation=EVALUATION, asset=CHAMPION)

    return steps
