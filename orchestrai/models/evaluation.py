"""Evaluation: a candidate, the champion and a baseline on the same held-out rows. Always published; the gate is promotion's."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from orchestrai.core.canonical import JsonValue
from orchestrai.core.code_identity import Producer
from orchestrai.core.time.partition_key import WHOLE
from orchestrai.core.verdict import Verdict
from orchestrai.errors import IntegrityError, ModelError
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import canonical_json
from orchestrai.ledger.receipt import InputRef
from orchestrai.ledger.report import Meter, StageReport
from orchestrai.models.baselines.contest import Contest, hold_contest
from orchestrai.models.baselines.naive import naive_name, steps_of
from orchestrai.models.drift import drift, drift_verdict
from orchestrai.models.estimators.artifact import Scorer, load_dataset
from orchestrai.models.metrics.bootstrap import improvement, measure, point_metrics, usable
from orchestrai.models.metrics.metric import Measures, document_measures
from orchestrai.models.metrics.multiclass import MulticlassJudge
from orchestrai.models.ports import changed_views
from orchestrai.models.presentation import plots
from orchestrai.models.presentation.card import model_card
from orchestrai.models.promotion_rule import METRICS_FILE, decide_promotion, leak_verdict
from orchestrai.models.registry.versions import serving_champion
from orchestrai.models.rows import Rows, TrainingSet, encode, read_training_set
from orchestrai.models.spec import Forecast, ModelAssets, ModelSpec
from orchestrai.models.splitting import HeldOut, held_out_parts, moment
from orchestrai.models.training import Progress, quiet

PRODUCER = Producer("evaluation", __name__)

CARD_FILE = "model_card.md"
ONE_SCORE = frozenset({"binary", "ranking"})


def evaluate(
    ledger: Ledger,
    spec: ModelSpec,
    assets: ModelAssets,
    *,
    progress: Progress | None = None,
    noted: Mapping[str, JsonValue] | None = None,
) -> StageReport:
    """Score the candidate and the champion on held-out rows of the candidate's own training set, and publish the finding.

    Publishes metrics.json, model_card.md and the plots, whatever the outcome: the verdicts `promotion`,
    `leak_alarm`, `beats_baseline` and `feature_drift` inform, and `promote` decides. A candidate that serves already is held against
    the champion before it. Raises ModelError when the candidate was trained with another declaration or its held-out rows hold one class
    only. The receipt carries what is `noted`.
    """
    tell = progress or quiet
    candidate, training_set = assets.candidate, assets.training_set
    with Meter() as meter:
        session = ledger.session(assets.evaluation, PRODUCER)
        dataset = ledger.open(candidate)
        challenger = load_dataset(dataset)
        _same_recipe(spec, challenger)
        learned = read_training_set(ledger, spec, training_set, challenger.info.training_set["version"])
        table, source, meter.read = learned.table, learned.ref, learned.size
        current = rival_of(ledger, assets, dataset)
        incumbent = load_dataset(current) if current is not None else None
        apart = _not_compared(spec, challenger, incumbent)
        if apart:
            # its figures over features of another meaning, or on another question, would say nothing
            incumbent = None
        rows = encode(table, challenger.info.columns, spec.entity, classes=challenger.info.classes, where=training_set)
        splits = held_out_parts(rows, spec)
        tell(f"scoring {sum(len(split.test) for split in splits)} held-out rows")
        contest = hold_contest(spec, rows, table, splits, challenger, incumbent)
        for part in contest.parts["candidate"]:
            if not usable(spec.asked, part):
                raise ModelError(
                    f"{spec.name}: expected both classes among the {len(part.label)} held-out rows, found one: "
                    "enlarge split.test_share or add history"
                )
        document = _document(spec, contest, splits, challenger, incumbent)
        document |= apart | _told(learned)
        verdicts = _verdicts(spec, document, challenger, incumbent, contest)
        importance = dict(challenger.info.importance)
        pictures = plots.draw(spec, contest, importance, document.get("drift"))
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
            inputs.append(InputRef(assets.champion, current.version, current.roots([WHOLE])))
        report = session.commit(
            {WHOLE: verdicts},
            inputs=inputs,
            parameters={"promote_when": spec.promote_when.model_dump(mode="json", exclude_none=True)},
            cost=meter.cost(),
            facts={
                "metrics": document["candidate"],
                "champion_metrics": document.get("champion"),
                "baseline_metrics": document.get("baseline"),
                "naive_metrics": document["naive"],
                "task": spec.task,
                **spec.card_facts,
                "promotion": {"passed": verdicts[0].passed, "message": verdicts[0].message},
                "rows": document["rows"],
                **(noted or {}),
            },
        )
    return replace(report, plots=pictures)


def rival_of(ledger: Ledger, assets: ModelAssets, candidate: Dataset) -> Dataset | None:
    """The champion that a candidate is held against: the one that serves, and once it is this candidate the one before.

    A model that serves gains nothing over itself: what it was judged against when it was promoted says more, and stays as it was.
    """
    current, judged = serving_champion(ledger, assets.champion), ledger.find(assets.evaluation)
    if current is None or judged is None or current.version != candidate.version or WHOLE not in judged.partitions:
        return current
    try:
        seen = {ref.asset: ref.version for ref in judged.receipt(WHOLE).inputs}
        if seen.get(candidate.asset) != candidate.version:
            return current
        before = ledger.open(assets.champion, seen[assets.champion]) if assets.champion in seen else None
        if before is not None:
            before.receipt(WHOLE)
    except IntegrityError:
        return current
    return before


def _told(learned: TrainingSet) -> dict[str, Any]:
    """What the training set's receipt says of its rows."""
    told: dict[str, Any] = {} if learned.incomplete is None else {"incomplete": dict(learned.incomplete)}
    told |= {"second_clock": learned.second_clock} if learned.second_clock else {}
    return told | ({"values": dict(learned.values)} if learned.values is not None else {})


