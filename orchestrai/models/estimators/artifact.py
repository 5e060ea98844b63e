"""A model as files: the model itself, model.json (what it is), golden.parquet (rows whose predictions are known)."""

import io
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from orchestrai.core.time.partition_key import WHOLE
from orchestrai.errors import IntegrityError, ModelError, UnknownFormatVersion
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import canonical_json
from orchestrai.models.estimators import added_estimator, boosting, cooccurrence, lightgbm_trees, logistic
from orchestrai.models.estimators import sklearn_estimator as sklearn_model
from orchestrai.models.estimators.spec import Estimator
from orchestrai.models.ports import LearnedView, read_views
from orchestrai.models.rows import EVENT_TIME, Column, Floats, Rows, encode
from orchestrai.models.spec import ModelSpec
from orchestrai.models.task import Task, read_task

if TYPE_CHECKING:
    import pyarrow as pa

# format 3 names the classes of a label that has several; what has none is written as before
FORMAT = 3
# format 2 names the views that were learned from
WITHOUT_CLASSES = 2
# what a model is written in that learned from a training set which names no views
WITHOUT_VIEWS = 1
INFO_FILE = "model.json"
GOLDEN_FILE = "golden.parquet"
MODEL_FILES = {
    "xgboost": "model.ubj",
    "lightgbm": "model.txt",
    "logistic": "coefficients.json",
    "cooccurrence": "items.json",
    "sklearn": "model.skops",
    # in a format of the package's own
    "plugin": "model.bin",
}
GOLDEN_ROWS = 64
# predictions of the same trees differ by rounding of 32-bit sums between processors, and by far more between releases at fault
GOLDEN_TOLERANCE = 1e-5


class Estimation(Protocol):
    """A fitted model of any kind."""

    def score(self, rows: Rows) -> Floats:
        """One number per row, or one for each class of a multiclass."""
        ...

    def encode(self) -> bytes:
        """The file's bytes."""
        ...

    def importance(self, columns: tuple[Column, ...]) -> dict[str, float]:
        """Share per feature, summing to one."""
        ...


@dataclass(frozen=True)
class ModelInfo:
    """What model.json says. `profile` is the distribution of the training rows, for drift.

    `views` are the feature views it learned from, the one that gives the rows first; None where the training set did not say,
    as in format 1. `classes` are those of a multiclass label, in the order of the scores.
    """

    kind: str
    recipe: Mapping[str, Any]
    columns: tuple[Column, ...]
    training_set: Mapping[str, str]
    rows: int
    offset: float = 0.0
    trained_until: str = ""
    test_from: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    profile: Mapping[str, Any] = field(default_factory=dict)
    importance: Mapping[str, float] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)
    views: tuple[LearnedView, ...] | None = None
    classes: tuple[str, ...] = ()

    @property
    def task(self) -> Task:
        """What it is asked."""
        return read_task(self.recipe["task"])

    @property
    def entity(self) -> list[str]:
        """The entity columns."""
        return list(self.recipe["entity"])

    def encode(self) -> bytes:
        """Canonical bytes; no time of writing, so equal trainings give equal bytes."""
        body = {**self.__dict__, "columns": [column.as_json() for column in self.columns], "format": FORMAT}
        if not self.classes:
            del body["classes"]
            body["format"] = WITHOUT_CLASSES
        if self.views is None:
            del body["views"]
            body["format"] = FORMAT if self.classes else WITHOUT_VIEWS
        else:
            body["views"] = [view.as_json() for view in self.views]
        return canonical_json(body)


def decode_info(data: bytes) -> ModelInfo:
    """Read model.json; raises ModelError, UnknownFormatVersion."""
    try:
        body = json.loads(data)
        stated = body.pop("format")
        if stated not in (WITHOUT_VIEWS, WITHOUT_CLASSES, FORMAT):
            raise UnknownFormatVersion(f"expected {INFO_FILE} of format 1, 2 or 3, found {stated!r}: use a newer release")
        columns = tuple(Column(c["name"], c["kind"], tuple(c["categories"])) for c in body.pop("columns"))
        views, classes = read_views(body.pop("views", None)), tuple(body.pop("classes", ()))
        info = ModelInfo(columns=columns, views=views, classes=classes, **body)
        if (info.task == "multiclass") != bool(classes):
            raise ModelError(
                f"expected classes of a multiclass alone in {INFO_FILE}, found {len(classes)} for {info.task}: train again"
            )
        return info
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ModelError(f"expected a model's description in {INFO_FILE}, found something else ({exc})") from exc


