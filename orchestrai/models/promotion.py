"""Promotion: the gate before a model serves. Candidate, evaluation, decision, and only then the champion's pointer."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrai.core.canonical import JsonValue
from orchestrai.core.code_identity import Producer
from orchestrai.core.time.partition_key import WHOLE
from orchestrai.core.verdict import Verdict
from orchestrai.errors import IntegrityError, ModelError
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.receipt import InputRef
from orchestrai.ledger.report import Meter, StageReport
from orchestrai.models.estimators.artifact import GOLDEN_ROWS, Scorer, load_dataset
from orchestrai.models.metrics.metric import Measures, document_measures
from orchestrai.models.promotion_rule import METRICS_FILE, PromotionDecision, decide_promotion
from orchestrai.models.registry.rolled_back import rolled_back_twin, told
from orchestrai.models.registry.versions import serving_champion
from orchestrai.models.spec import ModelSpec

PRODUCER = Producer("champion", __name__)


def promote(
    ledger: Ledger,
    spec: ModelSpec,
    *,
    candidate: str,
    evaluation: str,
    asset: str,
    noted: Mapping[str, JsonValue] | None = None,
) -> StageReport:
    """Make the candidate the champion `asset` when its own, current evaluation allows it.

    The champion holds the candidate's very files, so the two versions are equal. A refusal is reported as a refused outcome
    with the verdict `promotion`; the candidate stays registered and the champion keeps serving. So is one that was rolled back, or
    has the very model of one that was: a person brings it back. Golden rows are scored again first. Atomic; promoting what already
    serves changes nothing. The receipt carries what is `noted`.
    """
    with Meter() as meter:
        session = ledger.session(asset, PRODUCER)
        chosen, judged = ledger.open(candidate), ledger.open(evaluation)
        document = read_metrics(judged)
        verdicts = [_current(ledger, chosen, judged, document, asset)]
        try:
            scorer: Scorer | None = load_dataset(chosen)
            verdicts.append(Verdict("golden_rows", True, f"up to {GOLDEN_ROWS} golden rows score as at training"))
        except ModelError as exc:
            scorer = None
            verdicts.append(Verdict("golden_rows", False, exc.message))
        decision = decide_promotion(spec, document)
        inputs = (
            InputRef(candidate, chosen.version, chosen.roots([WHOLE])),
            InputRef(evaluation, judged.version, judged.roots([WHOLE])),
        )
        parameters = {"promote_when": spec.promote_when.model_dump(mode="json", exclude_none=True)}
        current = serving_champion(ledger, asset)
        verdicts.insert(
            0,
            _promoted_by(current, inputs, parameters)
            or _taken_back(ledger, asset, current, chosen, decision)
            or _earned(current, chosen, decision),
        )
        for entry in chosen.files(WHOLE).files:
            session.add_entry(WHOLE, entry)
        return session.commit(
            {WHOLE: verdicts},
            inputs=inputs,
            parameters=parameters,
            cost=meter.cost(),
            facts={
                "model_version": chosen.version,
                "training_set": dict(scorer.info.training_set) if scorer is not None else {},
                "task": spec.task,
                **spec.card_facts,
                "metrics": (document_measures(document, "candidate") or Measures({})).as_json(),
                "decision": decision.reason,
                **(noted or {}),
            },
        )


def _promoted_by(current: Dataset | None, inputs: Sequence[InputRef], parameters: Mapping[str, JsonValue]) -> Verdict | None:
    """The verdict by which the champion that serves was promoted, where it was by this very candidate, evaluation and rule."""
    try:
        receipt = current.receipt(WHOLE) if current is not None else None
    except IntegrityError:
        return None
    if receipt is None or receipt.inputs != tuple(inputs) or receipt.parameters != parameters:
        return None
    return next((verdict for verdict in receipt.verdicts.get(WHOLE, ()) if verdict.check == "promotion"), None)


def _taken_back(
    ledger: Ledger, champion: str, current: Dataset | None, chosen: Dataset, decision: PromotionDecision
) -> Verdict | None:
    """The refusal of a candidate that a person took from serving: the figures that promoted it would do so at each training."""
    if current is not None and current.version == chosen.version:
        return None
    found = rolled_back_twin(ledger, champion, chosen)
    if found is None:
        return None
    version, by = found
    alike = "" if version == chosen.version else f" has the very model of {_short(version)}, which"
    message = (
        f"{_short(chosen.version)}{alike} was {told(by)}; a person brings it back: orchestrai model rollback "
        f"{champion.rpartition('/')[0]} --to {_short(version)}"
    )
    return Verdict("promotion", False, message, details=decision.as_json())


def _earned(current: Dataset | None, chosen: Dataset, decision: PromotionDecision) -> Verdict:
    if current is not None and current.version == chosen.version:
        # an unchanged retraining gains nothing over itself, and loses nothing either
        return Verdict("promotion", True, f"{_short(chosen.version)} serves already", details=decision.as_json())
    return Verdict("promotion", decision.promote, decision.reason, details=decision.as_json())


def read_metrics(judged: Dataset) -> dict[str, Any]:
    """metrics.json of an evaluation, its bytes verified."""
    with judged.fetched([WHOLE]) as fetched:
        for file in fetched[WHOLE]:
            if file.entry.path == METRICS_FILE:
                document: dict[str, Any] = json.loads(file.path.read_bytes())
                return document
    raise ModelError(f"expected {METRICS_FILE} in {judged.asset}, found none: evaluate the candidate again")


def _current(ledger: Ledger, chosen: Dataset, judged: Dataset, document: Mapping[str, Any], champion: str) -> Verdict:
    """The evaluation must be of exactly this candidate, its training set, and the champion that serves now."""
    seen = {ref.asset: ref.version for ref in judged.receipt(WHOLE).inputs}
    trained = {ref.asset: ref.version for ref in chosen.receipt(WHOLE).inputs}
    problems = []
    if seen.get(chosen.asset) != chosen.version or document["candidate_version"] != chosen.version:
        problems.append(f"it judged candidate {_short(seen.get(chosen.asset))}, the candidate is {_short(chosen.version)}")
    problems += [
        f"it used {asset} at {_short(seen.get(asset))}, the candidate learned from {_short(version)}"
        for asset, version in trained.items()
        if seen.get(asset) != version
    ]
    current = serving_champion(ledger, champion)
    now = current.version if current else None
    if seen.get(champion) != now and now != chosen.version:
        problems.append(f"it compared with champion {_short(seen.get(champion))}, now {_short(now)} serves")
    message = "; ".join(problems) + ": evaluate the candidate again" if problems else "the evaluation is of this candidate"
    return Verdict("evaluation_current", not problems, message)


def _short(version: str | None) -> str:
    return version.removeprefix("sha256:")[:12] if version else "none"
