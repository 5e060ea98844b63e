"""The versions of a model with what became of each: serves, served, refused with the reason, withdrawn."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from orchestrai.errors import IntegrityError
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.receipt import Receipt
from orchestrai.models.registry.versions import ModelVersion, versions
from orchestrai.pipeline.nodes.model_node import ModelNode

# so many of the newest versions and evaluations are told
TOLD = 30
# plots of an evaluation that are shown beside a model's versions
SHOWN = ("roc.png", "calibration.png", "confusion.png", "forecast.png", "predicted.png")


@dataclass(frozen=True)
class VersionState:
    """One version: what it is now, why, and the metric that promotion asks for, with its interval."""

    version: str
    registered: str
    state: str
    reason: str = ""
    metric: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    largest_drift: float | None = None
    evaluation: str = ""

    @property
    def short(self) -> str:
        """Its first digits."""
        return self.version.removeprefix("sha256:")[:12]

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class Drifted:
    """How far the feature that moved most had moved since training, when the model predicted; `time` is ISO, UTC."""

    time: str
    largest: float


@dataclass(frozen=True)
class ModelState:
    """A model and its newest versions, newest first.

    `drift` is by its predictions, oldest first; `pictures` are PNG files of the evaluation of what serves.
    """

    name: str
    prefix: str
    serves: str
    versions: tuple[VersionState, ...]
    drift: tuple[Drifted, ...] = ()
    pictures: Mapping[str, bytes] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For `--json`; pictures stand on the page alone."""
        listed = [one.as_json() for one in self.versions]
        drift = [dict(one.__dict__) for one in self.drift]
        return {"name": self.name, "prefix": self.prefix, "serves": self.serves, "versions": listed, "drift": drift}


@dataclass(frozen=True)
class _Judgement:
    """What an evaluation said of a candidate."""

    evaluation: str
    receipt: Receipt


def model_state(ledger: Ledger, node: ModelNode, *, pictures: bool = False) -> ModelState:
    """The newest versions of a model; with `pictures` those of the evaluation of the version that serves, or else of the newest."""
    known = versions(ledger, candidate=node.asset("candidate"), champion=node.asset("champion"))[:TOLD]
    judged = _judgements(ledger, node)
    told = tuple(_version(one, judged.get(one.version), node.spec.promote_when.metric) for one in known)
    serves = next((one.version for one in told if one.state == "serves"), "")
    shown = next((one.evaluation for one in told if one.version == serves or not serves), "")
    drawn = evaluation_pictures(ledger, node.asset("evaluation"), shown, SHOWN) if pictures and shown else {}
    return ModelState(node.shown, node.prefix, serves, told, _drift(ledger, node), drawn)


def _drift(ledger: Ledger, node: ModelNode) -> tuple[Drifted, ...]:
    found = []
    for head in islice(ledger.history(node.asset("predictions")), TOLD):
        largest = _largest_drift(ledger.receipt(head.receipt))
        if largest is not None:
            found.append(Drifted(head.time, largest))
    return tuple(reversed(found))


def _judgements(ledger: Ledger, node: ModelNode) -> dict[str, _Judgement]:
    """The newest evaluation of each candidate."""
    found: dict[str, _Judgement] = {}
    for head in islice(ledger.history(node.asset("evaluation")), TOLD):
        receipt = ledger.receipt(head.receipt)
        for ref in receipt.inputs:
            if ref.asset == node.asset("candidate"):
                found.setdefault(ref.version, _Judgement(head.version, receipt))
    return found


def _version(one: ModelVersion, judged: _Judgement | None, metric: str) -> VersionState:
    facts: Mapping[str, Any] = judged.receipt.facts if judged is not None else {}
    promotion = facts.get("promotion") or {}
    told = str(promotion.get("message", ""))
    if one.withdrawn:
        state, reason = "withdrawn", one.withdrawn
    elif "champion" in one.aliases:
        state, reason = "serves", told
    elif one.promoted:
        state, reason = "served", one.rolled_back or f"promoted on {one.promoted[:10]}, another serves now"
    elif judged is None:
        state, reason = "not judged", "no evaluation of it yet"
    else:
        state, reason = ("refused", told) if not promotion.get("passed") else ("candidate", told)
    measured = (facts.get("metrics") or {}).get(metric) or {}
    value, low, high = (measured.get(part) for part in ("value", "low", "high"))
    evaluation = judged.evaluation if judged is not None else ""
    moved = _largest_drift(judged.receipt) if judged is not None else None
    return VersionState(one.version, one.registered, state, reason, metric, value, low, high, moved, evaluation)


def _largest_drift(receipt: Receipt) -> float | None:
    """How far the feature that moved most moved, by the verdict `feature_drift`; None where nothing was compared."""
    for verdicts in receipt.verdicts.values():
        for verdict in verdicts:
            moved = verdict.details.get("psi")
            if verdict.check == "feature_drift" and isinstance(moved, Mapping) and moved:
                return max(float(value) for value in moved.values() if isinstance(value, int | float))
    return None


def evaluation_pictures(ledger: Ledger, asset: str, version: str, wanted: Iterable[str] = ()) -> dict[str, bytes]:
    """The plots that a version of an evaluation published, their bytes hashed; none where they are not at hand. Only for showing."""
    names = frozenset(wanted)
    try:
        with ledger.showing(), ledger.open(asset, version).fetched(["all"]) as files:
            return {
                file.entry.path: file.path.read_bytes()
                for file in files["all"]
                if file.entry.path.endswith(".png") and (not names or file.entry.path in names)
            }
    except IntegrityError:
        return {}