def library_versions(estimator: Estimator) -> dict[str, str]:
    """The versions that decide the bytes of a model of this estimator."""
    kind = estimator.kind
    versions = {"python": ".".join(platform.python_version_tuple()[:2]), "numpy": np.__version__}
    if kind == "xgboost":
        versions["xgboost"] = boosting.xgboost().__version__
    if kind == "lightgbm":
        versions["lightgbm"] = lightgbm_trees.lightgbm().__version__
    if kind == "sklearn":
        import skops

        versions["skops"] = skops.__version__
    if kind in ("logistic", "sklearn"):
        import sklearn

        versions["scikit-learn"] = sklearn.__version__
    if estimator.plugin is not None:
        versions[estimator.plugin.plugin.distribution] = estimator.plugin.plugin.version
    return versions


@dataclass(frozen=True)
class Scorer:
    """A verified model, ready to score; `version` is the version of the asset it was opened from."""

    asset: str
    version: str
    info: ModelInfo
    model: Estimation

    def rows(self, table: "pa.Table") -> Rows:
        """Encode a table as this model was trained; raises ModelError for a missing column or an infinite value."""
        return encode(table, self.info.columns, self.info.entity, where=self.asset)

    def score(self, table: "pa.Table") -> Floats:
        """A probability for binary, one for each class for multiclass, a value for regression and forecast, an order for ranking."""
        return self.model.score(self.rows(table))


def decode_model(info: ModelInfo, data: bytes) -> Estimation:
    """Read the model file of a description."""
    if info.kind == "xgboost":
        return boosting.decode(data, info.columns, info.offset, len(info.classes))
    if info.kind == "lightgbm":
        return lightgbm_trees.decode(data, info.columns, len(info.classes))
    if info.kind == "logistic":
        return logistic.decode(data, info.columns)
    if info.kind == "cooccurrence":
        return cooccurrence.decode(data)
    if info.kind == "sklearn":
        return sklearn_model.decode(data, info.task, info.columns, len(info.classes))
    if info.kind == "plugin":
        recipe = info.recipe["estimator"]["plugin"]
        return added_estimator.decode(data, recipe, info.columns, info.task, len(info.classes))
    raise ModelError(f"expected a model of kind {', '.join(MODEL_FILES)}, found {info.kind!r}: use a newer release")


