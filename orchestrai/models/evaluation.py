"""Evaluation: a candidate, the champion and a baseline on the same held-out rows. Always published; the gate is promotion's."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from orchestrai.core.code_identity import Producer
from orchestrai.core.verdict import Verdict
from orchestrai.errors import ModelError
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import canonical_json
from orchestrai.ledger.receipt import InputRef
from orchestrai.ledger.report import Meter, StageReport
from orchestrai.models.drift import drift, drift_verdict
from orchestrai.models.estimators import logistic
from orchestrai.models.estimators.artifact import Scorer, load_dataset
from orchestrai.models.metrics import Measured, Scored, improvement, measure, point_metrics, usable
from orchestrai.models.ports import changed_views
from orchestrai.models.presentation import plots
from orchestrai.models.presentation.card import model_card
from orchestrai.models.promotion_rule import METRICS_FILE, decide_promotion, leak_verdict
from orchestrai.models.registry.versions import serving_champion
from orchestrai.models.rows import WHOLE, Floats, Rows, encode, read_training_set
from orchestrai.models.spec import Estimator, LogisticParams, ModelAssets, ModelSpec, Split
from orchestrai.models.splitting import HeldOut, folds, hold_out, moment
from orchestrai.models.training import Progress, fit, quiet

PRODUCER = Producer("evaluation", __name__)

CARD_FILE = "model_card.md"


@dataclass(frozen=True)
class Contest:
    """Who was scored on which rows: parts by name ("candidate", "champion", "baseline"), and the rows held out."""

    parts: Mapping[str, Sequence[Scored]]
    tested: Rows


def evaluate(ledger: Ledger, spec: ModelSpec, assets: ModelAssets, *, progress: Progress | None = None) -> StageReport:
    """Score the candidate and the champion on held-out rows of the candidate's own training set, and publish the finding.

    Publishes metrics.json, model_card.md and the plots, whatever the outcome: the verdicts `promotion`,
    `leak_alarm`, `beats_baseline` and `feature_drift` inform, and `promote` decides. Raises ModelError when the candidate
    was trained with another declaration or its held-out rows hold one class only.
    """
    tell = progress or quiet
    candidate, training_set, champion = assets.candidate, assets.training_set, assets.champion
    with Meter() as meter:
        session = ledger.session(assets.evaluation, PRODUCER)
        dataset = ledger.open(candidate)
        challenger = load_dataset(dataset)
        _same_recipe(spec, challenger)
        learned = read_training_set(ledger, spec, training_set, challenger.info.training_set["version"])
        table, source, meter.read = learned.table, learned.ref, learned.size
        current = serving_champion(ledger, champion)
        incumbent = load_dataset(current) if current is not None else None
        strange = _of_other_views(challenger, incumbent)
        if strange:
            # its figures over features of another meaning would say nothing
            incumbent = None
        rows = encode(table, challenger.info.columns, spec.entity, where=training_set)
        splits = folds(rows, spec) if spec.split.folds else [hold_out(rows, spec)]
        tell(f"scoring {sum(len(split.test) for split in splits)} held-out rows")
        contest = _contest(spec, rows, table, splits, challenger, incumbent)
        for part in contest.parts["candidate"]:
            if not usable(spec.task, part):
                raise ModelError(
                    f"{spec.name}: expected both classes among the {len(part.label)} held-out rows, found one: "
                    "enlarge split.test_share or add history"
                )
        document = _document(spec, contest, splits, challenger, incumbent)
        if strange:
            document["champion_not_compared"] = strange
        if learned.incomplete is not None:
            document["incomplete"] = dict(learned.incomplete)
        if learned.values is not None:
            document["values"] = dict(learned.values)
        verdicts = _verdicts(spec, document, challenger, incumbent, contest)
        importance = dict(challenger.info.importance)
        pictures = plots.draw(spec.task, contest.parts, importance, document.get("drift"))
        files = {
            METRICS_FILE: canonical_json(document),
            CARD_FILE: model_card(spec, document, challenger.info, verdicts).encode(),
            **{f"{name}.png": picture for name, picture in pictures.items()},
        }
        for name, data in files.items():
            session.add_bytes(WHOLE, name, data)
            meter.written += len(data)
        inputs = [InputRef(candidate, dataset.version, dataset.roots([WHOLE])), source]
        if current is not None:
            inputs.append(InputRef(champion, current.version, current.roots([WHOLE])))
        report = session.commit(
            {WHOLE: verdicts},
            inputs=inputs,
            parameters={"promote_when": spec.promote_when.model_dump(mode="json", exclude_none=True)},
            cost=meter.cost(),
            facts={
                "metrics": document["candidate"],
                "champion_metrics": document.get("champion"),
                "baseline_metrics": document.get("baseline"),
                "promotion": {"passed": verdicts[0].passed, "message": verdicts[0].message},
                "rows": document["rows"],
            },
        )
    return replace(report, plots=pictures)


def _of_other_views(challenger: Scorer, incumbent: Scorer | None) -> list[str]:
    """Feature tables that the champion learned from under another definition than the candidate did, or that it alone uses."""
    if incumbent is None or incumbent.info.views is None or challenger.info.views is None:
        return []
    return changed_views(incumbent.info.views, {view.asset: view.hash for view in challenger.info.views})


def _same_recipe(spec: ModelSpec, challenger: Scorer) -> None:
    if dict(challenger.info.recipe) != spec.recipe():
        changed = sorted(
            name for name, value in spec.recipe().items() if challenger.info.recipe.get(name) != value
        ) or sorted(set(challenger.info.recipe) - set(spec.recipe()))
        raise ModelError(
            f"{spec.name}: expected a candidate trained with the present declaration, found another {', '.join(changed)}: "
            "train the candidate again"
        )


def _contest(
    spec: ModelSpec, rows: Rows, table: Any, splits: Sequence[HeldOut], challenger: Scorer, incumbent: Scorer | None
) -> Contest:
    parts: dict[str, list[Scored]] = {"candidate": []}
    rival = encode(table, incumbent.info.columns, spec.entity, where="champion") if incumbent is not None else None
    for split in splits:
        test = rows.take(split.test)
        groups = test.groups() if spec.task == "ranking" else np.zeros(len(test), dtype=np.intp)
        cross = spec.split.folds is not None
        # in folds the candidate saw every row, so its recipe is fitted anew without the fold; so is the champion's
        scores = fit(spec, rows, split.train)[0].score(test) if cross else challenger.model.score(test)
        parts["candidate"].append(Scored(test.label, scores, groups))
        if incumbent is not None and rival is not None:
            scorer = _refit(spec, incumbent, rival, split) if cross else incumbent.model
            parts.setdefault("champion", []).append(Scored(test.label, scorer.score(rival.take(split.test)), groups))
        if spec.baseline is not None:
            baseline_scores = _baseline(spec, rows, split)
            parts.setdefault("baseline", []).append(Scored(test.label, baseline_scores, groups))
    tested = rows.take(np.concatenate([split.test for split in splits]))
    return Contest(parts, tested)


def _refit(spec: ModelSpec, incumbent: Scorer, rows: Rows, split: HeldOut) -> Any:
    champion_recipe = incumbent.info.recipe
    recipe = {
        "estimator": Estimator.model_validate_json(json.dumps(champion_recipe["estimator"])),
        "split": Split.model_validate_json(json.dumps(champion_recipe["split"])),
    }
    return fit(spec.model_copy(update=recipe), rows, split.train)[0]


def _baseline(spec: ModelSpec, rows: Rows, split: HeldOut) -> Floats:
    """Scores of the one baseline column: a logistic curve over it, or for a regression the line through it."""
    names = [column.name for column in rows.columns]
    if spec.baseline not in names:
        raise ModelError(
            f"{spec.name}: expected baseline to name a feature, found {spec.baseline!r}: choose of {', '.join(names)}"
        )
    place = names.index(spec.baseline)
    narrow = replace(rows, columns=(rows.columns[place],), matrix=rows.matrix[:, place : place + 1])
    train, test = narrow.take(split.train), narrow.take(split.test)
    if spec.task != "regression":
        return logistic.fit(LogisticParams(), train).score(test)
    values = train.matrix[:, 0].astype(np.float64)
    known = ~np.isnan(values)
    slope = (
        float(np.cov(values[known], train.label[known])[0, 1] / (values[known].var(ddof=1) or 1.0))
        if known.sum() > 1
        else 0.0
    )
    centre = float(values[known].mean()) if known.any() else 0.0
    asked = test.matrix[:, 0].astype(np.float64)
    return np.asarray(train.label.mean() + slope * (np.where(np.isnan(asked), centre, asked) - centre), dtype=np.float64)


def _document(
    spec: ModelSpec, contest: Contest, splits: Sequence[HeldOut], challenger: Scorer, incumbent: Scorer | None
) -> dict[str, Any]:
    measured = {name: measure(spec.task, parts) for name, parts in contest.parts.items()}
    _require_finite(spec, measured)
    document: dict[str, Any] = {name: _json(values) for name, values in measured.items()}
    document["rows"] = len(contest.tested)
    document["positives"] = int((contest.tested.label > 0).sum()) if spec.task != "regression" else None
    document["split"] = {
        "by": "folds" if spec.split.folds else spec.split.by,
        "folds": spec.split.folds,
        "train_rows": [len(split.train) for split in splits],
        "test_rows": [len(split.test) for split in splits],
        "test_from": splits[0].cut,
        "test_until": moment(int(contest.tested.event_time.max())),
    }
    document["candidate_version"] = challenger.version
    document["training_set"] = dict(challenger.info.training_set)
    if spec.split.folds:
        each = [point_metrics(spec.task, part) for part in contest.parts["candidate"]]
        document["candidate_by_fold"] = [{name: round(value, 6) for name, value in values.items()} for values in each]
    if incumbent is not None:
        metric = spec.promote_when.metric
        gain = improvement(spec.task, metric, contest.parts["candidate"], contest.parts["champion"])
        document["champion_version"] = incumbent.version
        document["improvement"] = {"metric": metric, **gain.as_json()}
        document["drift"] = drift(incumbent.info.profile, contest.tested)
    document["slices"] = _slices(spec, contest)
    if spec.task != "regression":
        document["single_feature_auc"] = _single(contest.tested)
    return document


def _require_finite(spec: ModelSpec, measured: Mapping[str, Mapping[str, Measured]]) -> None:
    """Raise ModelError for a figure that is no finite number: nothing can be told from it, least of all that a model is good."""
    for name, values in measured.items():
        wrong = [
            metric
            for metric, figure in values.items()
            if not all(math.isfinite(value) for value in (figure.value, figure.low, figure.high))
        ]
        if wrong:
            raise ModelError(
                f"{spec.name}: expected finite metrics of the {name}, found {', '.join(f'{m} {values[m].value}' for m in wrong)}: look "
                "at its scores and at the labels of the held-out rows"
            )


def _json(values: Mapping[str, Measured]) -> dict[str, Any]:
    return {name: value.as_json() for name, value in values.items()}


def _slices(spec: ModelSpec, contest: Contest) -> list[dict[str, Any]]:
    rows = contest.tested
    scored = Scored(
        np.concatenate([part.label for part in contest.parts["candidate"]]),
        np.concatenate([part.score for part in contest.parts["candidate"]]),
        rows.groups() if spec.task == "ranking" else np.zeros(len(rows), dtype=np.intp),
    )
    unknown = sorted(set(spec.slices) - {column.name for column in rows.columns if column.kind != "number"})
    if unknown:
        raise ModelError(f"{spec.name}: expected slices over category or boolean features, found {', '.join(unknown)}")
    slices = []
    for place, column in enumerate(rows.columns):
        if column.name not in spec.slices:
            continue
        names = column.categories if column.kind == "category" else ("false", "true")
        for code, name in enumerate(names):
            part = scored.take(np.flatnonzero(rows.matrix[:, place] == code))
            if usable(spec.task, part):
                values = {key: round(value, 6) for key, value in point_metrics(spec.task, part).items()}
                slices.append({"feature": column.name, "value": name, "rows": len(part.label), **values})
    return slices


def _single(rows: Rows) -> dict[str, float]:
    """AUC of each numeric feature alone, whichever way it points: a value near 1 names the column that leaks."""
    from sklearn.metrics import roc_auc_score

    areas = {}
    for place, column in enumerate(rows.columns):
        values = rows.matrix[:, place]
        known = ~np.isnan(values)
        if column.kind != "category" and 0 < float((rows.label[known] > 0).mean() if known.any() else 0) < 1:
            area = float(roc_auc_score(rows.label[known], values[known]))
            areas[column.name] = round(max(area, 1 - area), 6)
    return areas


def _verdicts(
    spec: ModelSpec, document: Mapping[str, Any], challenger: Scorer, incumbent: Scorer | None, contest: Contest
) -> list[Verdict]:
    decision = decide_promotion(spec, document)
    # severity warn: the evaluation is published either way, and `promote` closes the gate on the same decision
    verdicts = [
        Verdict("promotion", decision.promote, decision.reason, "warn", decision.as_json()),
        leak_verdict(spec, document),
    ]
    if "baseline" in document:
        metric = spec.promote_when.metric
        gain = improvement(spec.task, metric, contest.parts["candidate"], contest.parts["baseline"])
        message = f"{metric} {gain.value:+.4f} better than {spec.baseline} alone (95 % interval {gain.low:+.4f} to {gain.high:+.4f})"
        verdicts.append(Verdict("beats_baseline", gain.value > 0, message, "warn", {"metric": metric, **gain.as_json()}))
    if incumbent is not None:
        verdicts.append(drift_verdict(document["drift"], f"champion {incumbent.version[7:19]} was trained"))
        verdicts.append(_overlap(document, incumbent))
    return verdicts


def _overlap(document: Mapping[str, Any], incumbent: Scorer) -> Verdict:
    begins = document["split"]["test_from"]
    clean = not begins or document["split"]["folds"] is not None or incumbent.info.trained_until < begins
    message = (
        "the champion never saw the held-out rows"
        if clean
        else f"the champion was trained until {incumbent.info.trained_until}, the test begins {begins}: its figures flatter it"
    )
    return Verdict("champion_unseen", clean, message, "warn")
