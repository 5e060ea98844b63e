"""Recall: from something bad to everything it reached, and the way back to what it did not reach."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Any

from orchestrai.core.code_identity import Producer
from orchestrai.errors import ConfigError
from orchestrai.ledger.decisions.recalls import RECALLS, RecallRecord
from orchestrai.ledger.heads import Head
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import StageReport
from orchestrai.provenance.index import Derivation, ReceiptIndex
from orchestrai.provenance.recall.retraining import RetrainingRequest, request_retraining

# data that is the landed bytes, or a copy of them: bad under whatever receipt it comes again
BY_CONTENT = frozenset({"raw_events", "snapshot", "restored"})
# stages that go on without a recalled partition; what learns from all of them is to be made again
DROPPED = frozenset({"raw_events", "snapshot", "restored", "features", "feature_backup", "dead_letters"})
RollBack = Callable[[Ledger, str, str, str], StageReport]


@dataclass(frozen=True)
class Reach:
    """Everything a target reached, the target's own derivations included."""

    target: str
    derivations: tuple[Derivation, ...]

    def of(self, stage: str) -> tuple[Derivation, ...]:
        """What was reached in one stage."""
        return tuple(derivation for derivation in self.derivations if derivation.stage == stage)

    @property
    def assets(self) -> tuple[str, ...]:
        """The assets reached, sorted."""
        return tuple(sorted({derivation.asset for derivation in self.derivations if derivation.stage != "landing"}))

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        names = Derivation.__slots__
        return {
            "target": self.target,
            "assets": list(self.assets),
            "derivations": [{name: getattr(derivation, name) for name in names} for derivation in self.derivations],
        }


@dataclass(frozen=True)
class ChampionMove:
    """A champion that was reached; `to` is the last version that was not, or empty when there is none and it is withdrawn."""

    asset: str
    reached: str
    to: str


@dataclass(frozen=True)
class RecallPlan:
    """What applying a recall will do; nothing is changed yet. `drop` names partitions by asset, `retrain` assets in order.

    `request` is what was recorded for clean retraining, once it is in force and where it reached a model.
    """

    record: RecallRecord
    reach: Reach
    drop: Mapping[str, tuple[str, ...]]
    champions: tuple[ChampionMove, ...]
    retrain: tuple[str, ...]
    in_force: bool
    request: RetrainingRequest | None = None

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "recall": self.record.digest,
            "reason": self.record.reason,
            "in_force": self.in_force,
            "drop": {asset: list(keys) for asset, keys in self.drop.items()},
            "champions": [move.__dict__ for move in self.champions],
            "retrain": list(self.retrain),
            "request": self.request.as_json() if self.request else None,
            "reach": self.reach.as_json(),
        }


def recall(index: ReceiptIndex, target: str) -> Reach:
    """Everything derived from a URI, an object's hash, a snapshot id, `asset@partition`, or a version; raises ConfigError."""
    start = index.start(target)
    if not start:
        raise ConfigError(
            f"expected the URI of a landed object, its SHA-256, a snapshot id, asset@partition or a version, found {target!r} "
            "in no receipt: see `orchestrai model trace --json` for the names"
        )
    return Reach(target, tuple(index.reached(start)))


def plan_recall(ledger: Ledger, index: ReceiptIndex, target: str, reason: str = "", by: str = "") -> RecallPlan:
    """Plan to recall everything a target reached, in the name of `by`; reads only."""
    reach = recall(index, target)
    derived = [derivation for derivation in reach.derivations if derivation.receipt]
    receipts: dict[str, set[str]] = {}
    for derivation in derived:
        receipts.setdefault(derivation.receipt, set()).add(derivation.partition)
    roots = {
        (derivation.asset, derivation.partition, derivation.root) for derivation in derived if derivation.stage in BY_CONTENT
    }
    record = RecallRecord(
        target=target,
        reason=reason,
        time=ledger.clock().astimezone(UTC).isoformat(),
        receipts={digest: tuple(sorted(keys)) for digest, keys in sorted(receipts.items())},
        roots=tuple(sorted(roots)),
        by=by,
    )
    plan = RecallPlan(record, reach, {}, (), (), RECALLS.key(record.digest) in RECALLS.keys(ledger.lake))
    return replace(plan, drop=_drop(ledger, plan), champions=_moves(ledger, plan), retrain=_retrain(ledger, plan))