def golden_rows(table: "pa.Table", trained: Any, info: ModelInfo, spec: ModelSpec, model: Estimation) -> bytes:
    """Rows spread over those of a table that trained, with their predictions, as Parquet; entities appear by number only."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    picked = table.take(pa.array(trained[golden_index(info.kind, len(trained))]))
    if info.kind == "cooccurrence":
        served = picked.column(spec.entity[0]).cast(pa.string()).combine_chunks().dictionary_encode()
        numbers = served.indices.cast(pa.string())
        names = [*spec.entity, EVENT_TIME, *(column.name for column in info.columns)]
        picked = picked.set_column(picked.column_names.index(spec.entity[0]), spec.entity[0], numbers).select(names)
    else:
        picked = picked.select([column.name for column in info.columns])
        empty = pa.Table.from_pydict({name: [None] for name in picked.column_names}, schema=_nullable(picked.schema))
        picked = pa.concat_tables([picked.cast(_nullable(picked.schema)), empty])
    scores = model.score(encode(picked, info.columns, spec.entity, where="golden rows"))
    sink = io.BytesIO()
    predicted = pa.array(scores, pa.float64()) if scores.ndim == 1 else pa.array(list(scores), pa.list_(pa.float64()))
    pq.write_table(picked.append_column("prediction", predicted).replace_schema_metadata(None), sink)
    return sink.getvalue()


def _nullable(schema: "pa.Schema") -> "pa.Schema":
    import pyarrow as pa

    return pa.schema([field.with_nullable(True) for field in schema])


def golden_index(kind: str, count: int) -> list[int]:
    """Places spread evenly; for co-occurrence the first rows, which keep histories together."""
    if kind == "cooccurrence":
        return list(range(min(GOLDEN_ROWS, count)))
    return sorted({int(place) for place in np.linspace(0, count - 1, min(GOLDEN_ROWS, count))})


def check_golden(scorer: Scorer, path: Path) -> int:
    """Score the golden rows again; raises ModelError when a prediction differs, else returns their number."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError, ValueError) as exc:
        raise ModelError(f"{scorer.asset}: expected golden rows in {GOLDEN_FILE}, found an unreadable file ({exc})") from exc
    if "prediction" not in table.column_names or not table.num_rows:
        raise ModelError(f"{scorer.asset}: expected golden rows with predictions in {GOLDEN_FILE}, found none: train again")
    scores = scorer.score(table.drop_columns(["prediction"]))
    expected = _predictions(scorer, table)
    other = differing(scores, expected)
    wrong = int((other.any(axis=1) if other.ndim > 1 else other).sum())
    if wrong:
        worst = int(np.argmax(np.nan_to_num(np.abs(scores - expected), nan=np.inf)))
        raise ModelError(
            f"{scorer.asset}: expected the predictions recorded at training, found {wrong} of {len(expected)} golden rows to "
            f"differ (such as {expected.flat[worst]:.6f}, now {scores.flat[worst]:.6f}): score with the libraries it was trained with "
            f"({', '.join(f'{name} {version}' for name, version in sorted(scorer.info.libraries.items()))})"
        )
    return len(expected)


def differing(scores: Floats, expected: Floats) -> npt.NDArray[np.bool_]:
    """Which scores of the same model are others than expected, beyond GOLDEN_TOLERANCE; one that is no number is."""
    return ~(np.abs(scores - expected) <= GOLDEN_TOLERANCE * np.maximum(1.0, np.abs(expected)))


def _predictions(scorer: Scorer, table: "pa.Table") -> Floats:
    """What golden rows scored at training, a number a row or one for each class; raises ModelError for another shape."""
    try:
        listed = np.array(table.column("prediction").to_pylist(), dtype=np.float64)
    except (ValueError, TypeError) as exc:
        raise ModelError(
            f"{scorer.asset}: expected numbers as golden predictions, found something else ({exc}): train again"
        ) from exc
    wanted = (table.num_rows, len(scorer.info.classes)) if scorer.info.classes else (table.num_rows,)
    if listed.shape != wanted:
        raise ModelError(f"{scorer.asset}: expected golden predictions of shape {wanted}, found {listed.shape}: train again")
    return listed


def load_model(ledger: Ledger, asset: str, version: str | None = None) -> Scorer:
    """Open a candidate or champion: receipt and every byte are checked before anything is parsed, then golden rows re-scored.

    Raises NotReceipted, DigestMismatch, MissingObject from the ledger, and ModelError when the files are no such model.
    """
    return load_dataset(ledger.open(asset, version))


def load_dataset(dataset: Dataset) -> Scorer:
    """As `load_model`, for a version already opened."""
    with dataset.fetched([WHOLE]) as fetched:
        files = {file.entry.path: file.path for file in fetched[WHOLE]}
        info = decode_info(_file(dataset, files, INFO_FILE).read_bytes())
        path = _file(dataset, files, MODEL_FILES.get(info.kind, "a known kind of model"))
        scorer = Scorer(dataset.asset, dataset.version, info, decode_model(info, path.read_bytes()))
        check_golden(scorer, _file(dataset, files, GOLDEN_FILE))
    return scorer


def _file(dataset: Dataset, files: Mapping[str, Path], name: str) -> Path:
    if name not in files:
        raise IntegrityError(
            f"expected {name} in {dataset.asset} at {dataset.version[:19]}, found {', '.join(sorted(files)) or 'no file'}: "
            "this asset does not hold a model; train and promote again"
        )
    return files[name]
