"""Return a pipeline to an earlier verified state: its datasets, features and champions.

A state is what was current at a moment just before new raw events were published. It is verified when each dataset's raw events,
snapshot and restored data were one version then, and every receipt and byte that comes back is checked again before anything moves.

All or nothing: everything is checked before the first log is appended to, each asset moves by one signed entry with action
"rollback", and one record decides that all of these entries count (ledger/transactions.py). A crash before it leaves everything as it
was, a crash after it leaves everything moved.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrai.core.canonical import JsonValue
from orchestrai.core.code_identity import Producer
from orchestrai.core.verdict import Audit
from orchestrai.errors import ConcurrentCommit, ConfigError, GateClosed
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.decisions.transactions import Transaction
from orchestrai.ledger.heads import Head
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.receipt import InputRef, Material, Receipt
from orchestrai.ledger.report import StageReport
from orchestrai.models.estimators.artifact import load_dataset
from orchestrai.models.registry.versions import rollback as champion_back
from orchestrai.pipeline.nodes.pipeline_node import Pipeline
from orchestrai.stage.names import VERBATIM, StageName


@dataclass(frozen=True)
class Move:
    """One asset's way back; `restaged` come back, `dropped` were not there yet. Empty both: it stays as it is."""

    asset: str
    stage: StageName
    current: Head
    target: Head
    restaged: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    @property
    def stays(self) -> bool:
        """True when the asset has the wanted version already."""
        return self.current.version == self.target.version


@dataclass(frozen=True)
class RollbackPlan:
    """What a rollback would do, upstream first; `moment` names the state."""

    pipeline: str
    moment: datetime
    moves: tuple[Move, ...]

    @property
    def changes(self) -> tuple[Move, ...]:
        """The assets that move."""
        return tuple(move for move in self.moves if not move.stays)


def plan_rollback(ledger: Ledger, pipeline: Pipeline, *, to: datetime | None = None, steps: int = 1) -> RollbackPlan:
    """Plan the way to the state at `to`, or `steps` verified states back; reads only.

    Raises ConfigError when there was no such state, or it was not verified.
    """
    logs = {asset: list(ledger.history(asset)) for asset, _ in _scope(pipeline)}
    logs = {asset: heads for asset, heads in logs.items() if heads}
    if not logs:
        raise ConfigError(f"expected something published by {pipeline.name}, found nothing: there is no state to go back to")
    if to is not None:
        targets = _state(logs, lambda head: _time(head) <= to)
        problem = _problem(pipeline, logs, targets)
        if problem:
            raise ConfigError(f"expected a verified state of {pipeline.name} at {to.isoformat()}, found {problem}")
        return _plan(ledger, pipeline, to, logs, targets)
    earlier = list(_states(pipeline, logs))
    if not 1 <= steps <= len(earlier):
        raise ConfigError(
            f"expected one of the {len(earlier)} earlier verified states of {pipeline.name}, found step {steps}: give a smaller one"
        )
    moment, targets = earlier[steps - 1]
    return _plan(ledger, pipeline, moment, logs, targets)


def apply_rollback(ledger: Ledger, plan: RollbackPlan, *, reason: str = "") -> list[StageReport]:
    """Check everything that comes back, then move all assets at once. Atomic and idempotent.

    Raises IntegrityError, NotReceipted (recalled data does not come back), GateClosed (nor does overridden data), ConcurrentCommit
    when something was published since the plan or meanwhile; nothing was moved then.
    """
    for move in plan.changes:
        newest = ledger.head(move.asset)
        if newest is None or newest.digest != move.current.digest:
            raise ConcurrentCommit(
                f"expected {move.asset} as planned, found it published since: plan again", asset=move.asset
            )
        _check(ledger, move)
    message = f"rolled back to {plan.moment.isoformat()}" + (f": {reason}" if reason else "")
    transaction = Transaction(ledger, message)
    reports = [_move(ledger, move, message, transaction) for move in plan.changes]
    transaction.commit()
    return reports


# -- states ------------------------------------------------------------------------------------------------------


def _scope(pipeline: Pipeline) -> Iterator[tuple[str, StageName]]:
    """The pipeline's own assets that go back, upstream first; what it borrows from another pipeline stays."""
    for dataset in pipeline.own_datasets:
        yield from ((dataset.asset(stage), stage) for stage in VERBATIM)
    yield from ((view.asset, "features") for view in pipeline.views)
    yield from ((model.asset("champion"), "champion") for model in pipeline.models)


def _time(head: Head) -> datetime:
    return datetime.fromisoformat(head.time).astimezone(UTC)


def _state(logs: dict[str, list[Head]], when: Callable[[Head], bool]) -> dict[str, Head]:
    newest = {asset: next((head for head in heads if when(head)), None) for asset, heads in logs.items()}
    return {asset: head for asset, head in newest.items() if head is not None}


def _problem(pipeline: Pipeline, logs: dict[str, list[Head]], targets: dict[str, Head]) -> str:
    absent = [asset for asset in logs if asset not in targets]
    if absent:
        return f"{absent[0]} not published yet"
    for dataset in pipeline.own_datasets:
        heads = [targets[asset] for stage in VERBATIM if (asset := dataset.asset(stage)) in targets]
        if len({head.version for head in heads}) > 1:
            return f"{dataset.prefix} with raw events, snapshot and restored data of different versions"
    return ""