def _covers(record: RecallRecord, asset: str, partition: str, root: str, receipt: str) -> bool:
    return partition in record.receipts.get(receipt, ()) or (asset, partition, root) in record.roots


def _hit(ledger: Ledger, plan: RecallPlan, asset: str, head: Head | None = None) -> tuple[str, ...]:
    """The partitions of a version (default: the current one) that the recall covers."""
    dataset = ledger.dataset(head) if head else ledger.find(asset)
    entries = dataset.partitions if dataset else {}
    return tuple(sorted(key for key, e in entries.items() if _covers(plan.record, asset, key, e.root, e.receipt)))


def _drop(ledger: Ledger, plan: RecallPlan) -> dict[str, tuple[str, ...]]:
    stages = {found.asset: found.stage for found in plan.reach.derivations if found.receipt}
    found = {asset: _hit(ledger, plan, asset) for asset, stage in sorted(stages.items()) if stage in DROPPED}
    return {asset: keys for asset, keys in found.items() if keys}


def _moves(ledger: Ledger, plan: RecallPlan) -> tuple[ChampionMove, ...]:
    moves = []
    for asset in sorted({derivation.asset for derivation in plan.reach.of("champion")}):
        heads = list(ledger.history(asset))
        if not _hit(ledger, plan, asset, heads[0]):
            continue
        clean = (h.version for h in heads[1:] if h.version != heads[0].version and not _hit(ledger, plan, asset, h))
        moves.append(ChampionMove(asset, heads[0].version, next(clean, "")))
    return tuple(moves)


def _retrain(ledger: Ledger, plan: RecallPlan) -> tuple[str, ...]:
    order = ("training_set", "candidate", "evaluation", "champion", "deployment", "predictions", "catalog")
    reached = {derivation.asset: derivation.stage for derivation in plan.reach.derivations if derivation.stage in order}
    current = [asset for asset in reached if _hit(ledger, plan, asset)]
    return tuple(sorted(current, key=lambda asset: (asset.rsplit("/", 1)[0], order.index(reached[asset]))))


def apply_recall(ledger: Ledger, plan: RecallPlan, roll_back: RollBack | None = None) -> RecallPlan:
    """Put the plan into force: refuse what it names everywhere, drop its partitions, roll champions back, request retraining.

    The first write, one signed record, makes every reader refuse what was reached; the rest is repeated until done, so a crash in
    between is mended by applying again. Idempotent. Returns the plan as it stands now, with what is left to retrain.
    """
    stores = [ledger.lake] if ledger.vault is None else [ledger.vault, ledger.lake]
    ledger.require_may("decide")
    RECALLS.put(stores, ledger.signer, plan.record, keyring=ledger.keyring)
    for asset, keys in plan.drop.items():
        session = ledger.session(asset, Producer(asset.rsplit("/", 1)[-1], __name__))
        still = [key for key in keys if key in _hit(ledger, plan, asset)]
        if still:
            session.commit(drop=still, reason=f"recalled with {plan.record.target}: {plan.record.reason}".rstrip(": "))
    move = roll_back or _registry_rollback
    for champion in plan.champions:
        if champion.to and _hit(ledger, plan, champion.asset):
            move(ledger, champion.asset, champion.to, f"recalled with {plan.record.target}")
    return replace(
        plan,
        drop=_drop(ledger, plan),
        champions=_moves(ledger, plan),
        retrain=_retrain(ledger, plan),
        in_force=True,
        request=request_retraining(ledger, plan.record, plan.reach.derivations),
    )


def _registry_rollback(ledger: Ledger, champion: str, to: str, reason: str) -> StageReport:
    from orchestrai.models.registry.versions import rollback

    return rollback(ledger, champion, to, reason=reason)
