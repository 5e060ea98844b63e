"""Gradient-boosted trees by LightGBM, kept as its text: no code in the file.

`deterministic`, one way to sum and one thread: the same rows, parameters and release give the same text.
https://lightgbm.readthedocs.io/en/latest/Parameters.html#deterministic
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrai.errors import MissingExtra, ModelError
from orchestrai.models.estimators.spec import LightGBMParams
from orchestrai.models.rows import Column, Floats, Rows
from orchestrai.models.task import Task

OBJECTIVES: dict[Task, str] = {
    "binary": "binary",
    "multiclass": "multiclass",
    "regression": "regression",
    "ranking": "binary",
    "forecast": "regression",
}
OWN_FIELDS = {"num_boost_round", "early_stopping_rounds", "objective", "alpha", "scale_pos_weight", "monotone_constraints"}
BEGINS, ENDS = b"tree\n", b"end of parameters"


def lightgbm() -> Any:
    """The library; raises MissingExtra where it is not installed."""
    try:
        import lightgbm as library
    except ImportError as exc:
        raise MissingExtra("expected the package lightgbm, found none: install orchestrai[lightgbm]") from exc
    return library


@dataclass(frozen=True)
class LightTrees:
    """A booster that scores rows: probabilities (of a multiclass one for each class), or for regressions the value itself."""

    booster: Any
    classes: int = 0

    def score(self, rows: Rows) -> Floats:
        """One number per row, or one for each class."""
        if not len(rows):
            return np.empty((0, self.classes) if self.classes else 0, dtype=np.float64)
        return np.asarray(self.booster.predict(rows.matrix, num_threads=1), dtype=np.float64)

    def encode(self) -> bytes:
        """The file's bytes."""
        return str(self.booster.model_to_string(num_iteration=-1)).encode()

    def importance(self, columns: tuple[Column, ...]) -> dict[str, float]:
        """Share of the total gain per feature."""
        gains = np.asarray(self.booster.feature_importance("gain"), dtype=np.float64)
        total = float(gains.sum()) or 1.0
        return {column.name: float(gain) / total for column, gain in zip(columns, gains, strict=True)}

    @property
    def rounds(self) -> int:
        """How many rounds were kept."""
        return int(self.booster.current_iteration())


def settings(params: LightGBMParams, task: Task, rows: Rows) -> dict[str, Any]:
    """The parameters handed to lightgbm.train."""
    unknown = sorted(set(params.monotone_constraints) - {column.name for column in rows.columns})
    if unknown:
        raise ModelError(f"expected monotone_constraints on features, found {', '.join(unknown)}: correct the declaration")
    objective = params.objective or OBJECTIVES[task]
    extra: dict[str, Any] = {}
    if objective == "binary":
        positives = float((rows.label > 0).sum())
        weight = params.scale_pos_weight
        extra["scale_pos_weight"] = (len(rows) - positives) / positives if weight == "balanced" else weight
    if rows.classes:
        extra["num_class"] = len(rows.classes)
    if params.alpha is not None:
        extra["alpha"] = params.alpha
    if params.monotone_constraints:
        extra["monotone_constraints"] = [params.monotone_constraints.get(column.name, 0) for column in rows.columns]
    return {
        **params.model_dump(exclude=OWN_FIELDS),
        **extra,
        "objective": objective,
        "bagging_freq": 1 if params.bagging_fraction < 1 else 0,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }


def fit(params: LightGBMParams, task: Task, rows: Rows, stop: Rows | None = None) -> LightTrees:
    """Train; the same rows, parameters and library version give the same bytes. `stop` decides how many rounds are kept."""
    library = lightgbm()
    chosen = settings(params, task, rows)
    data = _dataset(library, rows, params, None)
    calls, watched = [], []
    if stop is not None and params.early_stopping_rounds:
        watched = [_dataset(library, stop, params, data)]
        calls = [library.early_stopping(params.early_stopping_rounds, verbose=False)]
    try:
        booster = library.train(chosen, data, params.num_boost_round, valid_sets=watched, callbacks=calls)
    except library.basic.LightGBMError as exc:
        raise ModelError(f"expected LightGBM to train with these parameters, found: {str(exc).splitlines()[0]}") from exc
    kept = booster.best_iteration if watched and booster.best_iteration > 0 else booster.current_iteration()
    # read back from its text, so that what is scored now is what is scored later
    return _read(library, booster.model_to_string(num_iteration=kept).encode(), len(rows.classes))


def _dataset(library: Any, rows: Rows, params: LightGBMParams, reference: Any) -> Any:
    return library.Dataset(
        rows.matrix,
        label=rows.label,
        reference=reference,
        feature_name=[column.name for column in rows.columns],
        categorical_feature=[place for place, column in enumerate(rows.columns) if column.kind == "category"],
        params={"max_bin": params.max_bin, "num_threads": params.num_threads, "verbosity": -1},
    )


def _read(library: Any, data: bytes, classes: int) -> LightTrees:
    return LightTrees(library.Booster(model_str=data.decode()), classes)


def decode(data: bytes, columns: tuple[Column, ...], classes: int = 0) -> LightTrees:
    """Read the file's bytes (their digest was checked before); raises ModelError unless they are this model's trees."""
    library = lightgbm()
    if not data.startswith(BEGINS) or ENDS not in data:
        raise ModelError(
            f"expected a LightGBM model as text, found bytes that begin with {data[:5].hex()}: publish the model again"
        )
    try:
        trees = _read(library, data, classes)
    except (library.basic.LightGBMError, UnicodeDecodeError) as exc:
        raise ModelError(
            f"expected a LightGBM model as text, found: {str(exc).splitlines()[0]}: publish the model again"
        ) from exc
    names = [column.name for column in columns]
    if trees.booster.feature_name() != names:
        raise ModelError(
            f"expected a model of {len(names)} features ({', '.join(names[:3])}, ...), found one of "
            f"{trees.booster.num_feature()} ({', '.join(trees.booster.feature_name()[:3])}): it is another model"
        )
    return trees
