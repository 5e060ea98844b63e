"""Search over declared parameter values with a seeded budget, judged on the training rows' own validation part.

Combinations of lists that the budget covers are all tried, in order. Otherwise Optuna's TPE sampler chooses, seeded and one
trial at a time, so that the same rows and declaration give the same trials.
"""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from orchestrai.errors import MissingExtra, ModelError
from orchestrai.models.baselines.naive import season_scale
from orchestrai.models.estimators import boosting, lightgbm_trees
from orchestrai.models.estimators.spec import LightGBMParams, XGBoostParams
from orchestrai.models.metrics.bootstrap import point_metrics, usable
from orchestrai.models.metrics.metric import rule_of
from orchestrai.models.metrics.scored import Scored
from orchestrai.models.rows import Rows
from orchestrai.models.spec import ModelSpec, Range, Search
from orchestrai.models.splitting import Index, stopping_rows

Judge = Callable[[dict[str, Any]], float | None]
Params = TypeVar("Params", XGBoostParams, LightGBMParams)


@dataclass(frozen=True)
class Trial:
    """Values that were tried and the metric they gave."""

    values: dict[str, Any]
    metric: float

    def as_json(self) -> dict[str, Any]:
        """For receipts."""
        return {"values": self.values, "metric": round(self.metric, 6)}


def grid(search: Search) -> list[dict[str, Any]] | None:
    """All combinations in order, or None where there are more than `trials` or a range has no end of values."""
    names = sorted(search.space)
    lists = [search.space[name] for name in names]
    choices = [values for values in lists if not isinstance(values, Range)]
    count = int(np.prod([len(values) for values in choices], dtype=np.float64))
    if len(choices) < len(lists) or count > search.trials:
        return None
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*choices)]


def best_parameters(
    spec: ModelSpec, search: Search, params: Params, rows: Rows, places: Index
) -> tuple[Params, dict[str, Any]]:
    """The parameters best by promote_when's metric on rows held back from training (never the test), and what was tried.

    Raises ModelError when no trial can be judged, MissingExtra where Optuna is needed and absent.
    """
    fit_places, held = stopping_rows(rows, spec, places)
    validation = rows.take(held)
    groups = validation.groups() if spec.task == "ranking" else np.zeros(len(held), dtype=np.intp)
    if not usable(spec.asked, _guessed(validation, groups)):
        raise ModelError(
            f"{spec.name}: expected both classes among the {len(held)} rows held back to search on, found one: "
            "add history or remove search"
        )
    metric, train_rows = spec.promote_when.metric, rows.take(fit_places)

    scale = season_scale(spec, rows, fit_places)
    known = None if scale is None else scale[held]

    def judge(values: dict[str, Any]) -> float | None:
        scores = _fit(_with(params, values), spec, train_rows, validation).score(validation)
        # a metric that is no number judges nothing
        return point_metrics(spec.asked, Scored(validation.label, scores, groups, scale=known)).get(metric)

    smaller = rule_of(metric).smaller_is_better
    every = grid(search)
    wanted = len(every) if every is not None else search.trials
    tried = _all(every, judge, search) if every is not None else _sampled(spec, search, judge, smaller)
    if not tried:
        raise ModelError(
            f"{spec.name}: expected a finite {metric} of some trial, found none on {len(held)} rows held back to search on: look at their "
            "labels, or declare another promote_when.metric"
        )
    best = min(tried, key=lambda trial: trial.metric if smaller else -trial.metric)
    return _with(params, best.values), {
        "sampler": "grid" if every is not None else f"optuna TPE, seed {search.seed}",
        "tried": len(tried),
        "wanted": wanted,
        "metric": metric,
        "value": round(best.metric, 6),
        "chosen": best.values,
        "held_back": len(held),
        "trials": [trial.as_json() for trial in tried],
    }


def _guessed(rows: Rows, groups: Index) -> Scored:
    """The rows with scores that matter to nobody, to ask whether anything can be told of them."""
    scores = np.full((len(rows), len(rows.classes)), 0.5) if rows.classes else rows.label
    return Scored(rows.label, scores, groups)


def _fit(
    params: XGBoostParams | LightGBMParams, spec: ModelSpec, rows: Rows, stop: Rows
) -> boosting.BoostedTrees | lightgbm_trees.LightTrees:
    if isinstance(params, LightGBMParams):
        return lightgbm_trees.fit(params, spec.task, rows, stop)
    return boosting.fit(params, spec.task, rows, stop)


def _with(params: Params, values: dict[str, Any]) -> Params:
    return type(params).model_validate({**params.model_dump(), **values})


def _deadline(search: Search) -> Callable[[], bool]:
    limit = None if search.timeout is None else time.monotonic() + search.timeout.total_seconds()
    return lambda: limit is not None and time.monotonic() >= limit


def _all(every: list[dict[str, Any]], judge: Judge, search: Search) -> list[Trial]:
    over, tried = _deadline(search), []
    for values in every:
        value = judge(values)
        if value is not None:
            tried.append(Trial(values, value))
        if over():
            break
    return tried


def _sampled(spec: ModelSpec, search: Search, judge: Judge, smaller: bool) -> list[Trial]:
    try:
        import optuna
    except ImportError as exc:
        raise MissingExtra(
            f"{spec.name}: expected the extra search for more combinations than trials, found none: "
            "pip install 'orchestrai[search]', or list no more than search.trials combinations"
        ) from exc
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=search.seed)
    study = optuna.create_study(direction="minimize" if smaller else "maximize", sampler=sampler)
    over, tried = _deadline(search), []
    for _ in range(search.trials):
        trial = study.ask()
        values = {name: _suggest(trial, name, search.space[name]) for name in sorted(search.space)}
        value = judge(values)
        if value is None:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            tried.append(Trial(values, value))
            study.tell(trial, value)
        if over():
            break
    return tried


def _suggest(trial: Any, name: str, choice: Any) -> Any:
    if not isinstance(choice, Range):
        return trial.suggest_categorical(name, choice)
    if isinstance(choice.low, int) and isinstance(choice.high, int):
        return trial.suggest_int(name, choice.low, choice.high, step=int(choice.step or 1), log=choice.log)
    return trial.suggest_float(name, choice.low, choice.high, step=choice.step, log=choice.log)
