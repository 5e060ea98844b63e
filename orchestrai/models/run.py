"""The stages of a model: candidate, evaluation, champion, deployment, predictions. Each module is loaded when its stage runs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrai.core.canonical import JsonValue
from orchestrai.core.code_identity import Producer
from orchestrai.core.time.calendar import WHOLE
from orchestrai.core.verdict import CheckInfo
from orchestrai.errors import NotReceipted
from orchestrai.ledger.report import StageReport
from orchestrai.models.ports import DeclaredModel, Features
from orchestrai.models.spec import ModelAssets
from orchestrai.stage.context import RunContext
from orchestrai.stage.making import unless_it_stands
from orchestrai.stage.outcomes import with_outcomes
from orchestrai.stage.stage import AssetNode, Stage
from orchestrai.stage.staleness import Places, StalePartition, stale_by_receipt
from orchestrai.storage.spread.spark_session import SparkSession

if TYPE_CHECKING:
    from orchestrai.models.staleness.stale_predictions import Scored

Node = AssetNode[DeclaredModel]
# how many partitions that features made stale a run scores again beside the newest
AT_ONCE = 100


def _assets(model: DeclaredModel) -> ModelAssets:
    return ModelAssets(
        model.asset("training_set"),
        model.asset("candidate"),
        model.asset("evaluation"),
        model.asset("champion"),
        model.asset("deployment"),
        model.asset("predictions"),
    )


def _candidate(context: RunContext, node: Node, partitions: Sequence[str]) -> StageReport:
    from orchestrai.models.staleness.step_makings import candidate_making

    ledger, spec, assets = context.ledger, node.subject.spec, _assets(node.subject)

    def made(noted: Mapping[str, JsonValue]) -> StageReport:
        from orchestrai.models.training import train

        on_spark = spec.train_on is not None and spec.train_on.spark is not None
        # the session that the settings name, as every stage on Spark has it
        spark = context.port(SparkSession).open if on_spark else None
        return train(ledger, spec, training_set=assets.training_set, asset=assets.candidate, noted=noted, spark=spark)

    return unless_it_stands(context, candidate_making(ledger, spec, assets), made)


def _evaluation(context: RunContext, node: Node, partitions: Sequence[str]) -> StageReport:
    from orchestrai.models.staleness.step_makings import evaluation_making

    ledger, spec, assets = context.ledger, node.subject.spec, _assets(node.subject)

    def made(noted: Mapping[str, JsonValue]) -> StageReport:
        from orchestrai.models.evaluation import evaluate

        return evaluate(ledger, spec, assets, noted=noted)

    return unless_it_stands(context, evaluation_making(ledger, spec, assets), made)


def _champion(context: RunContext, node: Node, partitions: Sequence[str]) -> StageReport:
    from orchestrai.models.registry.notify import told_of_rejection
    from orchestrai.models.staleness.step_makings import champion_making

    ledger, spec, assets = context.ledger, node.subject.spec, _assets(node.subject)

    def made(noted: Mapping[str, JsonValue]) -> StageReport:
        from orchestrai.models.promotion import promote

        return promote(
            ledger, spec, candidate=assets.candidate, evaluation=assets.evaluation, asset=assets.champion, noted=noted
        )

    return told_of_rejection(spec, unless_it_stands(context, champion_making(ledger, spec, assets), made))


def _deployment(context: RunContext, node: Node, partitions: Sequence[str]) -> StageReport:
    from orchestrai.models.registry.deployment import deploy_champion

    assets = _assets(node.subject)
    return deploy_champion(context.ledger, node.subject.spec, champion=assets.champion, asset=assets.deployment)


def _predictions(context: RunContext, node: Node, partitions: Sequence[str]) -> StageReport:
    from orchestrai.models.staleness.stale_predictions import judged_predictions, stale_predictions
    from orchestrai.models.staleness.step_makings import predictions_making

    model, ledger, scored = node.subject, context.ledger, _scored(node)
    stale, known = stale_predictions(ledger, scored, {}), context.port(Features).open()
    # the join is another room's, so that the code of the stage does not cover it
    join = Producer("join", type(known).__module__)

    def made(partition: str | None, before: Sequence[str]) -> StageReport:
        making = predictions_making(ledger, model.spec, _assets(model), scored.features, partition, join)
        return unless_it_stands(context, making, lambda noted: scores(partition, before, noted))

    def scores(partition: str | None, before: Sequence[str], noted: Mapping[str, JsonValue]) -> StageReport:
        from orchestrai.models.inference import predict

        return predict(
            ledger,
            model.spec,
            champion=scored.champion,
            features=scored.features,
            known=known,
            asset=node.asset,
            partition=partition,
            judged=lambda key: judged_predictions(ledger, scored, stale, {*before, key}),
            noted=noted,
        )

    report = made(None, ())
    done = [outcome.partition for outcome in report.outcomes]
    # what was scored earlier of features that were mended since, the newest first
    again = [one.partition for one in stale if one.by_inputs and one.partition not in done][-AT_ONCE:]
    for key in reversed(again):
        try:
            report = with_outcomes(report, made(key, done).outcomes)
        except NotReceipted:
            continue  # its features do not count, or are of another definition: it stays listed
        done.append(key)
    return report


def _scored(node: Node) -> "Scored":
    from orchestrai.models.staleness.stale_predictions import Scored

    model = node.subject
    views = tuple(view.asset for view in model.views)
    return Scored(node.asset, model.asset("champion"), views, node.stage.code_of(model))


def _stale_candidate(context: RunContext, node: Node, above: Places) -> tuple[StalePartition, ...]:
    """A candidate is of one training set: another one, or one that is stale itself, makes it stale until it is trained again."""
    return stale_by_receipt(context.ledger, node.asset, WHOLE, node.stage.code_of(node.subject), above)


def _stale_predictions(context: RunContext, node: Node, above: Places) -> tuple[StalePartition, ...]:
    from orchestrai.models.staleness.stale_predictions import stale_predictions

    return stale_predictions(context.ledger, _scored(node), above)


def _candidate_checks(model: DeclaredModel) -> list[CheckInfo]:
    checks = [CheckInfo("identifier_features", False, "No feature looks like an identifier.")]
    if model.spec.sla is not None:
        checks.append(CheckInfo("training_time", False, "Training took no longer than declared."))
    if model.spec.search is not None:
        checks.append(
            CheckInfo("search_complete", False, "Every trial of the search ran, so training again chooses the same.")
        )
    return checks


def _evaluation_checks(model: DeclaredModel) -> list[CheckInfo]:
    checks = [
        CheckInfo(
            "promotion", False, "Whether the figures would promote it; one that was rolled back only a person brings back."
        ),
        CheckInfo("leak_alarm", False, "A metric too good to be true means that the label leaked into the features."),
        CheckInfo("feature_drift", False, "Features against the champion's training set."),
        CheckInfo(
            "champion_unseen", False, "The champion was trained before the held-out rows began, so the comparison is fair."
        ),
    ]
    if model.spec.baseline:
        checks.append(CheckInfo("beats_baseline", False, "The model beats the plain baseline."))
    return checks


CHAMPION_CHECKS = (
    CheckInfo("promotion", True, "The candidate meets the declared rule and beats the champion."),
    CheckInfo("evaluation_current", True, "The evaluation is of exactly this candidate and training set."),
    CheckInfo("golden_rows", True, "The model scores its golden rows as it did at training."),
)
DEPLOYMENT_CHECKS = (CheckInfo("registered", True, "Every declared registry and endpoint holds the champion."),)
PREDICTION_CHECKS = (
    CheckInfo("feature_drift", False, "What is scored against what the champion learned from."),
    CheckInfo("windows_complete", False, "No window of what is scored lacks a partition in which data was due."),
)

CANDIDATE = Stage(
    "candidate",
    ("model",),
    "The model just trained, with golden rows and what it learned from.",
    frozenset({"xgboost"}),
    Producer("candidate", "orchestrai.models.training"),
    _candidate,
    deps=lambda model: (model.asset("training_set"),),
    checks=_candidate_checks,
    proven=True,
    rowless=True,
    stale=_stale_candidate,
    tried=True,
)
EVALUATION = Stage(
    "evaluation",
    ("model",),
    "The candidate scored on a later period it never saw, beside the champion and a plain baseline.",
    frozenset({"report"}),
    Producer("evaluation", "orchestrai.models.evaluation"),
    _evaluation,
    deps=lambda model: (model.asset("candidate"), model.asset("training_set")),
    checks=_evaluation_checks,
    proven=True,
    rowless=True,
    tried=True,
)
CHAMPION = Stage(
    "champion",
    ("model",),
    "The model that serves. A candidate takes its place only when its evaluation meets the declared rule.",
    frozenset({"xgboost"}),
    Producer("champion", "orchestrai.models.promotion"),
    _champion,
    deps=lambda model: (model.asset("candidate"), model.asset("evaluation")),
    checks=lambda model: CHAMPION_CHECKS,
    proven=True,
    rowless=True,
    tried=True,
)
DEPLOYMENT = Stage(
    "deployment",
    ("model",),
    "Where the champion is registered and served besides the lake: every declared registry and endpoint follows it.",
    frozenset({"json"}),
    Producer("deployment", "orchestrai.models.registry.deployment"),
    _deployment,
    deps=lambda model: (model.asset("champion"),),
    checks=lambda model: DEPLOYMENT_CHECKS,
    applies=lambda model: model.spec.deployed,
    rowless=True,
)
PREDICTIONS = Stage(
    "predictions",
    ("model",),
    "Scores of the champion for the newest features.",
    frozenset({"parquet"}),
    Producer("predictions", "orchestrai.models.inference"),
    _predictions,
    deps=lambda model: (model.asset("champion"), *(view.asset for view in model.views)),
    checks=lambda model: PREDICTION_CHECKS,
    stale=_stale_predictions,
    tried=True,
)
