"""What the cases of the model benchmark share: printing a line, a fresh ledger, a judged model."""

import atexit
import io
import json
import pathlib
import shutil
import tempfile
from math import sqrt
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrai.core.code_identity import Producer
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.models.evaluation import evaluate
from orchestrai.models.spec import ModelAssets, ModelSpec
from orchestrai.models.training import train
from orchestrai.storage.local import LocalStore

TRAINING_SET, CANDIDATE, EVALUATION, CHAMPION = (
    f"bench/model/{s}" for s in ("training_set", "candidate", "evaluation", "champion")
)
failures: list[str] = []


Interval = tuple[float, float] | None


def line(
    case: str,
    metric: str,
    ours: float,
    peer: str,
    theirs: float,
    target: float,
    *,
    larger: bool,
    between: Interval = None,
    theirs_between: Interval = None,
) -> None:
    """Print one result; `target` bounds the ratio ours / theirs, `between` is the 95 % interval of ours where it has one."""
    ratio = ours / theirs
    ok = ratio >= target if larger else ratio <= target
    if not ok:
        failures.append(f"{case}: {metric}")
    values = {"ours": round(ours, 5), "peer": peer, "theirs": round(theirs, 5), "ratio": round(ratio, 4), "target": target}
    given = {"ours_between": between, "theirs_between": theirs_between}
    intervals = {name: [round(bound, 5) for bound in found] for name, found in given.items() if found is not None}
    print(json.dumps({"bench": "models", "case": case, "metric": metric, **values, **intervals, "ok": ok}), flush=True)


def interval(measured: dict[str, float]) -> Interval:
    """The interval of a metric as an evaluation publishes it."""
    return measured["low"], measured["high"]


def share_interval(right: int, count: int) -> Interval:
    """Wilson's 95 % interval of a share."""
    z, share = 1.959964, right / count
    middle, spread = share + z * z / (2 * count), z * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle - spread) / (1 + z * z / count), (middle + spread) / (1 + z * z / count)


def scratch() -> pathlib.Path:
    """A folder that goes when the benchmark ends."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="orchestrai-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def fresh() -> Ledger:
    """A ledger in a folder of its own."""
    home = scratch()
    return Ledger(LocalStore(home / "lake"), load_or_create_signer(home / "keys"))


def publish(ledger: Ledger, table: pa.Table) -> None:
    """Publish a training set."""
    sink = io.BytesIO()
    pq.write_table(table, sink)
    session = ledger.session(TRAINING_SET, Producer("training_set", "orchestrai.features.training_set"))
    session.add_bytes("all", "part-0.parquet", sink.getvalue(), rows=table.num_rows)
    session.commit()


def judged(ledger: Ledger, spec: ModelSpec) -> dict[str, Any]:
    """Train and evaluate; the facts of the evaluation."""
    train(ledger, spec, training_set=TRAINING_SET, asset=CANDIDATE)
    report = evaluate(ledger, spec, ModelAssets(TRAINING_SET, CANDIDATE, EVALUATION, CHAMPION))
    return dict(report.facts)
