"""The rules of promotion, as pure functions of what an evaluation found."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrai.core.canonical import JsonValue
from orchestrai.core.verdict import Verdict
from orchestrai.models.spec import SMALLER_IS_BETTER, ModelSpec

METRICS_FILE = "metrics.json"


@dataclass(frozen=True)
class PromotionDecision:
    """Whether a candidate earns promotion, and the sentence that says why."""

    promote: bool
    reason: str
    metric: str
    value: float
    champion: float | None = None

    def as_json(self) -> dict[str, JsonValue]:
        """The form in verdict details."""
        return {"metric": self.metric, "value": _finite(self.value), "champion": _finite(self.champion)}


def _finite(value: float | None) -> float | None:
    """A figure as records have it: what is no number has none there."""
    return value if value is not None and math.isfinite(value) else None


def decide_promotion(spec: ModelSpec, document: Mapping[str, Any]) -> PromotionDecision:
    """Apply `promote_when` to the content of metrics.json; every bound that is set must hold.

    A champion that learned from other definitions of its views cannot score these rows: it counts as none.
    """
    rule = spec.promote_when
    value = float(document["candidate"][rule.metric]["value"])
    known = document.get("champion")
    champion = float(known[rule.metric]["value"]) if known else None
    failed = []
    # no comparison with what is not a number fails, so none may decide
    if not math.isfinite(value):
        failed.append(f"expected a finite {rule.metric}, found {value}: look at the scores of the held-out rows")
    if rule.at_least is not None and value < rule.at_least:
        failed.append(f"below at_least {rule.at_least:g}")
    if rule.at_most is not None and value > rule.at_most:
        failed.append(f"above at_most {rule.at_most:g}")
    if rule.better_than_champion_by is not None and champion is not None:
        gain = champion - value if rule.metric in SMALLER_IS_BETTER else value - champion
        if not gain >= rule.better_than_champion_by:
            failed.append(f"{gain:+.4f} against the champion's {champion:.4f}, needs {rule.better_than_champion_by:+g}")
    leak = leak_verdict(spec, document)
    if not leak.passed:
        failed.append(leak.message)
    other = document.get("champion_not_compared")
    alone = f", not compared with the champion, which learned from another definition of {', '.join(other)}" if other else ""
    beside = f", champion {champion:.4f}" if champion is not None else alone or ", no champion yet"
    reason = f"{rule.metric} {value:.4f}{beside}: " + ("; ".join(failed) if failed else "promoted by promote_when")
    return PromotionDecision(not failed, reason, rule.metric, value, champion)


def leak_verdict(spec: ModelSpec, document: Mapping[str, Any]) -> Verdict:
    """An AUC too good to be true is an alarm; names the feature that gives the label away where one alone does."""
    if spec.task == "regression":
        good = document["candidate"]["r2"]["value"]
        leaks = not good <= spec.alarm_above
        return Verdict("leak_alarm", not leaks, f"R2 {good:.4f} on held-out rows, alarm above {spec.alarm_above}", "warn")
    area = document["candidate"]["auc"]["value"]
    givers = [name for name, value in document["single_feature_auc"].items() if value > spec.alarm_above]
    leaks = not area <= spec.alarm_above or bool(givers)
    message = f"AUC {area:.4f} on held-out rows, alarm above {spec.alarm_above}"
    if givers:
        message += f"; {', '.join(givers)} alone tells the label: it is probably known only after it"
    return Verdict("leak_alarm", not leaks, message, "warn", {"auc": _finite(area), "features": list(givers)})
