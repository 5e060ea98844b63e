"""Search over declared parameter values with a seeded budget, judged on the training rows' own validation part."""

import itertools
from typing import Any

import numpy as np

from orchestrai.errors import ModelError
from orchestrai.models import boosting
from orchestrai.models.metrics import Scored, point_metrics, usable
from orchestrai.models.rows import Rows
from orchestrai.models.spec import SMALLER_IS_BETTER, ModelSpec, Search, XGBoostParams
from orchestrai.models.splitting import Index, stopping_rows


def trials(search: Search) -> list[dict[str, Any]]:
    """The combinations tried: all of them in order, or `trials` drawn without repetition by the seed."""
    names = sorted(search.space)
    combinations = [dict(zip(names, values, strict=True)) for values in itertools.product(*(search.space[n] for n in names))]
    if len(combinations) <= search.trials:
        return combinations
    drawn = np.random.default_rng(search.seed).choice(len(combinations), search.trials, replace=False)
    return [combinations[place] for place in sorted(drawn.tolist())]


def best_parameters(
    spec: ModelSpec, search: Search, params: XGBoostParams, rows: Rows, places: Index
) -> tuple[XGBoostParams, dict[str, Any]]:
    """The parameters best by promote_when's metric on rows held back from training (never the test), and what was tried."""
    fit_places, held = stopping_rows(rows, spec, places)
    validation = rows.take(held)
    groups = validation.groups() if spec.task == "ranking" else np.zeros(len(held), dtype=np.intp)
    if not usable(spec.task, Scored(validation.label, validation.label, groups)):
        raise ModelError(
            f"{spec.name}: expected both classes among the {len(held)} rows held back to search on, found one: "
            "add history or remove search"
        )
    metric, train_rows = spec.promote_when.metric, rows.take(fit_places)
    sign = -1.0 if metric in SMALLER_IS_BETTER else 1.0
    best: tuple[float, XGBoostParams, dict[str, Any]] | None = None
    tried = trials(search)
    for values in tried:
        candidate = XGBoostParams.model_validate({**params.model_dump(), **values})
        scores = boosting.fit(candidate, spec.task, train_rows, validation).score(validation)
        value = point_metrics(spec.task, Scored(validation.label, scores, groups))[metric]
        if best is None or sign * value > sign * best[0]:
            best = (value, candidate, values)
    if best is None:
        raise ModelError(f"{spec.name}: expected parameter values to search, found none")
    return best[1], {
        "tried": len(tried),
        "metric": metric,
        "value": round(best[0], 6),
        "chosen": best[2],
        "held_back": len(held),
    }
