"""What a model's declaration says of columns and time, held against its views and its label: no data is read.

A pipeline with such a mistake loads, so that its data is still backed up; its model would refuse to train, hours later.
"""

import importlib
from collections.abc import Iterator, Sequence
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING

from orchestrai.core import plugins
from orchestrai.core.yaml.declaration import Location
from orchestrai.errors import ConfigError, ModelError, OrchestraiError
from orchestrai.features.labels import declared_label
from orchestrai.models.estimators.spec import LightGBMParams, SklearnParams
from orchestrai.models.remote.spec import TRAINED_BY, is_trained_by
from orchestrai.models.rows import EVENT_TIME, LABEL, Column, infer_columns
from orchestrai.models.task import Task
from orchestrai.pipeline.check.draft import schemas_of
from orchestrai.pipeline.check.mistake import Mistakes
from orchestrai.pipeline.declarations import PipelineModelSpec
from orchestrai.pipeline.nodes.model_node import ModelNode
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
LIGHT_OBJECTIVES = {
    "binary": ("binary", "ranking"),
    "multiclass": ("multiclass",),
    **dict.fromkeys(("regression", "regression_l1", "quantile", "poisson"), ("regression", "forecast")),
}


def check_model(model: ModelNode, at: Location, mistakes: Mistakes) -> None:
    """Add every mistake that can be known of a model."""
    kind = _label(model, at, mistakes)
    if kind is not None:
        _check_task(model, at, kind, mistakes)
    _check_gap(model, at, mistakes)
    _check_estimator(model, at, mistakes)
    _check_staging(model, at, mistakes)
    columns = _training_columns(model, at, mistakes)
    if kind is None or not columns:
        return
    import pyarrow as pa

    _check_columns(model, at, pa.schema(columns), mistakes)


def _label(model: ModelNode, at: Location, mistakes: Mistakes) -> "pa.DataType | None":
    """The type of the label; None where it cannot be had."""
    spec = model.spec.label
    if spec is None:
        return _spine_label(model, at, mistakes)
    try:
        label = declared_label(spec, schemas_of(model.label_inputs), model.folder, model.views[0].view)
    except ConfigError as exc:
        mistakes.take(exc, (*at, "label", "sql"))
        return None
    return label.schema.field(LABEL).type


def _spine_label(model: ModelNode, at: Location, mistakes: Mistakes) -> "pa.DataType | None":
    """The label's column of a spine, whose dataset must have the entity of every view and an event time."""
    spine = model.spec.spine
    assert spine is not None
    node = model.label_inputs[spine.source]
    schema, sound = node.table_schema, True
    if node.contract.event_time is None:
        sound = False
        mistakes.wrong(
            (*at, "spine", "from"), "a dataset with an event time, the moment of each row", f"{spine.source} without"
        )
    for view in model.views:
        for name in view.view.entity:
            wanted = view.view.schema.field(name).type
            if name not in schema.names or schema.field(name).type != wanted:
                sound = False
                found = str(schema.field(name).type) if name in schema.names else "none"
                mistakes.wrong(
                    (*at, "spine", "from"), f"the column {name} of {view.view.name} ({wanted}) in {spine.source}", found
                )
    primary = model.views[0].view
    for number, name in enumerate(model.spec.entity):
        if name not in primary.entity:
            expected = (
                f"a column of the first view {primary.name} ({', '.join(primary.entity)}), whose rows predictions are of"
            )
            mistakes.wrong((*at, "entity", number), expected, repr(name))
    if spine.label not in schema.names:
        mistakes.wrong((*at, "spine", "label"), f"a column of {spine.source} ({', '.join(schema.names)})", repr(spine.label))
        return None
    return schema.field(spine.label).type if sound else None


