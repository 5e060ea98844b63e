"""Models against their published figures and against the bare libraries; one JSON object a line, exit code 1 if any is not ok.

python bench/models.py [--data FOLDER]    FOLDER holds telco_churn/, occupancy/ and online_retail_by_day/
"""

import argparse
import atexit
import io
import json
import pathlib
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrai.ledger import Ledger, load_or_create_signer
from orchestrai.models import ModelSpec, evaluate, load_model, promote, train
from orchestrai.models.boosting import settings, xgboost
from orchestrai.models.rows import encode, infer_columns
from orchestrai.storage.local import LocalStore

TRAINING_SET, CANDIDATE, EVALUATION, CHAMPION = (
    f"bench/model/{s}" for s in ("training_set", "candidate", "evaluation", "champion")
)
failed = False


def line(case: str, metric: str, ours: float, peer: str, theirs: float, target: float, *, larger: bool) -> None:
    """Print one result; `target` bounds the ratio ours / theirs."""
    global failed
    ratio = ours / theirs
    ok = ratio >= target if larger else ratio <= target
    failed |= not ok
    values = {"ours": round(ours, 5), "peer": peer, "theirs": round(theirs, 5), "ratio": round(ratio, 4), "target": target}
    print(json.dumps({"bench": "models", "case": case, "metric": metric, **values, "ok": ok}), flush=True)


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
    session = ledger.session(TRAINING_SET, "training_set")
    session.add_bytes("all", "part-0.parquet", sink.getvalue(), rows=table.num_rows)
    session.commit()


def judged(ledger: Ledger, spec: ModelSpec) -> dict[str, Any]:
    """Train and evaluate; the facts of the evaluation."""
    train(ledger, spec, training_set=TRAINING_SET, asset=CANDIDATE)
    report = evaluate(ledger, spec, candidate=CANDIDATE, training_set=TRAINING_SET, champion=CHAMPION, asset=EVALUATION)
    return dict(report.facts)


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
            baseline = facts["baseline_metrics"]["auc"]["value"]
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
        line(f"telco 5-fold, {kind} against tenure alone", "auc_quality", seeds[-1], "baseline", baseline, 1.0, larger=True)


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
        line(f"occupancy datatest, {kind}", "accuracy_quality", float(right.mean()), "published", 0.97, 1.0, larger=True)


def retail(data: pathlib.Path) -> pd.DataFrame:
    """Cleaned order lines of the days that are there."""
    days = [
        pd.read_csv(path, dtype={"InvoiceNo": str, "StockCode": str})
        for path in sorted((data / "online_retail_by_day" / "by-day").glob("*.csv"))
    ]
    lines = pd.concat(days, ignore_index=True).dropna(subset=["CustomerID"])
    lines = lines[~lines["InvoiceNo"].str.startswith("C") & (lines["Quantity"] > 0)]
    lines["time"] = pd.to_datetime(lines["InvoiceDate"], utc=True)
    lines["customer_id"] = lines["CustomerID"].astype(int).astype(str)
    lines["spend"] = lines["Quantity"] * lines["UnitPrice"]
    return lines


def churn(lines: pd.DataFrame) -> None:
    """No order within 60 days; the model beside recency alone, on a later period."""
    rows = []
    for as_of in pd.date_range("2010-12-20", "2011-04-01", freq="7D", tz="UTC"):
        past = lines[(lines["time"] < as_of) & (lines["time"] >= as_of - pd.Timedelta(days=90))]
        after = set(lines[(lines["time"] >= as_of) & (lines["time"] < as_of + pd.Timedelta(days=60))]["customer_id"])
        table = past.groupby("customer_id").agg(
            last=("time", "max"),
            first=("time", "min"),
            orders=("InvoiceNo", "nunique"),
            spend=("spend", "sum"),
            items=("StockCode", "nunique"),
            country=("Country", "last"),
        )
        table["recency_days"] = (as_of - table.pop("last")).dt.days
        table["span_days"] = (as_of - table.pop("first")).dt.days
        table["event_time"], table["label"] = as_of, [int(who not in after) for who in table.index]
        rows.append(table.reset_index())
    ledger = fresh()
    publish(ledger, pa.Table.from_pandas(pd.concat(rows), preserve_index=False))
    trees = {"num_boost_round": 120, "eta": 0.05, "max_depth": 3, "min_child_weight": 10, "subsample": 0.7}
    fields = {
        "name": "churn",
        "features": ["rfm"],
        "entity": "customer_id",
        "estimator": {"xgboost": trees},
        "baseline": "recency_days",
    }
    facts = judged(ledger, ModelSpec.model_validate({**fields, "split": {"test_share": 0.25, "gap": "60d"}}))
    for name in ("metrics", "baseline_metrics"):
        found = facts[name]["auc"]
        print(
            json.dumps({"bench": "models", "case": f"retail churn, {name}", "auc": found, "rows": facts["rows"]}), flush=True
        )
    ours, theirs = facts["metrics"]["auc"]["value"], facts["baseline_metrics"]["auc"]["value"]
    line("retail churn, later period", "auc_quality", ours, "recency alone", theirs, 1.0, larger=True)


