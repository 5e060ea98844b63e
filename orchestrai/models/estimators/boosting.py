"""Gradient-boosted trees by XGBoost, kept as UBJ: no code in the file."""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrai.errors import ConfigError, ModelError
from orchestrai.models.rows import Column, Floats, Rows
from orchestrai.models.spec import XGBoostParams
from orchestrai.models.task import Task

OBJECTIVES: dict[Task, str] = {
    "binary": "binary:logistic",
    "multiclass": "multi:softprob",
    "regression": "reg:squarederror",
    "ranking": "binary:logistic",
    "forecast": "reg:squarederror",
}
CENTRED = ("reg:squarederror", "reg:absoluteerror", "reg:quantileerror")
# A model saved by XGBoost 3.1 or newer holds its base_score as "[5E-1]"; older readers take such text for 0.5. So it is
# always 0.5, and what a regression is centred on stands beside the model.
BASE_SCORE = 0.5


def xgboost() -> Any:
    """The library, imported so that waiting OpenMP threads sleep (spinning ones starve a shared machine)."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import xgboost as library

    library.set_config(verbosity=0)
    return library


@dataclass(frozen=True)
class BoostedTrees:
    """A booster that scores rows: probabilities (of a multiclass one for each class), or for regressions the value itself."""

    booster: Any
    offset: float = 0.0
    classes: int = 0

    def score(self, rows: Rows) -> Floats:
        """One number per row, or one for each class."""
        library = xgboost()
        if not len(rows):
            return np.empty((0, self.classes) if self.classes else 0, dtype=np.float64)
        data = library.DMatrix(rows.matrix, feature_types=feature_types(rows.columns), missing=np.nan)
        scores = self.booster.predict(data, validate_features=False)
        return np.asarray(scores, dtype=np.float64) + self.offset

    def encode(self) -> bytes:
        """The file's bytes."""
        return bytes(self.booster.save_raw(raw_format="ubj"))

    def importance(self, columns: tuple[Column, ...]) -> dict[str, float]:
        """Share of the total gain per feature."""
        gains = self.booster.get_score(importance_type="total_gain")
        total = sum(gains.values()) or 1.0
        return {column.name: float(gains.get(column.name, 0.0)) / total for column in columns}


def feature_types(columns: tuple[Column, ...]) -> list[str]:
    """XGBoost's letters: q for a quantity, i for a flag, c for a category's code."""
    return [{"number": "q", "bool": "i", "category": "c"}[column.kind] for column in columns]


OWN_FIELDS = {
    "num_boost_round",
    "early_stopping_rounds",
    "objective",
    "quantile_alpha",
    "scale_pos_weight",
    "monotone_constraints",
}


def settings(params: XGBoostParams, task: Task, rows: Rows) -> dict[str, Any]:
    """The parameters handed to xgboost.train."""
    columns, label = rows.columns, rows.label
    plain = params.model_dump(exclude=OWN_FIELDS)
    weight = params.scale_pos_weight
    if weight == "balanced":
        positives = float((label > 0).sum())
        weight = (len(label) - positives) / positives
    unknown = sorted(set(params.monotone_constraints) - {column.name for column in columns})
    if unknown:
        raise ModelError(f"expected monotone_constraints on features, found {', '.join(unknown)}: correct the declaration")
    objective = params.objective or OBJECTIVES[task]
    extra: dict[str, Any] = {"scale_pos_weight": weight} if objective.startswith("binary:") else {}
    if rows.classes:
        extra["num_class"] = len(rows.classes)
    if params.quantile_alpha is not None:
        extra["quantile_alpha"] = params.quantile_alpha
    if params.monotone_constraints:
        extra["monotone_constraints"] = tuple(params.monotone_constraints.get(column.name, 0) for column in columns)
    return {**plain, **extra, "objective": objective, "tree_method": "hist", "base_score": BASE_SCORE, "verbosity": 0}


def centre(objective: str, label: Floats) -> float:
    """What the labels of an objective are centred on, beside the base score."""
    return float(np.float32(label.mean() - BASE_SCORE)) if objective in CENTRED else 0.0


def fit(params: XGBoostParams, task: Task, rows: Rows, stop: Rows | None = None) -> BoostedTrees:
    """Train; the same rows, parameters and library versions give the same bytes."""
    library = xgboost()
    if params.device == "cuda" and not library.build_info().get("USE_CUDA"):
        raise ConfigError(
            "expected a build of XGBoost with CUDA for device: cuda, found the CPU build: install xgboost in place of xgboost-cpu "
            "on a machine with a GPU, or declare device: cpu"
        )
    chosen = settings(params, task, rows)
    offset = centre(chosen["objective"], rows.label)
    ranking = str(chosen["objective"]).startswith("rank:")
    data = _quantised(library, rows, params, offset, ranking, None)
    watched = []
    if stop is not None and params.early_stopping_rounds:
        watched = [(_quantised(library, stop, params, offset, ranking, data), "stop")]
    try:
        booster = library.train(
            chosen,
            data,
            num_boost_round=params.num_boost_round,
            evals=watched,
            early_stopping_rounds=params.early_stopping_rounds if watched else None,
            verbose_eval=False,
        )
    except library.core.XGBoostError as exc:
        raise ModelError(f"expected XGBoost to train with these parameters, found: {str(exc).splitlines()[0]}") from exc
    if watched:
        booster = booster[: booster.best_iteration + 1]
    return BoostedTrees(booster, offset, len(rows.classes))


def _quantised(library: Any, rows: Rows, params: XGBoostParams, offset: float, ranking: bool, ref: Any) -> Any:
    if ranking:
        group = rows.groups()
        order = np.argsort(group, kind="stable")
        rows, qid = rows.take(order), group[order]
    return library.QuantileDMatrix(
        rows.matrix,
        label=rows.label - offset,
        feature_names=[column.name for column in rows.columns],
        feature_types=feature_types(rows.columns),
        missing=np.nan,
        max_bin=params.max_bin,
        nthread=params.nthread,
        qid=qid if ranking else None,
        ref=ref,
        enable_categorical=True,
    )


def decode(data: bytes, columns: tuple[Column, ...], offset: float, classes: int = 0) -> BoostedTrees:
    """Read the file's bytes (their digest was checked before); raises ModelError unless they are this model's trees."""
    library = xgboost()
    if data[:1] != b"{":
        raise ModelError(
            f"expected an XGBoost model in UBJ, found bytes that begin with {data[:4].hex()}: publish the model again"
        )
    booster = library.Booster()
    try:
        booster.load_model(bytearray(data))
    except library.core.XGBoostError as exc:
        raise ModelError(
            f"expected an XGBoost model in UBJ, found: {str(exc).splitlines()[0]}: publish the model again"
        ) from exc
    names = [column.name for column in columns]
    if list(booster.feature_names or []) != names:
        raise ModelError(
            f"expected a model of {len(names)} features ({', '.join(names[:3])}, ...), found one of "
            f"{booster.num_features()} ({', '.join((booster.feature_names or ['unnamed'])[:3])}): it is another model"
        )
    booster.set_param({"nthread": 1})
    return BoostedTrees(booster, offset, classes)
