"""Training spread over Spark's executors by `xgboost.spark`, for rows that one machine would take too long over.

The encoded matrix goes as Parquet, in one file and so one partition per worker, and workers are ranked by partition. So the same rows
and as many workers give the same bytes, early stopping included; histograms are summed in another order than on one machine, so
that a local training of the same rows may give others.
"""

import io
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from orchestrai.errors import ModelError
from orchestrai.models.estimators.boosting import BoostedTrees, centre, feature_types, settings, xgboost
from orchestrai.models.remote.spec import TRAINED_BY, is_trained_by
from orchestrai.models.remote.training_job import RemoteJob
from orchestrai.models.rows import Rows
from orchestrai.models.spec import SparkTraining, XGBoostParams
from orchestrai.models.task import VALUES, Task

if TYPE_CHECKING:
    from collections.abc import Iterator

RENAMED = {"eta": "learning_rate"}
# chosen by the kind of estimator, or set by it
LEFT_OUT = ("objective", "num_class", "nthread", "seed", "monotone_constraints")


def _session() -> Any:
    from pyspark.sql import SparkSession

    return SparkSession.builder.getOrCreate()


class SparkTrainer:
    """Trains boosted trees in a Spark session, in barrier mode with one task per worker."""

    def __init__(self, where: SparkTraining, *, session: Callable[[], Any] = _session) -> None:
        self.where = where
        self._session = session

    def train(
        self, name: str, params: XGBoostParams, task: Task, rows: Rows, stop: Rows | None = None
    ) -> tuple[BoostedTrees, RemoteJob]:
        """Train on all workers; raises ModelError when Spark or XGBoost refuses."""
        from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]

        began = time.monotonic()
        chosen = settings(params, task, rows)
        if not is_trained_by("spark", chosen["objective"]):
            raise ModelError(
                f"expected {' or '.join(TRAINED_BY['spark'])} on Spark, found {chosen['objective']}: train locally"
            )
        _every_class(rows)
        offset = centre(chosen["objective"], rows.label)
        spark = self._session()
        names = [f"f{place}" for place in range(len(rows.columns))]
        watched = stop if params.early_stopping_rounds else None
        self._shared_out(rows, watched)
        with _staged(self.where, rows, watched, offset) as urls:
            # each file is a partition, whatever Spark would pack together: whose rows a worker has decides the order of sums
            frame = reduce(lambda one, two: one.unionAll(two), [spark.read.parquet(url).coalesce(1) for url in urls])
            estimator = self._estimator(params, task, rows, names, chosen, watched is not None)
            try:
                booster = estimator.fit(frame).get_booster()
            except (Py4JJavaError, RuntimeError, ValueError) as exc:
                raise ModelError(f"expected Spark to train {name}, found: {_cause(exc)}") from exc
        trees = _plain(booster, rows)
        if watched is not None and booster.attr("best_iteration"):
            trees = trees[: int(booster.attr("best_iteration")) + 1]
        seconds = round(time.monotonic() - began)
        kind = f"spark {spark.version}, {self.where.workers} workers"
        job = RemoteJob(spark.sparkContext.applicationId, "spark", seconds, seconds, None, kind, False, None)
        return BoostedTrees(trees, offset, len(rows.classes)), job

    def _shared_out(self, rows: Rows, stop: Rows | None) -> None:
        for what, held in (("training", rows), ("stopping", stop)):
            # a worker without rows of a kind waits for the others for ever
            if held is not None and len(held) < self.where.workers:
                raise ModelError(
                    f"expected {what} rows for each of {self.where.workers} workers, found {len(held)}: "
                    "declare fewer under train_on.spark.workers"
                )

    def _estimator(
        self, params: XGBoostParams, task: Task, rows: Rows, names: list[str], chosen: dict[str, Any], stops: bool
    ) -> Any:
        from xgboost import spark as library

        given = {RENAMED.get(key, key): value for key, value in chosen.items() if key not in LEFT_OUT}
        if "monotone_constraints" in chosen:
            given["monotone_constraints"] = "(" + ",".join(str(way) for way in chosen["monotone_constraints"]) + ")"
        if stops:
            given |= {"validation_indicator_col": "held", "early_stopping_rounds": params.early_stopping_rounds}
        kind = library.SparkXGBRegressor if task in VALUES else library.SparkXGBClassifier
        return kind(
            features_col=names,
            label_col="label",
            num_workers=self.where.workers,
            n_estimators=params.num_boost_round,
            random_state=params.seed,
            feature_types=feature_types(rows.columns),
            missing=float("nan"),
            repartition_random_shuffle=False,
            force_repartition=False,
            **given,
        )


