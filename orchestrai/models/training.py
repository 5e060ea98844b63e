"""Training: a pinned training set in, a registered candidate out."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import numpy as np

from orchestrai.core.canonical import JsonValue
from orchestrai.core.code_identity import Producer
from orchestrai.core.time.partition_key import WHOLE
from orchestrai.core.verdict import Verdict
from orchestrai.errors import ModelError
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import Meter, StageReport
from orchestrai.models.drift import profile
from orchestrai.models.estimators import added_estimator, boosting, cooccurrence, lightgbm_trees, logistic
from orchestrai.models.estimators import sklearn_estimator as sklearn_model
from orchestrai.models.estimators.artifact import (
    GOLDEN_FILE,
    INFO_FILE,
    MODEL_FILES,
    Estimation,
    ModelInfo,
    golden_rows,
    library_versions,
)
from orchestrai.models.estimators.search import Params, best_parameters
from orchestrai.models.remote.training_job import Trainer
from orchestrai.models.rows import Rows, encode, infer_classes, infer_columns, read_training_set
from orchestrai.models.spec import ModelSpec, TrainOn
from orchestrai.models.splitting import HeldOut, hold_out, moment, stopping_rows
from orchestrai.models.task import VALUES

Progress = Callable[[str], None]
Trees = TypeVar("Trees")
PRODUCER = Producer("candidate", __name__)
MIN_ROWS = 10
IDENTIFIER_SHARE = 0.5


def quiet(_: str) -> None:
    """No progress wanted."""


def train(
    ledger: Ledger,
    spec: ModelSpec,
    *,
    training_set: str,
    asset: str,
    progress: Progress | None = None,
    noted: Mapping[str, JsonValue] | None = None,
    spark: Callable[[], object] | None = None,
) -> StageReport:
    """Train a candidate on the training part of `training_set` and register it under `asset`.

    Deterministic: the same training set version and views, recipe, code and library versions give the same version. Raises ModelError
    when the rows cannot make a model; nothing is published then and the champion keeps serving. The receipt carries what is `noted`.
    `spark` opens the session of `train_on.spark`, the active one where it is not given.
    """
    tell = progress or quiet
    with Meter() as meter:
        session = ledger.session(asset, PRODUCER)
        learned = read_training_set(ledger, spec, training_set)
        table, source, meter.read = learned.table, learned.ref, learned.size
        entity = spec.entity if _who_matters(spec) else ()
        columns, classes = infer_columns(table, spec), infer_classes(table, spec)
        rows = encode(table, columns, entity, classes=classes, where=training_set)
        parts = hold_out(rows, spec)
        tell(f"{len(parts.train)} of {len(rows)} rows train, {len(rows.columns)} features")
        train_rows = rows.take(parts.train)
        check_learnable(spec, train_rows)
        model, facts = fit_declared(spec, rows, parts.train, train_rows, spark)
        tell(f"trained {spec.estimator.kind} {facts}")
        described = describe_model(spec, train_rows, parts, model, {"asset": source.asset, "version": source.version}, facts)
        info = replace(described, views=learned.views)
        golden = golden_rows(table, parts.train, info, spec, model)
        files = {MODEL_FILES[info.kind]: model.encode(), INFO_FILE: info.encode(), GOLDEN_FILE: golden}
        for name, data in files.items():
            session.add_bytes(WHOLE, name, data)
            meter.written += len(data)
        session.add_stats(WHOLE, training_rows=len(train_rows), features=len(rows.columns))
        verdicts = [_identifiers(spec, train_rows), _searched(facts)]
        cost = meter.cost()
        if spec.sla is not None:
            verdicts.append(_within(spec.sla, cost.wall_seconds))
        return session.commit(
            {WHOLE: [verdict for verdict in verdicts if verdict is not None]},
            inputs=[source],
            parameters={"recipe": spec.recipe()} | ({"train_on": _place(spec)} if spec.train_on else {}),
            cost=cost,
            facts={
                "training_rows": len(train_rows),
                "held_out_rows": len(parts.test),
                "features": len(rows.columns),
                "trained_until": info.trained_until,
                "libraries": dict(info.libraries),
                "top_features": _top(info.importance),
                **facts,
                **(noted or {}),
            },
        )


def fit(spec: ModelSpec, rows: Rows, train_places: Any, train_rows: Rows | None = None) -> tuple[Estimation, dict[str, Any]]:
    """Fit the declared estimator on some of the rows, which are `train_rows` where at hand; returns it with what happened."""
    chosen = spec.estimator
    taken = rows.take(train_places) if train_rows is None else train_rows
    if chosen.logistic is not None:
        return logistic.fit(chosen.logistic, taken), {}
    if chosen.cooccurrence is not None:
        return cooccurrence.fit(chosen.cooccurrence, taken), {}
    if chosen.sklearn is not None:
        return sklearn_model.fit(chosen.sklearn, spec.task, taken), {}
    if chosen.plugin is not None:
        return added_estimator.fit(chosen.plugin, spec.task, taken), {}
    if chosen.lightgbm is not None:
        light, facts = _searched_for(chosen.lightgbm, spec, rows, train_places)
        grow = partial(lightgbm_trees.fit, light, spec.task)
        grown, stopped = _boosted(grow, light.early_stopping_rounds, spec, rows, train_places, taken)
        return grown, {**facts, **stopped, "rounds": grown.rounds}
    if chosen.xgboost is None:
        raise ModelError(f"{spec.name}: expected an estimator, found none")
    params, facts = _searched_for(chosen.xgboost, spec, rows, train_places)
    boost = partial(boosting.fit, params, spec.task)
    trees, stopped = _boosted(boost, params.early_stopping_rounds, spec, rows, train_places, taken)
    return trees, {**facts, **stopped, "rounds": trees.booster.num_boosted_rounds()}


def _searched_for(params: Params, spec: ModelSpec, rows: Rows, places: Any) -> tuple[Params, dict[str, Any]]:
    """The parameters to train with, and what was tried to find them; the declared ones where no search is."""
    if spec.search is None:
        return params, {}
    best, tried = best_parameters(spec, spec.search, params, rows, places)
    return best, {"search": tried}


def _boosted(
    boost: Callable[[Rows, Rows | None], Trees],
    patience: int | None,
    spec: ModelSpec,
    rows: Rows,
    train_places: Any,
    taken: Rows,
) -> tuple[Trees, dict[str, Any]]:
    """Boost, with `patience` for as many rounds as some of the training rows decide; the trees, and how many rows decided."""
    if patience:
        fit_places, stop_places = stopping_rows(rows, spec, train_places)
        if len(stop_places) and (spec.task in VALUES or len(np.unique(rows.label[stop_places])) > 1):
            return boost(rows.take(fit_places), rows.take(stop_places)), {"stopping_rows": len(stop_places)}
    return boost(taken, None), {}


def _who_matters(spec: ModelSpec) -> bool:
    """False where entities need not be read to split and to fit."""
    boosted = spec.estimator.xgboost or spec.estimator.lightgbm
    stops = (boosted is not None and boosted.early_stopping_rounds is not None) or spec.search is not None
    split = spec.split
    return (
        stops
        or spec.task in ("ranking", "forecast")
        or split.folds is not None
        or split.by == "entity"
        or split.disjoint_entities
    )


def fit_declared(
    spec: ModelSpec, rows: Rows, train_places: Any, train_rows: Rows, spark: Callable[[], object] | None = None
) -> tuple[Estimation, dict[str, Any]]:
    """Fit where the declaration says: in this process, or elsewhere; on Spark in the session that `spark` opens."""
    params = spec.estimator.xgboost
    if spec.train_on is None or params is None:
        return fit(spec, rows, train_places, train_rows)
    fit_places, stop_places = train_places, None
    if params.early_stopping_rounds:
        fit_places, stop_places = stopping_rows(rows, spec, train_places)
    stop = rows.take(stop_places) if stop_places is not None else None
    trees, job = _trainer(spec.train_on, spark).train(spec.first_name, params, spec.task, rows.take(fit_places), stop)
    return trees, {"rounds": trees.booster.num_boosted_rounds(), "job": job.as_json()}


def _trainer(where: TrainOn, spark: Callable[[], object] | None) -> Trainer:
    if where.spark is not None:
        from orchestrai.models.estimators.xgboost_on_spark import SparkTrainer

        return SparkTrainer(where.spark, session=spark) if spark is not None else SparkTrainer(where.spark)
    if where.sagemaker is not None:
        from orchestrai.models.remote.sagemaker import SageMakerTrainer

        return SageMakerTrainer(where.sagemaker)
    if where.azure_ml is not None:
        from orchestrai.models.remote.azureml import azureml_trainer

        return azureml_trainer(where.azure_ml)
    if where.vertex is not None:
        from orchestrai.models.remote.vertex import vertex_trainer

        return vertex_trainer(where.vertex)
    raise ModelError("expected a place to train, found none: declare one under train_on")


def _place(spec: ModelSpec) -> dict[str, Any] | None:
    return None if spec.train_on is None else spec.train_on.model_dump(mode="json", exclude_none=True)


def check_learnable(spec: ModelSpec, rows: Rows) -> None:
    """Raise ModelError when these training rows cannot make a model."""
    if len(rows) < MIN_ROWS:
        raise ModelError(
            f"{spec.name}: expected at least {MIN_ROWS} training rows, found {len(rows)}: widen the label's range"
        )
    values = np.unique(rows.label)
    if spec.task in VALUES:
        if len(values) < 2:
            raise ModelError(f"{spec.name}: expected labels that vary, found {values[0]:g} in all {len(rows)} training rows")
    elif not rows.classes and not set(values.tolist()) <= {0.0, 1.0}:
        shown = ", ".join(f"{value:g}" for value in values[:5])
        raise ModelError(
            f"{spec.name}: expected labels 0 and 1 for {spec.task}, found {shown}: fix the label's SQL, "
            "or declare task: regression or multiclass"
        )
    elif len(values) < 2:
        only = rows.classes[int(values[0])] if rows.classes else f"{values[0]:g}"
        raise ModelError(
            f"{spec.name}: expected both classes among {len(rows)} training rows, found only label {only}: "
            "check the label's SQL and its horizon"
        )
    empty = [column.name for place, column in enumerate(rows.columns) if np.isnan(rows.matrix[:, place]).all()]
    if empty:
        raise ModelError(
            f"{spec.name}: expected a value somewhere in each feature, found only nulls in {', '.join(empty)} of "
            f"{len(rows)} training rows: fix the view or list the column under exclude"
        )


def describe_model(
    spec: ModelSpec, train_rows: Rows, parts: HeldOut, model: Estimation, source: dict[str, str], facts: dict[str, Any]
) -> ModelInfo:
    """The content of model.json."""
    return ModelInfo(
        kind=spec.estimator.kind,
        recipe=spec.recipe(),
        columns=train_rows.columns,
        training_set=source,
        rows=len(train_rows),
        offset=model.offset if isinstance(model, boosting.BoostedTrees) else 0.0,
        trained_until=moment(int(train_rows.event_time.max())),
        test_from=parts.cut,
        facts={**{key: value for key, value in facts.items() if key != "job"}, **_labels(train_rows)},
        profile=profile(train_rows),
        importance=model.importance(train_rows.columns),
        libraries=library_versions(spec.estimator),
        classes=train_rows.classes,
    )


def _labels(rows: Rows) -> dict[str, Any]:
    if not rows.classes:
        return {"label_mean": float(rows.label.mean())}
    counts = np.bincount(rows.label.astype(np.intp), minlength=len(rows.classes))
    return {
        "label_shares": {name: round(float(count / len(rows)), 9) for name, count in zip(rows.classes, counts, strict=True)}
    }


def _top(importance: Any) -> list[Any]:
    ranked = sorted(importance.items(), key=lambda pair: (-pair[1], pair[0]))
    return [{"feature": name, "share": round(share, 4)} for name, share in ranked[:10]]


def _identifiers(spec: ModelSpec, rows: Rows) -> Verdict | None:
    suspects = [
        column.name
        for column in rows.columns
        if column.kind == "category" and len(column.categories) > max(50, IDENTIFIER_SHARE * len(rows))
    ]
    if not suspects:
        return Verdict("identifier_features", True, "no feature looks like an identifier", "warn")
    return Verdict(
        "identifier_features",
        False,
        f"{', '.join(suspects)}: more values than half the rows, so the model can learn rows by heart; list it under exclude",
        "warn",
    )


def _searched(facts: dict[str, Any]) -> Verdict | None:
    search = facts.get("search")
    if search is None:
        return None
    done = search["tried"] == search["wanted"]
    message = f"{search['tried']} of {search['wanted']} trials"
    if not done:
        message += " before search.timeout: training again may choose other parameters and give another model"
    return Verdict("search_complete", done, message, "warn")


def _within(limit: timedelta, seconds: float) -> Verdict:
    # a passing verdict is the same each time, so that training the same again publishes nothing new
    if seconds <= limit.total_seconds():
        return Verdict("training_time", True, f"within {limit}", "warn")
    return Verdict(
        "training_time", False, f"{seconds:.1f} s, over the declared {limit}", "warn", {"seconds": round(seconds, 3)}
    )
