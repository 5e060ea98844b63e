"""Estimators of scikit-learn, of an allow-list of classes, kept by skops: nothing is unpickled, only known types are built.

skops names parts by memory address and dates its archive; both are normalised, so equal trainings give equal bytes.
"""

import importlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from orchestrai.errors import ModelError
from orchestrai.models.rows import Column, Floats, Rows
from orchestrai.models.spec import SklearnParams
from orchestrai.models.task import VALUES, Task

TRUSTED = (
    "numpy.dtype",
    "sklearn.tree._tree.Tree",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn._loss.link.IdentityLink",
    "sklearn._loss.link.Interval",
    "sklearn._loss.link.LogitLink",
    "sklearn._loss.link.MultinomialLogit",
    "sklearn._loss.loss.HalfBinomialLoss",
    "sklearn._loss.loss.HalfMultinomialLoss",
    "sklearn._loss.loss.HalfSquaredError",
    "sklearn._loss.loss.PinballLoss",
)
EPOCH = (1980, 1, 1, 0, 0, 0)
SHUFFLED_ROWS = 2000


@dataclass(frozen=True)
class SklearnModel:
    """A fitted pipeline: probabilities of class 1 (or of each of `classes`), or for a regression the value itself."""

    pipeline: Any
    task: Task
    classes: int = 0
    shares: Mapping[str, float] = field(default_factory=dict)

    def score(self, rows: Rows) -> Floats:
        """One number per row, or one for each class."""
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        if not len(rows):
            return np.empty((0, self.classes) if self.classes else 0, dtype=np.float64)
        with threadpool_limits(1):
            if self.task in VALUES:
                return np.asarray(self.pipeline.predict(rows.matrix), dtype=np.float64)
            shares = np.asarray(self.pipeline.predict_proba(rows.matrix), dtype=np.float64)
        if not self.classes:
            return shares[:, 1]
        # a class that no training row had is never predicted
        every = np.zeros((len(rows), self.classes))
        every[:, np.asarray(self.pipeline.classes_, dtype=np.intp)] = shares
        return every

    def encode(self) -> bytes:
        """The file's bytes."""
        import skops.io as sio

        return normalised(sio.dumps(self.pipeline))

    def importance(self, columns: tuple[Column, ...]) -> dict[str, float]:
        """Share of the change of scores when a feature's training values are shuffled; all zero once read from a file."""
        return {column.name: float(self.shares.get(column.name, 0.0)) for column in columns}


def fit(params: SklearnParams, task: Task, rows: Rows) -> SklearnModel:
    """Train on one thread with a seed; raises ModelError for parameters that the class does not take."""
    from sklearn.pipeline import make_pipeline
    from threadpoolctl import threadpool_limits

    module, _, name = params.class_name.rpartition(".")
    kind = getattr(importlib.import_module(module), name)
    try:
        estimator = kind(**params.params)
        if "random_state" in estimator.get_params(deep=False):
            estimator.set_params(random_state=params.seed)
        pipeline = make_pipeline(_prepared(rows), estimator)
        with threadpool_limits(1):
            pipeline.fit(rows.matrix, rows.label)
    except (TypeError, ValueError) as exc:
        raise ModelError(
            f"expected {params.class_name} to train with {params.params}, found: {str(exc).splitlines()[0]}"
        ) from exc
    model = SklearnModel(pipeline, task, len(rows.classes))
    return replace(model, shares=_shares(model, rows, params.seed))