def _states(pipeline: Pipeline, logs: dict[str, list[Head]]) -> Iterator[tuple[datetime, dict[str, Head]]]:
    """Earlier verified states, newest first, each once."""
    seen = [{asset: heads[0].version for asset, heads in logs.items()}]
    cuts = sorted({_time(h) for asset, heads in logs.items() if asset.endswith("/raw_events") for h in heads}, reverse=True)
    for cut in cuts:
        targets = _state(logs, lambda head, cut=cut: _time(head) < cut)  # type: ignore[misc]
        versions = {asset: head.version for asset, head in targets.items()}
        if versions not in seen and not _problem(pipeline, logs, targets):
            seen.append(versions)
            yield max(map(_time, targets.values())), targets


def _plan(
    ledger: Ledger, pipeline: Pipeline, moment: datetime, logs: dict[str, list[Head]], targets: dict[str, Head]
) -> RollbackPlan:
    moves = []
    for asset, stage in _scope(pipeline):
        if asset in logs:
            now, then = ledger.dataset(logs[asset][0]).partitions, ledger.dataset(targets[asset]).partitions
            back = tuple(sorted(key for key, e in then.items() if key not in now or now[key].root != e.root))
            gone = tuple(sorted(set(now) - set(then)))
            moves.append(Move(asset, stage, logs[asset][0], targets[asset], back, gone))
    return RollbackPlan(pipeline.name, moment, tuple(moves))


# -- moving ------------------------------------------------------------------------------------------------------


def _check(ledger: Ledger, move: Move) -> None:
    target = ledger.dataset(move.target)
    for key in target.partitions:
        waived = target.receipt(key).override(key)
        if waived is not None and key in move.restaged:
            raise GateClosed(
                f"expected {move.asset}@{key} to have passed its gate, found it published under an override by {waived.by}: go back to "
                "another state, or override the gate for this partition again",
                asset=move.asset,
            )
    if move.stage == "champion":
        load_dataset(target)
        return
    # a snapshot's bytes are read by the restored data's turn; a sealed vault's are no plain files
    if move.stage != "snapshot":
        for key in move.restaged:
            target.require_whole(key)


def _move(ledger: Ledger, move: Move, reason: str, transaction: Transaction) -> StageReport:
    if move.stage == "champion":
        return champion_back(ledger, move.asset, move.target.version, reason=reason, transaction=transaction)
    target = ledger.dataset(move.target)
    session = ledger.session(move.asset, Producer(move.stage, __name__))
    if session.fence is None or session.fence.digest != move.current.digest:
        raise ConcurrentCommit(f"expected {move.asset} as planned, found it published since: plan again", asset=move.asset)
    for key in move.restaged:
        manifest = target.files(key)
        for entry in manifest.files:
            session.add_entry(key, entry)
        session.add_stats(key, **manifest.stats)
    receipts = {key: target.receipt(key) for key in move.restaged}
    facts: dict[str, JsonValue] = {}
    for receipt in (*receipts.values(), ledger.receipt(move.target.receipt)):
        facts |= receipt.facts
    audit = Audit()
    for key, receipt in receipts.items():
        # an old receipt may have two findings of one check
        audit.combine(key, *receipt.verdicts.get(key, ()))
    report = session.commit(
        audit,
        inputs=_inputs(move, target),
        parameters=_agreed(list(receipts.values())),
        materials=_materials(target, move),
        facts=facts,
        drop=move.dropped,
        action="rollback",
        reason=reason,
        overrides=[override for key, receipt in receipts.items() if (override := receipt.override(key))],
        transaction=transaction,
    )
    if report.version != target.version:
        raise ConcurrentCommit(
            f"expected {move.asset} at {target.version[:19]}, found {str(report.version)[:19]}, because something was published "
            "meanwhile: plan again",
            asset=move.asset,
        )
    return report


def _agreed(receipts: Sequence[Receipt]) -> dict[str, JsonValue]:
    """The parameters that all partitions that come back were made with, such as the definition of a view."""
    first = receipts[0].parameters if receipts else {}
    return {name: value for name, value in first.items() if all(r.parameters.get(name) == value for r in receipts)}


def _inputs(move: Move, target: Dataset) -> list[InputRef]:
    """What the partitions that come back were made from, as their own receipts say."""
    if move.stage in ("snapshot", "restored"):
        # the state is verified: the stage before has this very version
        above = move.asset.removesuffix(move.stage) + VERBATIM[VERBATIM.index(move.stage) - 1]
        return [InputRef(above, target.version, target.roots(move.restaged))] if move.restaged else []
    refs: dict[tuple[str, str], list[Mapping[str, str]]] = {}
    for key in move.restaged:
        for ref in target.receipt(key).inputs:
            refs.setdefault((ref.asset, ref.version), []).append(ref.partitions)
    # no partitions named means all of them
    return [
        InputRef(asset, version, {k: root for named in read for k, root in named.items()} if all(read) else {})
        for (asset, version), read in sorted(refs.items())
    ]


def _materials(target: Dataset, move: Move) -> list[Material]:
    return [
        material for key in move.restaged for material in target.receipt(key).materials if material.partition in ("", key)
    ]