def next_basket(lines: pd.DataFrame) -> None:
    """Which item a customer buys within 14 days: affinity trees and co-occurrence side by side on the same later lists."""
    top = lines["StockCode"].value_counts().index[:150]
    popularity = np.arange(len(top), 0, -1)
    lines = lines[lines["StockCode"].isin(top)]
    rows = []
    for as_of in pd.date_range("2011-02-15", "2011-05-10", freq="14D", tz="UTC"):
        past, after = (
            lines[lines["time"] < as_of],
            lines[(lines["time"] >= as_of) & (lines["time"] < as_of + pd.Timedelta(days=14))],
        )
        buyers = sorted(set(after["customer_id"]) & set(past["customer_id"]))
        pairs = pd.MultiIndex.from_product([buyers, top], names=["user_id", "item_id"])
        held = past.groupby(["customer_id", "StockCode"]).agg(buys=("InvoiceNo", "nunique"), last=("time", "max"))
        held.index.names = pairs.names
        table = held.reindex(pairs).reset_index()
        recent = past[past["time"] >= as_of - pd.Timedelta(days=28)]["StockCode"].value_counts()
        table["item_recent"] = table["item_id"].map(recent).fillna(0.0)
        table["item_rank"] = np.tile(popularity, len(buyers))
        table["basket"] = table["user_id"].map(past.groupby("customer_id")["StockCode"].nunique())
        table["recency_days"] = (as_of - table.pop("last")).dt.days
        table["buys"] = table["buys"].fillna(0.0)
        bought = set(zip(after["customer_id"], after["StockCode"], strict=True))
        table["label"] = [int(pair in bought) for pair in zip(table["user_id"], table["item_id"], strict=True)]
        table["event_time"] = as_of
        rows.append(table)
    ledger = fresh()
    publish(ledger, pa.Table.from_pandas(pd.concat(rows), preserve_index=False))
    fields = {"name": "next_purchase", "features": ["affinity"], "entity": ["user_id", "item_id"], "task": "ranking"}
    rest = {
        "promote_when": {"metric": "recall_at_10"},
        "split": {"test_share": 0.3, "gap": "14d"},
        "baseline": "item_recent",
    }
    found = {}
    for kind, estimator in {
        "affinity trees": {"xgboost": {"num_boost_round": 150, "eta": 0.1, "max_depth": 4}},
        "co-occurrence": {"cooccurrence": {"history": "buys"}},
    }.items():
        facts = judged(ledger, ModelSpec.model_validate({**fields, **rest, "estimator": estimator}))
        found[kind], baseline = facts["metrics"], facts["baseline_metrics"]
        shown = {name: facts["metrics"][name] for name in ("recall_at_10", "ndcg_at_10")}
        print(json.dumps({"bench": "models", "case": f"next basket, {kind}", **shown, "rows": facts["rows"]}), flush=True)
    for metric in ("recall_at_10", "ndcg_at_10"):
        ours = found["affinity trees"][metric]["value"]
        line(
            "next basket",
            f"{metric}_quality",
            ours,
            "co-occurrence",
            found["co-occurrence"][metric]["value"],
            1.0,
            larger=True,
        )
        line("next basket", f"{metric}_quality", ours, "popularity", baseline[metric]["value"], 1.0, larger=True)


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
        booster = library.train(
            settings(params, "classification", infer, known), data, num_boost_round=params.num_boost_round
        )
        booster.save_raw(raw_format="ubj")

    infer = encode(table.slice(0, 1), infer_columns(table, spec), spec.entity).columns
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
    from orchestrai.models import rollback

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
    parser.add_argument("--data", type=pathlib.Path, default=beside, help="folder of the public data sets")
    data = parser.parse_args().data
    overhead()
    switch()
    if (data / "telco_churn").is_dir():
        telco(data)
    if (data / "occupancy").is_dir():
        occupancy(data)
    if (data / "online_retail_by_day").is_dir():
        lines = retail(data)
        churn(lines)
        next_basket(lines)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