def _check_task(model: ModelNode, at: Location, kind: "pa.DataType", mistakes: Mistakes) -> None:
    """The task is asked for wherever the label's type leaves a doubt, and the label must be what the task learns."""
    import pyarrow as pa

    spec = model.spec
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    flag, whole = pa.types.is_boolean(kind), pa.types.is_integer(kind)
    number = whole or flag or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if "task" not in spec.model_fields_set and not flag:
        asked = (
            "multiclass"
            if text
            else "binary, multiclass, regression, ranking or forecast"
            if whole
            else "regression or forecast"
        )
        mistakes.wrong((*at, "task"), f"{asked}, which the label alone does not say", f"none beside a label of {kind}")
        return
    if spec.task == "multiclass":
        if not (text or whole or flag):
            mistakes.wrong((*at, *_place(spec)), "a label of names or whole numbers, a class each", str(kind))
    elif not number:
        mistakes.wrong(
            (*at, *_place(spec)), "a label that is a number or boolean (names are of the task multiclass)", str(kind)
        )
    forecast, horizon = spec.forecast, spec.horizon
    if forecast is not None and forecast.step is None and forecast.ahead < horizon:
        expected = f"at least {_span(horizon)}, the label's horizon, so that the season before was known"
        mistakes.wrong((*at, "forecast", "ahead"), expected, _span(forecast.ahead))


def _place(spec: PipelineModelSpec) -> Location:
    """Where the label is declared."""
    return ("label", "sql") if spec.label is not None else ("spine", "label")


def _check_gap(model: ModelNode, at: Location, mistakes: Mistakes) -> None:
    split, horizon = model.spec.split, model.spec.horizon
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
    entity = primary.entity
    if model.spec.spine is not None:
        # the spine has the rows, and each view joins them by its own entity
        entity = tuple(dict.fromkeys(name for node in model.views for name in node.view.entity))
    types = {name: node.view.schema.field(name) for node in reversed(model.views) for name in node.view.entity}
    columns = [*(types[name] for name in entity), pa.field(EVENT_TIME, primary.schema.field(primary.time).type)]
    owner = {EVENT_TIME: "the training set", LABEL: "the training set"}
    for number, node in enumerate(model.views):
        view, where = node.view, (*at, "features", number)
        if not set(view.entity) <= set(entity):
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
    for kind, grown in (("xgboost", boosted), ("lightgbm", spec.estimator.lightgbm)):
        for name in grown.monotone_constraints if grown else ():
            if name not in names:
                yield ("estimator", kind, "monotone_constraints", name), a_feature, name
    if counted is not None and counted.history not in names:
        yield ("estimator", "cooccurrence", "history"), a_feature, counted.history


def _check_estimator(model: ModelNode, at: Location, mistakes: Mistakes) -> None:
    boosted, chosen = model.spec.estimator.xgboost, model.spec.estimator.sklearn
    if boosted is not None and boosted.objective is not None:
        tasks = OBJECTIVES[boosted.objective.partition(":")[0]]
        if model.spec.task not in tasks:
            expected = f"an objective for {model.spec.task}"
            mistakes.wrong((*at, "estimator", "xgboost", "objective"), expected, repr(boosted.objective))
        else:
            for place, options in model.spec.train_on or ():
                if options is not None and not is_trained_by(place, boosted.objective):
                    expected = f"an objective that {place} trains ({_objectives(place)})"
                    mistakes.wrong((*at, "estimator", "xgboost", "objective"), expected, repr(boosted.objective))
    if model.spec.estimator.lightgbm is not None:
        _check_lightgbm(model.spec.estimator.lightgbm, model.spec.task, (*at, "estimator", "lightgbm"), mistakes)
    added = model.spec.estimator.plugin
    if added is not None:
        try:
            plugins.required("estimators", added.name)
        except ConfigError as exc:
            mistakes.take(exc, (*at, "estimator", "plugin", "name"))
    if chosen is not None:
        _check_sklearn(chosen, (*at, "estimator", "sklearn", "params"), mistakes)


def _check_lightgbm(light: LightGBMParams, task: Task, at: Location, mistakes: Mistakes) -> None:
    if light.objective is not None and task not in LIGHT_OBJECTIVES[light.objective]:
        mistakes.wrong((*at, "objective"), f"an objective for {task}", repr(light.objective))
    if find_spec("lightgbm") is None:
        mistakes.wrong(at, "the package lightgbm", "none: install orchestrai[lightgbm]")


def _objectives(place: str) -> str:
    return ", ".join(TRAINED_BY.get(place, ("all but those over groups",)))


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
