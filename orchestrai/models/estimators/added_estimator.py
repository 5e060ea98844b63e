"""Estimators of other packages: fitted and read by their own code, kept as bytes that are no pickle, proven to score the same once read."""

import pickletools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from orchestrai.core import plugins
from orchestrai.errors import ModelError
from orchestrai.models.estimators.spec import AddedParams
from orchestrai.models.rows import Column, Floats, Rows
from orchestrai.models.task import Task

SEEN_AGAIN = 256


class Fitted(Protocol):
    """A fitted model."""

    def score(self, rows: Rows) -> Floats:
        """Between 0 and 1 for binary and ranking, one such number for each of `rows.classes`, else a value; one line a row."""
        ...

    def encode(self) -> bytes:
        """The file's bytes: the same for the same rows, parameters and seed. No pickle."""
        ...

    def importance(self, columns: tuple[Column, ...]) -> dict[str, float]:
        """Share per feature, summing to one; zero each where it is not known."""
        ...


class Estimator(Protocol):
    """What an entry point of `orchestrai.estimators` makes of parameters (a mapping) and a seed."""

    def fit(self, rows: Rows, task: Task) -> Fitted:
        """Train on one thread, with the seed; raises ValueError for parameters or rows that it cannot take."""
        ...

    def decode(self, data: bytes, columns: tuple[Column, ...], task: Task, classes: int) -> Fitted:
        """Read what `encode` gave, `classes` of a multiclass or 0; raises ValueError for other bytes."""
        ...


@dataclass(frozen=True)
class AddedModel:
    """A model of a plug-in, held to what every model must do."""

    fitted: Fitted
    origin: str
    classes: int = 0

    def score(self, rows: Rows) -> Floats:
        """One number per row, or one for each class; raises ModelError for another shape."""
        wanted = (len(rows), self.classes) if self.classes else (len(rows),)
        if not len(rows):
            return np.empty(wanted, dtype=np.float64)
        scores = np.asarray(self.fitted.score(rows), dtype=np.float64)
        if scores.shape != wanted:
            raise ModelError(f"expected scores of shape {wanted} of {self.origin}, found {scores.shape}: mend the package")
        return scores

    def encode(self) -> bytes:
        """The file's bytes."""
        return self.fitted.encode()

    def importance(self, columns: tuple[Column, ...]) -> dict[str, float]:
        """Share per feature."""
        told = self.fitted.importance(columns)
        return {column.name: float(told.get(column.name, 0.0)) for column in columns}


def fit(params: AddedParams, task: Task, rows: Rows) -> AddedModel:
    """Train by the plug-in, and read the model back; raises ModelError where it scores otherwise then, or is a pickle."""
    plugin, estimator = _estimator(params)
    try:
        fitted = estimator.fit(rows, task)
    except ValueError as exc:
        raise ModelError(f"expected {plugin.origin} to train with {params.params}, found: {_line(exc)}") from exc
    plugins.require_protocol(fitted, Fitted, plugin)
    model = AddedModel(fitted, plugin.origin, len(rows.classes))
    data = model.encode()
    require_no_pickle(data, plugin.origin)
    some = rows.take(np.unique(np.linspace(0, len(rows) - 1, min(SEEN_AGAIN, len(rows))).astype(np.intp)))
    again = _read(params, data, rows.columns, task, len(rows.classes))
    if not np.array_equal(again.score(some), model.score(some), equal_nan=True) or again.encode() != data:
        raise ModelError(f"expected a model of {plugin.origin} to be the same once read, found another: mend the package")
    return model


def decode(data: bytes, recipe: Mapping[str, Any], columns: tuple[Column, ...], task: Task, classes: int = 0) -> AddedModel:
    """Read the file's bytes (their digest was checked before) by the plug-in that the recipe names; raises ModelError, ConfigError."""
    return _read(AddedParams.model_validate(recipe), data, columns, task, classes)


def _read(params: AddedParams, data: bytes, columns: tuple[Column, ...], task: Task, classes: int) -> AddedModel:
    plugin, estimator = _estimator(params)
    require_no_pickle(data, plugin.origin)
    try:
        fitted = estimator.decode(data, columns, task, classes)
    except ValueError as exc:
        raise ModelError(
            f"expected a model that {plugin.origin} reads, found: {_line(exc)}: install the version that trained it"
        ) from exc
    plugins.require_protocol(fitted, Fitted, plugin)
    return AddedModel(fitted, plugin.origin, classes)


def require_no_pickle(data: bytes, origin: str) -> None:
    """Raise ModelError for bytes that are a pickle, which could run code when it is read."""
    try:
        *_, last = pickletools.genops(data)
    except ValueError:
        return
    if last[0].name == "STOP":
        raise ModelError(
            f"expected a model of {origin} in a format that runs no code, found a pickle: keep it as JSON, text, arrays or Arrow"
        )


def _estimator(params: AddedParams) -> tuple[plugins.Plugin, Estimator]:
    plugin = params.plugin
    return plugin, plugins.make(plugin, Estimator, dict(params.params), params.seed)  # type: ignore[type-abstract]


def _line(exc: ValueError) -> str:
    return str(exc).splitlines()[0] if str(exc) else type(exc).__name__
