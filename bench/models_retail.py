"""The retail cases of the model benchmark: churn, and the next basket by trees, co-occurrence and ALS side by side."""

import json
import pathlib
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from bench.models_shared import fresh, interval, judged, line, publish
from orchestrai.models.metrics.bootstrap import measure
from orchestrai.models.metrics.metric import Metric
from orchestrai.models.metrics.metric_set import MetricSet
from orchestrai.models.metrics.scored import Scored
from orchestrai.models.rows import encode, infer_columns
from orchestrai.models.spec import ModelSpec
from orchestrai.models.splitting import hold_out

METRICS = ("recall_at_10", "ndcg_at_10")


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
    ours, theirs = facts["metrics"]["auc"], facts["baseline_metrics"]["auc"]
    line(
        "retail churn, later period",
        "auc_quality",
        ours["value"],
        "recency alone",
        theirs["value"],
        1.0,
        larger=True,
        between=interval(ours),
        theirs_between=interval(theirs),
    )


def _pairs(lines: pd.DataFrame, top: pd.Index, dates: pd.DatetimeIndex) -> pd.DataFrame:
    """Who could buy which of the items at each moment, what was known then, and whether they did within 14 days."""
    popularity = np.arange(len(top), 0, -1)
    rows = []
    for as_of in dates:
        past = lines[lines["time"] < as_of]
        after = lines[(lines["time"] >= as_of) & (lines["time"] < as_of + pd.Timedelta(days=14))]
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
    return pd.concat(rows)


def next_basket(lines: pd.DataFrame) -> None:
    """Which item a customer buys within 14 days, on the same later lists for every kind of model."""
    top = lines["StockCode"].value_counts().index[:150]
    frame = _pairs(lines[lines["StockCode"].isin(top)], top, pd.date_range("2011-02-15", "2011-05-10", freq="14D", tz="UTC"))
    compare("next basket", frame, "item_recent", ships=True)


def synthetic(seed: int = 0) -> pd.DataFrame:
    """Buyers of hidden tastes over 120 items: what an item-to-item view and a factor view can both find, no time in it."""
    rng = np.random.default_rng(seed)
    users, items, tastes = 600, 120, 6
    likes = rng.dirichlet(np.full(tastes, 0.3), users) @ rng.dirichlet(np.full(items, 0.08), tastes)
    history = [rng.choice(items, 12, p=likes[user]) for user in range(users)]
    rows = []
    for step in range(4):
        after = [rng.choice(items, 4, p=likes[user]) for user in range(users)]
        known = np.zeros((users, items))
        for user in range(users):
            np.add.at(known[user], history[user], 1)
        label = np.zeros((users, items), dtype=np.int64)
        for user in range(users):
            label[user, after[user]] = 1
            history[user] = np.concatenate([history[user], after[user]])
        rows.append(
            pd.DataFrame(
                {
                    "user_id": np.repeat([f"u{n:04d}" for n in range(users)], items),
                    "item_id": np.tile([f"i{n:03d}" for n in range(items)], users),
                    "buys": known.ravel(),
                    "item_recent": np.tile(known.sum(axis=0), users),
                    "label": label.ravel(),
                    "event_time": pd.Timestamp("2026-01-01", tz="UTC") + pd.Timedelta(days=14 * step),
                }
            )
        )
    return pd.concat(rows)


def compare(case: str, frame: pd.DataFrame, baseline: str, *, ships: bool = False) -> None:
    """Trees, co-occurrence, ALS and popularity on the same held-out lists, with intervals; `ships` asks that the trees win."""
    ledger, table = fresh(), pa.Table.from_pandas(frame, preserve_index=False)
    publish(ledger, table)
    fields = {"name": "next_purchase", "features": ["affinity"], "entity": ["user_id", "item_id"], "task": "ranking"}
    rest = {"promote_when": {"metric": "recall_at_10"}, "split": {"test_share": 0.3, "gap": "14d"}, "baseline": baseline}
    found: dict[str, Any] = {}
    for kind, estimator in {
        "affinity trees": {"xgboost": {"num_boost_round": 150, "eta": 0.1, "max_depth": 4}},
        "co-occurrence": {"cooccurrence": {"history": "buys"}},
    }.items():
        spec = ModelSpec.model_validate({**fields, **rest, "estimator": estimator})
        facts = judged(ledger, spec)
        found[kind] = {name: facts["metrics"][name] for name in METRICS}
        found["popularity"] = {name: facts["baseline_metrics"][name] for name in METRICS}
    found["ALS"] = {name: value.as_json() for name, value in als(spec, table).items() if name in METRICS}
    for kind, values in found.items():
        print(json.dumps({"bench": "models", "case": f"{case}, {kind}", **values, "rows": facts["rows"]}), flush=True)
    for metric in METRICS if ships else ():
        ours = found["affinity trees"][metric]
        for peer in ("co-occurrence", "ALS", "popularity"):
            theirs = found[peer][metric]
            both = {"between": interval(ours), "theirs_between": interval(theirs)}
            line(case, f"{metric}_quality", ours["value"], peer, theirs["value"], 1.0, larger=True, **both)


def als(spec: ModelSpec, table: pa.Table) -> dict[str, Metric]:
    """Implicit-feedback ALS of the package `implicit`, one thread and a seed, the best of a few settings on the last training lists.

    For each list it knows every purchase before that list's own moment, which is more than the others train on.
    """
    rows = encode(table, infer_columns(table, spec), spec.entity)
    parts = hold_out(rows, spec)
    held = [column.name for column in rows.columns].index("buys")
    moments = np.unique(rows.event_time[parts.train])[-2:]
    tuning = parts.train[np.isin(rows.event_time[parts.train], moments)]
    settings = [
        {"factors": factors, "regularization": reg, "alpha": alpha}
        for factors in (4, 16, 48)
        for reg in (0.1, 1.0, 10.0, 50.0)
        for alpha in (1.0, 10.0)
    ]

    def score(places: Any, chosen: dict[str, Any]) -> dict[str, Metric]:
        part = rows.take(places)
        scores = np.empty(len(part))
        for moment in np.unique(part.event_time):
            here = np.flatnonzero(part.event_time == moment)
            scores[here] = _als_scores(part.take(here), held, chosen)
        return dict(measure(MetricSet("ranking"), [Scored(part.label, scores, part.groups())]).values)

    best = max(settings, key=lambda chosen: score(tuning, chosen)["recall_at_10"].value)
    print(json.dumps({"bench": "models", "case": "ALS", "chosen": best}), flush=True)
    return score(parts.test, best)


def _als_scores(part: Any, held: int, chosen: dict[str, Any]) -> Any:
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix

    users, user = np.unique(part.entity[0].astype(str), return_inverse=True)
    items, item = np.unique(part.entity[1].astype(str), return_inverse=True)
    buys = np.nan_to_num(part.matrix[:, held]).astype(np.float32)
    model = AlternatingLeastSquares(**chosen, iterations=15, num_threads=1, random_state=0)
    model.fit(csr_matrix((buys, (user, item)), shape=(len(users), len(items))), show_progress=False)
    return (model.user_factors[user] * model.item_factors[item]).sum(axis=1)
