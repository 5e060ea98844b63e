"""What a model's declaration says of columns and time, held against its views and its label: no data is read.

A pipeline with such a mistake loads, so that its data is still backed up; its model would refuse to train, hours later.
"""

import importlib
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from orchestrai.core.declaration import Location
from orchestrai.errors import ConfigError, ModelError, OrchestraiError
from orchestrai.features.labels import declared_label
from orchestrai.features.views.view import FeatureView
from orchestrai.models.estimators.spec import SklearnParams
from orchestrai.models.rows import EVENT_TIME, LABEL, Column, infer_columns
from orchestrai.pipeline.check.draft import schemas_of
from orchestrai.pipeline.check.mistake import Mistakes
from orchestrai.pipeline.nodes import ModelNode
from orchestrai.storage.url import check_url

if TYPE_CHECKING:
    import pyarrow as pa

# what an objective learns, by the word before its colon
OBJECTIVES = {
    "binary": ("binary", "ranking"),
    "multi": ("multiclass",),
    "rank": ("ranking",),
    "reg": ("regression", "forecast"),
    "count": ("regression", "forecast"),
}


def check_model(model: ModelNode, at: Location, mistakes: Mistakes) -> None:
    """Add every mistake that can be known of a model."""
    label = _label(model, at, mistakes)
    _check_gap(model, at, mistakes)
    _check_estimator(model, at, mistakes)
    _check_staging(model, at, mistakes)
    columns = _training_columns(model, at, mistakes)
    if label is None or not columns:
        return
    import pyarrow as pa

    _check_columns(model, at, pa.schema(columns), mistakes)


def _label(model: ModelNode, at: Location, mistakes: Mistakes) -> FeatureView | None:
    import pyarrow as pa

    spec = model.spec.label
    try:
        label = declared_label(spec, schemas_of(model.label_inputs), model.folder, model.views[0].view)
    except ConfigError as exc:
        mistakes.take(exc, (*at, "label", "sql"))
        return None
    kind = label.schema.field(LABEL).type
    if not (
        pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    ):
        mistakes.wrong((*at, "label", "sql"), "a label that is a number or boolean", str(kind))
    return label


def _check_gap(model: ModelNode, at: Location, mistakes: Mistakes) -> None:
    split, horizon = model.spec.split, model.spec.label.horizon
    if split.folds is None and split.by == "time" and split.gap < horizon:
        expected = f"at least {_span(horizon)}, the label's horizon, so that no training label looks into the test"
        mistakes.wrong((*at, "split", "gap"), expected, _span(split.gap))


def _span(length: timedelta) -> str:
    """A length of time as people write it."""
    seconds = round(length.total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _training_columns(model: ModelNode, at: Location, mistakes: Mistakes) -> "list[pa.Field] | None":
    """The columns of the training set, less the label; None where views clash."""
    import pyarrow as pa

    primary, sound = model.views[0].view, True
    columns = [
        *(primary.schema.field(name) for name in primary.entity),
        pa.field(EVENT_TIME, primary.schema.field(primary.time).type),
    ]
    owner = {EVENT_TIME: "the training set", LABEL: "the training set"}
    for number, node in enumerate(model.views):
        view, where = node.view, (*at, "features", number)
        if not set(view.entity) <= set(primary.entity):
            sound = False
            expected = f"a view of {', '.join(primary.entity)} or of some of these, as {primary.name} is"
            mistakes.wrong(where, expected, f"{view.name} of {', '.join(view.entity)}")
        for name in view.features:
            if name in owner:
                sound = False
                mistakes.wrong(where, "feature names of its own", f"{name} of {view.name} in {owner[name]} too: rename it")
            owner.setdefault(name, view.name)
            columns.append(view.schema.field(name))
    return columns if sound else None


def _check_columns(model: ModelNode, at: Location, schema: "pa.Schema", mistakes: Mistakes) -> None:
    import pyarrow as pa

    spec, names = model.spec, schema.names
    for number, name in enumerate(spec.entity):
        if name not in names:
            mistakes.wrong((*at, "entity", number), f"a column of the training set ({', '.join(names)})", repr(name))
    for number, name in enumerate(spec.exclude):
        if name not in names:
            mistakes.wrong((*at, "exclude", number), f"a column of the training set ({', '.join(names)})", repr(name))
    try:
        # pa.array([]), of which an empty table is otherwise made, loads pandas
        features = infer_columns(pa.Table.from_batches([], schema), spec)
    except ModelError as exc:
        mistakes.take(exc, (*at, "features"))
        return
    for where, expected, name in _unknown(model, features):
        mistakes.wrong((*at, *where), expected, repr(name))


def _unknown(model: ModelNode, features: Sequence[Column]) -> Iterator[tuple[Location, str, str]]:
    """Fields that name a feature which is none."""
    spec = model.spec
    names = [feature.name for feature in features]
    a_feature = f"a feature ({', '.join(names)})"
    if spec.baseline is not None and spec.baseline not in names:
        yield ("baseline",), a_feature, spec.baseline
    sliced = [feature.name for feature in features if feature.kind != "number"]
    for number, name in enumerate(spec.slices):
        if name not in sliced:
            yield ("slices", number), f"a category or boolean feature ({', '.join(sliced) or 'there is none'})", name
    boosted, counted = spec.estimator.xgboost, spec.estimator.cooccurrence
    for name in boosted.monotone_constraints if boosted else ():
        if name not in names:
            yield ("estimator", "xgboost", "monotone_constraints", name), a_feature, name
    if counted is not None and counted.history not in names:
        yield ("estimator", "cooccurrence", "history"), a_feature, counted.history


def _check_estimator(model: ModelNode, at: Location, mistakes: Mistakes) -> None:
    boosted, chosen = model.spec.estimator.xgboost, model.spec.estimator.sklearn
    if boosted is not None and boosted.objective is not None:
        tasks = OBJECTIVES[boosted.objective.partition(":")[0]]
        if model.spec.task not in tasks:
            expected = f"an objective for {model.spec.task}"
            mistakes.wrong((*at, "estimator", "xgboost", "objective"), expected, repr(boosted.objective))
    if chosen is not None:
        _check_sklearn(chosen, (*at, "estimator", "sklearn", "params"), mistakes)


def _check_sklearn(chosen: SklearnParams, at: Location, mistakes: Mistakes) -> None:
    """The class is made with its parameters, and asked whether it takes their values; it is fitted to nothing."""
    module, _, name = chosen.class_name.rpartition(".")
    kind = getattr(importlib.import_module(module), name)
    known = sorted(kind().get_params(deep=False))
    unknown = sorted(set(chosen.params) - set(known))
    for parameter in unknown:
        mistakes.wrong((*at, parameter), f"a parameter of {name} ({', '.join(known)})", repr(parameter))
    if unknown:
        return
    try:
        # the rule that scikit-learn applies first of all when it trains
        kind(**chosen.params)._validate_params()
    except ValueError as exc:
        mistakes.wrong(at, f"values that {name} takes", str(exc).splitlines()[0])


def _check_staging(model: ModelNode, at: Location, mistakes: Mistakes) -> None:
    """The stores that a training elsewhere is handed its rows by."""
    for place, options in model.spec.train_on or ():
        staging = getattr(options, "staging", None)
        if staging:
            try:
                check_url(staging)
            except OrchestraiError as exc:
                mistakes.take(exc, (*at, "train_on", place, "staging"))