def _prepared(rows: Rows) -> Any:
    """Numbers: missing ones become the mean and a flag, then standardised. Categories: one column each, unknown ones none."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = [place for place, column in enumerate(rows.columns) if column.kind != "category"]
    named = [place for place, column in enumerate(rows.columns) if column.kind == "category"]
    parts = []
    if numbers:
        filled = SimpleImputer(add_indicator=True, keep_empty_features=True)
        parts.append(("numbers", make_pipeline(filled, StandardScaler()), numbers))
    if named:
        codes = [np.arange(len(rows.columns[place].categories), dtype=np.float32) for place in named]
        known = OneHotEncoder(categories=codes, handle_unknown="ignore", sparse_output=False)
        parts.append(("categories", make_pipeline(SimpleImputer(strategy="constant", fill_value=-1), known), named))
    return ColumnTransformer(parts)


def _shares(model: SklearnModel, rows: Rows, seed: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    some = rows.take(np.unique(np.linspace(0, len(rows) - 1, min(SHUFFLED_ROWS, len(rows))).astype(np.intp)))
    before = model.score(some)
    moved = {}
    for place, column in enumerate(rows.columns):
        matrix = some.matrix.copy()
        matrix[:, place] = rng.permutation(matrix[:, place])
        shuffled = Rows(some.columns, matrix, some.entity, some.event_time, some.label)
        moved[column.name] = float(np.abs(model.score(shuffled) - before).mean())
    total = sum(moved.values()) or 1.0
    return {name: value / total for name, value in moved.items()}


class _Numbers:
    """Numbers for addresses, in the order in which they are first met."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def of(self, address: object) -> int:
        return self.known.setdefault(str(address), len(self.known))

    def file(self, name: str) -> str:
        stem, dot, suffix = name.partition(".")
        return f"{self.of(stem)}{dot}{suffix}"

    def walk(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self.walk(one) for one in node]
        if isinstance(node, dict):
            return {key: self._value(key, value) for key, value in node.items()}
        return node

    def _value(self, key: str, value: Any) -> Any:
        if key == "__id__":
            return self.of(value)
        return self.file(value) if key == "file" and isinstance(value, str) else self.walk(value)


def _unpadded(data: bytes) -> bytes:
    """An array file whose bytes between fields, which hold whatever memory held, are zero."""
    array = np.load(io.BytesIO(data), allow_pickle=False)
    if array.dtype.names is None:
        return data
    clean, sink = np.zeros(array.shape, array.dtype), io.BytesIO()
    for name in array.dtype.names:
        clean[name] = array[name]
    np.save(sink, clean, allow_pickle=False)
    return sink.getvalue()


def normalised(data: bytes) -> bytes:
    """A skops file without addresses and times: parts are numbered in the order in which they stand."""
    numbers, sink = _Numbers(), io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as target:
        schema = numbers.walk(json.loads(source.read("schema.json")))
        parts = {"schema.json": json.dumps(schema, separators=(",", ":")).encode()}
        for name in source.namelist():
            if name != "schema.json":
                parts[numbers.file(name)] = _unpadded(source.read(name)) if name.endswith(".npy") else source.read(name)
        for name, content in sorted(parts.items()):
            target.writestr(zipfile.ZipInfo(name, EPOCH), content)
    return sink.getvalue()


def decode(data: bytes, task: Task, columns: tuple[Column, ...], classes: int = 0) -> SklearnModel:
    """Read the file's bytes (their digest was checked before); raises ModelError unless they are known types and this model."""
    import skops.io as sio
    from skops.io.exceptions import UntrustedTypesFoundException

    if data[:4] != b"PK\x03\x04":
        raise ModelError(
            f"expected a scikit-learn model of skops, found bytes that begin with {data[:4].hex()}: publish it again"
        )
    try:
        strange = sorted(set(sio.get_untrusted_types(data=data)) - set(TRUSTED))
        if strange:
            raise ModelError(f"expected a model of known types, found {', '.join(strange[:5])}: nothing of it was built")
        pipeline = sio.loads(data, trusted=list(TRUSTED))
        width = int(pipeline.n_features_in_)
    except UntrustedTypesFoundException as exc:
        raise ModelError(f"expected a model of known types, found others: {str(exc)[:200]}") from exc
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError, AttributeError, ImportError, OSError) as exc:
        raise ModelError(f"expected a scikit-learn model of skops, found something else ({exc}): publish it again") from exc
    if width != len(columns):
        raise ModelError(f"expected a model of {len(columns)} features, found one of {width}: it is another model")
    return SklearnModel(pipeline, task, classes)