def _every_class(rows: Rows) -> None:
    """Raise ModelError for classes that Spark's classifier would not count: it takes as many as it finds, and two for a yes or no."""
    seen = len(np.unique(rows.label)) if rows.classes else 0
    if rows.classes and (seen < len(rows.classes) or seen < 3):
        raise ModelError(
            f"expected three classes or more on Spark, each in the training rows, found {seen} of {len(rows.classes)}: train locally"
        )


@contextmanager
def _staged(where: SparkTraining, rows: Rows, stop: Rows | None, offset: float) -> "Iterator[list[str]]":
    """The rows where the executors can read them, a file per worker; removed afterwards."""
    parts = [(f"part-{n:05d}.parquet", _parquet(rows, stop, n, where.workers, offset)) for n in range(where.workers)]
    if where.staging is None:
        with tempfile.TemporaryDirectory(prefix="orchestrai-spark-") as folder:
            for name, data in parts:
                (Path(folder) / name).write_bytes(data)
            yield [(Path(folder) / name).as_uri() for name, _ in parts]
        return
    from orchestrai.project.url_cover import named
    from orchestrai.storage.url import open_store

    # a folder of its own: what another training left beside it is not read
    store, folder = open_store(where.staging), f"trees-{uuid4().hex}"
    try:
        for name, data in parts:
            store.write(f"{folder}/{name}", data)
        # executors read it as the cluster's own identity, which knows no names of connections
        plain, _ = named(where.staging)
        base = plain if "://" in plain else Path(plain).expanduser().resolve().as_uri()
        yield [f"{base.rstrip('/')}/{folder}/{name}" for name, _ in parts]
    finally:
        for name, _ in parts:
            store.delete(f"{folder}/{name}")


def _parquet(rows: Rows, stop: Rows | None, part: int, parts: int, offset: float) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    taken = [rows.take(np.arange(part, len(rows), parts))]
    if stop is not None:
        taken.append(stop.take(np.arange(part, len(stop), parts)))
    matrix = np.concatenate([one.matrix for one in taken])
    columns = {f"f{place}": pa.array(matrix[:, place].astype(np.float64)) for place in range(matrix.shape[1])}
    columns["label"] = pa.array(np.concatenate([one.label for one in taken]) - offset)
    columns["held"] = pa.array(np.concatenate([np.full(len(one), place > 0) for place, one in enumerate(taken)]))
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def _cause(exc: Exception) -> str:
    """The line that names the error of a Python worker, or else the first one."""
    lines = [line.strip() for line in str(getattr(exc, "java_exception", exc)).splitlines() if line.strip()]
    named = [line for line in lines if "Error: " in line and not line.startswith(("at ", "org."))]
    return (named or lines or [type(exc).__name__])[-1 if named else 0][:300]


def _plain(booster: Any, rows: Rows) -> Any:
    """The trees alone, with our feature names and none of the attributes that Spark's wrapper leaves."""
    library = xgboost()
    trees = library.Booster()
    trees.load_model(bytearray(booster.save_raw(raw_format="ubj")))
    trees.set_attr(**{name: None for name in trees.attributes()})
    trees.feature_names = [column.name for column in rows.columns]
    trees.feature_types = feature_types(rows.columns)
    return trees
