"""Write the models of today's format into one archive, for `test_golden.py` to open in every later release.

python -m orchestrai_tests.models.freeze orchestrai_tests/models/golden/format-1.tar.xz
"""

import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from orchestrai.models.spec import ModelSpec
from orchestrai.models.training import train
from orchestrai_tests.models.conftest import START, publish
from orchestrai_tests.provenance.small import DAYS, TRAINING, Small

# what a model was trained on is not needed to open, score, trace and verify it
KEPT = ("lake/heads/", "lake/manifests/", "lake/receipts/", "lake/data/", "vault/", "keys/trusted/")
LEFT_OUT = tuple(f"lake/data/small/{name}/" for name in ("readings", "levels", "alarm/training_set", "alarm/evaluation"))
BASKETS = "small/next/training_set"
OTHERS = {
    "plain": (TRAINING, {"logistic": {}}, "classification", ["device_id"], "auc"),
    "forest": (
        TRAINING,
        {"sklearn": {"class": "sklearn.ensemble.RandomForestClassifier", "params": {"n_estimators": 2, "max_depth": 2}}},
        "classification",
        ["device_id"],
        "auc",
    ),
    "size": (TRAINING, {"xgboost": {"num_boost_round": 2, "max_depth": 2}}, "regression", ["device_id"], "rmse"),
    "next": (BASKETS, {"cooccurrence": {"history": "times_bought"}}, "ranking", ["buyer", "item"], "recall_at_10"),
}


def freeze(target: Path) -> None:
    """Train one small model of each kind and archive the records behind them."""
    with TemporaryDirectory() as folder:
        small = Small.at(Path(folder))
        small.land(*DAYS[:3])
        small.publish(*DAYS[:3])
        small.train()
        ledger = small.runtime.ledger
        publish(ledger, BASKETS, baskets())
        for name, (source, estimator, task, entity, metric) in OTHERS.items():
            fields = {"name": name, "features": ["levels"], "entity": entity, "estimator": estimator, "task": task}
            more = {"split": {"by": "entity", "test_share": 0.3}, "promote_when": {"metric": metric}}
            train(ledger, ModelSpec.model_validate({**fields, **more}), training_set=source, asset=f"small/{name}/candidate")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(target, "w:xz") as archive:
            for path in sorted(small.home.rglob("*")):
                name = path.relative_to(small.home).as_posix()
                if path.is_file() and name.startswith(KEPT) and not name.startswith(LEFT_OUT):
                    member = tarfile.TarInfo(name)
                    member.size = path.stat().st_size
                    with path.open("rb") as file:
                        archive.addfile(member, file)


def baskets() -> pa.Table:
    """Buyers of three items of five, each list with what was bought next."""
    rows = [(f"b{buyer}", f"i{item}", int((buyer + item) % 3 == 0)) for buyer in range(8) for item in range(5)]
    moments = pa.array([START] * len(rows), pa.timestamp("us", "UTC"))
    return pa.table(
        {
            "buyer": [row[0] for row in rows],
            "item": [row[1] for row in rows],
            "event_time": moments,
            "label": [row[2] for row in rows],
            "times_bought": [float(row[2]) for row in rows],
        }
    )


if __name__ == "__main__":
    freeze(Path(sys.argv[1]))