def _not_compared(spec: ModelSpec, challenger: Scorer, incumbent: Scorer | None) -> dict[str, Any]:
    """Why the champion is not scored beside the candidate; nothing where it is."""
    if incumbent is not None and incumbent.info.task != spec.task:
        return {"champion_of_task": incumbent.info.task}
    strange = _of_other_views(challenger, incumbent)
    return {"champion_not_compared": strange} if strange else {}


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


def _document(
    spec: ModelSpec, contest: Contest, splits: Sequence[HeldOut], challenger: Scorer, incumbent: Scorer | None
) -> dict[str, Any]:
    measured = {name: measure(spec.asked, parts) for name, parts in contest.parts.items()}
    document: dict[str, Any] = {name: measures.as_json() for name, measures in measured.items()}
    document["refused"] = {name: dict(measures.refused) for name, measures in measured.items() if measures.refused}
    document["task"], document["naive_is"] = spec.task, naive_name(spec)
    document["rows"] = len(contest.tested)
    document["positives"] = int((contest.tested.label > 0).sum()) if spec.task in ONE_SCORE else None
    document["split"] = {
        "by": "folds" if spec.split.folds else spec.split.by,
        "folds": spec.split.folds,
        "backtests": spec.split.backtests,
        "train_rows": [len(split.train) for split in splits],
        "test_rows": [len(split.test) for split in splits],
        "test_from": splits[0].cut,
        "test_until": moment(int(contest.tested.event_time.max())),
    }
    document["candidate_version"] = challenger.version
    document["training_set"] = dict(challenger.info.training_set)
    if spec.split.anew:
        each = [point_metrics(spec.asked, part) for part in contest.parts["candidate"]]
        document["candidate_by_fold"] = [{name: round(value, 6) for name, value in values.items()} for values in each]
    if incumbent is not None:
        document["champion_version"] = incumbent.version
        document["improvement"] = _gain(spec, measured, contest, "champion")
        document["drift"] = drift(incumbent.info.profile, contest.tested)
    document["slices"] = _slices(spec, contest)
    if spec.task in ONE_SCORE:
        document["single_feature_auc"] = _single(contest.tested)
    if spec.task == "multiclass":
        judge = MulticlassJudge(contest.pooled())
        lines = zip(contest.tested.classes, judge.by_class(), strict=True)
        document["by_class"] = [{"class": name, **line} for name, line in lines]
        document["confusion"] = judge.confusion().tolist()
    if spec.forecast is not None:
        document["by_step"] = _by_step(spec, spec.forecast, contest)
        document["rows_without_season"] = contest.without_season
    return document


def _gain(spec: ModelSpec, measured: Mapping[str, Measures], contest: Contest, rival: str) -> dict[str, Any]:
    """The gain over a rival with its interval; only the metric's name where one of the two has no figure."""
    metric = spec.promote_when.metric
    if any(metric not in measured[name].values for name in ("candidate", rival)):
        return {"metric": metric}
    gain = improvement(spec.asked, metric, contest.parts["candidate"], contest.parts[rival])
    return {"metric": metric, **gain.as_json()}


def _by_step(spec: ModelSpec, forecast: Forecast, contest: Contest) -> list[dict[str, Any]]:
    """Errors step by step, with their intervals, over all backtests."""
    steps, pooled = steps_of(forecast, spec, contest.tested), contest.pooled()
    _, cluster = np.unique(contest.tested.event_time, return_inverse=True)
    lines = []
    for step in np.unique(steps).tolist():
        places = np.flatnonzero(steps == step)
        part = replace(pooled.take(places), cluster=np.unique(cluster[places], return_inverse=True)[1])
        lines.append({"step": step, "rows": len(places), **measure(spec.asked, [part]).as_json()})
    return lines


def _slices(spec: ModelSpec, contest: Contest) -> list[dict[str, Any]]:
    rows = contest.tested
    scored = contest.pooled()
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
            if usable(spec.asked, part):
                values = {key: round(value, 6) for key, value in point_metrics(spec.asked, part).items()}
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
        measured = {name: document_measures(document, name) or Measures({}) for name in ("candidate", "baseline")}
        verdicts.append(_beats(spec, _gain(spec, measured, contest, "baseline")))
    if incumbent is not None:
        verdicts.append(drift_verdict(document["drift"], f"champion {incumbent.version[7:19]} was trained"))
        verdicts.append(_overlap(document, incumbent))
    return verdicts


def _beats(spec: ModelSpec, gain: Mapping[str, Any]) -> Verdict:
    metric = gain["metric"]
    if "value" not in gain:
        message = (
            f"expected a finite {metric} of the model and of {spec.baseline} alone, found none of one: they are not compared"
        )
        return Verdict("beats_baseline", False, message, "warn", dict(gain))
    interval = f"95 % interval {gain['low']:+.4f} to {gain['high']:+.4f}"
    message = f"{metric} {gain['value']:+.4f} better than {spec.baseline} alone ({interval})"
    return Verdict("beats_baseline", gain["value"] > 0, message, "warn", dict(gain))


def _overlap(document: Mapping[str, Any], incumbent: Scorer) -> Verdict:
    begins = document["split"]["test_from"]
    anew = document["split"]["folds"] is not None or document["split"]["backtests"] is not None
    clean = not begins or anew or incumbent.info.trained_until < begins
    message = (
        "the champion never saw the held-out rows"
        if clean
        else f"the champion was trained until {incumbent.info.trained_until}, the test begins {begins}: its figures flatter it"
    )
    return Verdict("champion_unseen", clean, message, "warn")
