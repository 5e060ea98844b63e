"""Models against their published figures and against the bare libraries; one JSON object a line, exit code 1 if any is not ok.

python -m bench.models [--data FOLDER] [--case NAME]    FOLDER holds telco_churn/, occupancy/ and online_retail_by_day/
"""

import argparse
import pathlib
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.models_retail import churn, compare, next_basket, retail, synthetic
from bench.models_shared import (
    CANDIDATE,
    CHAMPION,
    EVALUATION,
    TRAINING_SET,
    failures,
    fresh,
    interval,
    judged,
    line,
    publish,
    scratch,
    share_interval,
)
from orchestrai.models.estimators.artifact import load_model
from orchestrai.models.estimators.boosting import settings, xgboost
from orchestrai.models.promotion import promote
from orchestrai.models.rows import encode, infer_columns
from orchestrai.models.spec import ModelSpec
from orchestrai.models.training import train


def telco(data: pathlib.Path) -> None:
    """Five-fold ROC AUC, published: gradient boosting 0.847, logistic regression 0.845."""
    frame = pd.read_csv(data / "telco_churn" / "Telco-Customer-Churn.csv")
    frame["TotalCharges"] = pd.to_numeric(frame["TotalCharges"], errors="coerce")
    frame["label"] = (frame.pop("Churn") == "Yes").astype(int)
    frame["event_time"] = pd.Timestamp("2026-01-01", tz="UTC")
    ledger = fresh()
    publish(ledger, pa.Table.from_pandas(frame, preserve_index=False))
    trees = {
        "num_boost_round": 300,
        "eta": 0.03,
        "max_depth": 3,
        "subsample": 0.6,
        "colsample_bytree": 0.5,
        "min_child_weight": 10,
    }
    for kind, estimator, published in (("boosting", {"xgboost": trees}, 0.847), ("logistic", {"logistic": {}}, 0.845)):
        seeds = []
        for seed in range(3):
            fields = {"name": "telco", "features": ["customers"], "entity": "customerID", "estimator": estimator}
            spec = ModelSpec.model_validate({**fields, "split": {"folds": 5, "seed": seed}, "baseline": "tenure"})
            facts = judged(ledger, spec)
            seeds.append(facts["metrics"]["auc"]["value"])
            one, baseline = facts["metrics"]["auc"], facts["baseline_metrics"]["auc"]
        # rounded as the published figures are
        line(
            f"telco 5-fold x 3 seeds, {kind}",
            "auc_quality",
            round(statistics.mean(seeds), 3),
            "published",
            published,
            1.0,
            larger=True,
        )
        line(
            f"telco 5-fold, {kind} against tenure alone",
            "auc_quality",
            one["value"],
            "baseline",
            baseline["value"],
            1.0,
            larger=True,
            between=interval(one),
            theirs_between=interval(baseline),
        )


def occupancy(data: pathlib.Path) -> None:
    """Accuracy on datatest of a model from datatraining; published 0.977 to 0.989, logistic regression here 0.9771."""

    def read(name: str) -> pa.Table:
        frame = pd.read_csv(data / "occupancy" / name, index_col=0)
        frame["event_time"] = pd.to_datetime(frame.pop("date")).dt.tz_localize("UTC")
        frame["label"], frame["room"] = frame.pop("Occupancy"), "office"
        return pa.Table.from_pandas(frame, preserve_index=False)

    ledger, test = fresh(), read("datatest.txt")
    publish(ledger, read("datatraining.txt"))
    trees = {
        "num_boost_round": 60,
        "eta": 0.05,
        "max_depth": 2,
        "subsample": 0.7,
        "min_child_weight": 50,
        "colsample_bynode": 0.5,
    }
    for kind, estimator in (("boosting", {"xgboost": trees}), ("logistic", {"logistic": {}})):
        spec = ModelSpec.model_validate(
            {
                "name": "occupancy",
                "features": ["room"],
                "entity": "room",
                "estimator": estimator,
                "split": {"test_share": 0.05},
            }
        )
        train(ledger, spec, training_set=TRAINING_SET, asset=CANDIDATE)
        right = (load_model(ledger, CANDIDATE).score(test) >= 0.5) == (test.column("label").to_numpy() > 0)
        if kind != "boosting":
            continue
        light = (test.column("Light").to_numpy() > 365) == (test.column("label").to_numpy() > 0)
        line(
            f"occupancy datatest, {kind}",
            "accuracy_quality",
            float(right.mean()),
            "published",
            0.977,
            # half a percent is within the interval of 2,665 readings
            0.995,
            larger=True,
            between=share_interval(int(right.sum()), len(right)),
        )
        line(
            f"occupancy datatest, {kind} against light above 365 lux",
            "accuracy_quality",
            float(right.mean()),
            "baseline",
            float(light.mean()),
            0.995,
            larger=True,
            between=share_interval(int(right.sum()), len(right)),
            theirs_between=share_interval(int(light.sum()), len(light)),
        )


