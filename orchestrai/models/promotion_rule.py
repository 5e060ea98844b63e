"""The rules of promotion, as pure functions of what an evaluation found."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrai.core.canonical import JsonValue
from orchestrai.core.verdict import Verdict
from orchestrai.models.metrics.metric import Measures, Metric, document_measures, rule_of
from orchestrai.models.spec import ModelSpec
from orchestrai.models.task import Task

METRICS_FILE = "metrics.json"
NO_NAIVE = "expected figures of the naive baseline, found an evaluation without: evaluate the candidate again"


@dataclass(frozen=True)
class PromotionDecision:
    """Whether a candidate earns promotion, and the sentence that says why; a figure is None where there is no finite one."""

    promote: bool
    reason: str
    metric: str
    value: float | None
    champion: float | None = None

    def as_json(self) -> dict[str, JsonValue]:
        """The form in verdict details."""
        return {"metric": self.metric, "value": self.value, "champion": self.champion}


def decide_promotion(spec: ModelSpec, document: Mapping[str, Any]) -> PromotionDecision:
    """Apply `promote_when` to the content of metrics.json; every bound that is set must hold, and the naive baseline be beaten.

    Only finite metrics are compared: one that is not, of whomever, promotes nothing. A champion of another task, or one that learned from
    other definitions of its views, cannot score these rows: it counts as none.
    """
    rule, direction = spec.promote_when, rule_of(spec.promote_when.metric)
    candidate = (document_measures(document, "candidate") or Measures({})).get(rule.metric)
    rival = _figure(document, "champion", rule.metric)
    failed: list[str] = []
    if isinstance(candidate, str):
        failed.append(candidate)
    else:
        if rule.at_least is not None and candidate.value < rule.at_least:
            failed.append(f"below at_least {rule.at_least:g}")
        if rule.at_most is not None and candidate.value > rule.at_most:
            failed.append(f"above at_most {rule.at_most:g}")
        naive = _figure(document, "naive", rule.metric)
        failed += _not_better(document, direction.gain, candidate, naive)
        if rule.better_than_champion_by is not None and isinstance(rival, Metric):
            gain = direction.gain(candidate.value, rival.value)
            if not gain >= rule.better_than_champion_by:
                failed.append(
                    f"{gain:+.4f} against the champion's {rival.value:.4f}, needs {rule.better_than_champion_by:+g}"
                )
    if rule.better_than_champion_by is not None and isinstance(rival, str):
        failed.append(f"no comparison with the champion: {rival}")
    leak = leak_verdict(spec, document)
    if not leak.passed:
        failed.append(leak.message)
    value = candidate.value if isinstance(candidate, Metric) else None
    champion = rival.value if isinstance(rival, Metric) else None
    shown = f"{rule.metric} {value:.4f}" if value is not None else f"no {rule.metric}"
    reason = f"{shown}{_beside(document, champion)}: " + ("; ".join(failed) if failed else "promoted by promote_when")
    return PromotionDecision(not failed, reason, rule.metric, value, champion)


def _figure(document: Mapping[str, Any], who: str, metric: str) -> Metric | str | None:
    """A contestant's metric, why there is none, or None where it took no part."""
    measures = document_measures(document, who)
    return None if measures is None else measures.get(metric)


def _not_better(document: Mapping[str, Any], gain: Any, candidate: Metric, naive: Metric | str | None) -> list[str]:
    if naive is None:
        return [NO_NAIVE]
    if isinstance(naive, str):
        return [f"no comparison with the naive baseline: {naive}"]
    if gain(candidate.value, naive.value) > 0:
        return []
    return [f"not better than {document.get('naive_is', 'the naive baseline')} ({naive.value:.4f})"]


def _beside(document: Mapping[str, Any], champion: float | None) -> str:
    """What the candidate is held against."""
    other, task = document.get("champion_not_compared"), document.get("champion_of_task")
    if champion is not None:
        return f", champion {champion:.4f}"
    if task:
        return f", not compared with the champion, which is of the task {task}"
    if other:
        return f", not compared with the champion, which learned from another definition of {', '.join(other)}"
    return ", no figure of the champion" if document.get("champion") else ", no champion yet"


def leak_verdict(spec: ModelSpec, document: Mapping[str, Any]) -> Verdict:
    """A metric too good to be true is an alarm; names the feature that gives the label away where one alone does."""
    measures = document_measures(document, "candidate") or Measures({})
    name, called = _told_by(spec)
    figure = measures.get(name)
    if isinstance(figure, str):
        # a metric that these rows have no value of accuses nobody; one that is no number stops the promotion by itself
        undefined = name in ((document.get("refused") or {}).get("candidate") or {})
        return Verdict("leak_alarm", undefined, f"{called} not told: {figure}", "warn", {name: None})
    message = f"{called} {figure.value:.4f} on held-out rows, alarm above {spec.alarm_above}"
    if spec.task == "forecast":
        least = 1 - spec.alarm_above
        return Verdict(
            "leak_alarm", figure.value >= least, f"MASE {figure.value:.4f} on held-out rows, alarm below {least:g}", "warn"
        )
    if spec.task in ("regression", "multiclass"):
        return Verdict("leak_alarm", figure.value <= spec.alarm_above, message, "warn")
    givers = [feature for feature, value in document["single_feature_auc"].items() if not value <= spec.alarm_above]
    leaks = figure.value > spec.alarm_above or bool(givers)
    if givers:
        message += f"; {', '.join(givers)} alone tells the label: it is probably known only after it"
    return Verdict("leak_alarm", not leaks, message, "warn", {"auc": figure.value, "features": list(givers)})


def _told_by(spec: ModelSpec) -> tuple[str, str]:
    """The metric that shows a leak, and how people call it."""
    names: dict[Task, tuple[str, str]] = {
        "multiclass": ("macro_auc", "AUC"),
        "regression": ("r2", "R2"),
        "forecast": ("mase", "MASE"),
    }
    return names.get(spec.task, ("auc", "AUC"))