def cpu(work: Callable[[], Any]) -> float:
    """CPU seconds of one call."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def overhead() -> None:
    """CPU of training through the ledger against the same XGBoost call on the same table, both sides in turn."""
    rng = np.random.default_rng(0)
    count, width = 160_000, 50
    values = rng.normal(size=(count, width)).astype(np.float32)
    label = (values[:, :10].sum(axis=1) + rng.normal(0, 3, count) > 1).astype(np.int64)
    columns: dict[str, Any] = {f"x{n}": pa.array(values[:, n]) for n in range(width)}
    days = pa.array((np.arange(count) % 8) * 86_400_000_000 + 1_767_225_600_000_000).cast(pa.timestamp("us", "UTC"))
    table = pa.table({"id": pa.array(np.arange(count).astype(str)), "event_time": days, "label": pa.array(label), **columns})
    ledger = fresh()
    publish(ledger, table)
    fields = {
        "name": "wide",
        "features": ["x"],
        "entity": "id",
        "estimator": {"xgboost": {"num_boost_round": 60, "max_depth": 6}},
    }
    spec = ModelSpec.model_validate({**fields, "split": {"test_share": 0.2}})
    params = spec.estimator.xgboost
    assert params is not None
    library = xgboost()
    path = scratch() / "table.parquet"
    pq.write_table(table, path)
    cut = pc_cut(table)

    def bare() -> None:
        read = pq.read_table(path)
        chosen = read.filter(cut)
        matrix = np.column_stack([chosen.column(name).to_numpy() for name in columns])
        known = chosen.column("label").to_numpy().astype(np.float64)
        data = library.QuantileDMatrix(matrix, label=known, max_bin=params.max_bin, nthread=params.nthread)
        booster = library.train(settings(params, "binary", first), data, num_boost_round=params.num_boost_round)
        booster.save_raw(raw_format="ubj")

    # what is set follows from the columns alone for these parameters
    first = encode(table.slice(0, 1), infer_columns(table, spec), spec.entity)
    ours, theirs = [], []
    for _ in range(5):
        theirs.append(cpu(bare))
        ours.append(cpu(lambda: train(ledger, spec, training_set=TRAINING_SET, asset=CANDIDATE)))
    line(
        "train 160,000 x 50, 60 rounds",
        "cpu_s",
        statistics.median(ours),
        "xgboost.train",
        statistics.median(theirs),
        1.1,
        larger=False,
    )


def pc_cut(table: pa.Table) -> Any:
    """Rows before the test period of an 80/20 split over 8 moments."""
    import pyarrow.compute as pc

    moments = sorted(pc.unique(table.column("event_time")).to_pylist())
    return pc.field("event_time") < pa.scalar(moments[6], table.schema.field("event_time").type)


def switch() -> None:
    """Wall seconds from promotion to serving and from rollback to serving; the declared limit is 60 s."""
    from orchestrai.models.registry.versions import rollback

    ledger = fresh()
    rng = np.random.default_rng(0)
    fields = {"name": "m", "features": ["x"], "entity": "id", "promote_when": {"metric": "auc"}}
    spec = ModelSpec.model_validate({**fields, "split": {"by": "entity"}})
    for seed in range(2):
        x = rng.normal(size=2000)
        stamp = pa.array(np.full(2000, 1_767_225_600_000_000)).cast(pa.timestamp("us", "UTC"))
        known = (x + rng.normal(size=2000) > 0).astype(np.int64)
        publish(
            ledger,
            pa.table({"id": pa.array(np.arange(2000).astype(str)), "event_time": stamp, "label": known, "x": x + seed}),
        )
        judged(ledger, spec)
        promote(ledger, spec, candidate=CANDIDATE, evaluation=EVALUATION, asset=CHAMPION)
    began = time.perf_counter()
    rollback(ledger, CHAMPION)
    load_model(ledger, CHAMPION)
    line("roll back and load", "wall_s", time.perf_counter() - began, "limit", 60.0, 1.0, larger=False)


def main() -> int:
    """Run every case whose data is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    beside = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    names = "overhead, switch, telco, occupancy, churn, basket, synthetic, proof"
    parser.add_argument("--case", action="append", help=f"one of {names}; may be repeated; default: all")
    parser.add_argument("--data", type=pathlib.Path, default=beside, help="folder of the public data sets")
    given = parser.parse_args()
    data, there = given.data, lambda folder: (given.data / folder).is_dir()
    lines = retail(data) if there("online_retail_by_day") else None
    cases: dict[str, Callable[[], None] | None] = {
        "overhead": overhead,
        "switch": switch,
        "telco": (lambda: telco(data)) if there("telco_churn") else None,
        "occupancy": (lambda: occupancy(data)) if there("occupancy") else None,
        "churn": (lambda: churn(lines)) if lines is not None else None,
        "basket": (lambda: next_basket(lines)) if lines is not None else None,
        "synthetic": lambda: compare("synthetic tastes", synthetic(), "item_recent"),
    }
    for name, case in cases.items():
        if case is not None and (not given.case or name in given.case):
            case()
    if given.case and "proof" not in given.case:
        return int(bool(failures))
    # what is proven of models has its limits too: verify, recall, reproduce
    from bench import proof

    return int(proof.cases() or bool(failures))


if __name__ == "__main__":
    sys.exit(main())
