"""The registry embedded in the lake: a model's versions, what serves, and the way back."""

from dataclasses import dataclass
from typing import Any

from orchestrai.core.code_identity import Producer
from orchestrai.core.time.calendar import WHOLE
from orchestrai.core.verdict import Verdict
from orchestrai.errors import ConfigError, ModelError
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.decisions.transactions import Transaction
from orchestrai.ledger.heads import Head
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.receipt import InputRef
from orchestrai.ledger.report import Meter, StageReport
from orchestrai.models.registry.rolled_back import left_by_rollback, told


@dataclass(frozen=True)
class ModelVersion:
    """One version of a model; `aliases` may hold "candidate" and "champion", `times_serving` counts its promotions.

    `withdrawn` says when and why it was recalled, "" for one that was not; such a version has no aliases, as it never serves again.
    `rolled_back` says when and why a person took it from serving: it is promoted by no training, and comes back by `model rollback --to`.
    """

    version: str
    registered: str
    aliases: tuple[str, ...]
    promoted: str = ""
    times_serving: int = 0
    withdrawn: str = ""
    rolled_back: str = ""

    def as_json(self) -> dict[str, Any]:
        """For `--json`, and in backups of the registry: `withdrawn` and `rolled_back` only where it was."""
        body = {**self.__dict__, "aliases": list(self.aliases)}
        for name in ("withdrawn", "rolled_back"):
            if not body[name]:
                del body[name]
        return body


def versions(ledger: Ledger, *, candidate: str, champion: str) -> list[ModelVersion]:
    """Every version registered, newest first; versions rejected by promotion are among them."""
    served = list(ledger.history(champion))
    trained = list(ledger.history(candidate))
    first: dict[str, Head] = {}
    for head in reversed([*served, *trained]):
        if head.version not in first or head.time < first[head.version].time:
            first[head.version] = head
    withdrawn, left = _withdrawn(ledger, [*served, *trained]), left_by_rollback(served)
    return [
        ModelVersion(
            version=version,
            registered=head.time,
            aliases=tuple(
                alias
                for alias, heads in (("candidate", trained), ("champion", served))
                if heads and heads[0].version == version and version not in withdrawn
            ),
            promoted=next((h.time for h in served if h.version == version), ""),
            times_serving=sum(h.version == version for h in served),
            withdrawn=withdrawn.get(version, ""),
            rolled_back=told(left[version]) if version in left else "",
        )
        for version, head in sorted(first.items(), key=lambda pair: pair[1].time, reverse=True)
    ]


def _withdrawn(ledger: Ledger, heads: list[Head]) -> dict[str, str]:
    """Why each recalled version no longer counts: one whose every receipt was recalled."""
    if not ledger.recalls().records:
        return {}
    why: dict[str, list[str]] = {}
    for head in heads:
        dataset = ledger.dataset(head)
        entry = dataset.partitions.get(WHOLE)
        if entry is not None:
            recall = dataset.recalls.find(head.asset, WHOLE, entry.root, entry.receipt)
            reason = f"recalled on {recall.time[:10]}: {recall.reason or 'no reason given'}" if recall else ""
            why.setdefault(head.version, []).append(reason)
    return {version: reasons[0] for version, reasons in why.items() if all(reasons)}


def resolve(ledger: Ledger, *, candidate: str, champion: str, name: str) -> Dataset:
    """The dataset behind an alias (candidate, champion), a full version or its first digits; raises ConfigError."""
    if name in ("candidate", "champion"):
        return ledger.open(candidate if name == "candidate" else champion)
    digits = name.removeprefix("sha256:")
    for asset in (champion, candidate):
        heads = {head.version: head for head in ledger.history(asset) if head.version[7:].startswith(digits)}
        if digits and len(heads) == 1:
            return ledger.dataset(next(iter(heads.values())))
        if len(heads) > 1:
            raise ConfigError(f"expected one version that begins with {digits}, found {len(heads)}: give more digits")
    raise ConfigError(f"expected candidate, champion or a version of {candidate}, found {name!r}: list the versions first")


def serving_champion(ledger: Ledger, champion: str) -> Dataset | None:
    """The champion that serves; None when there is none, or the last one was recalled and nothing took its place."""
    current = ledger.find(champion)
    entry = current.partitions.get(WHOLE) if current is not None else None
    if current is None or entry is None:
        return None
    return None if current.recalls.find(champion, WHOLE, entry.root, entry.receipt) else current


def rollback(
    ledger: Ledger, champion: str, to: str | None = None, *, reason: str = "", transaction: Transaction | None = None
) -> StageReport:
    """Make an earlier champion serve again: `to` (a version or its first digits), or the one that served before.

    Its receipts are checked and its golden rows scored first; the move is one more entry of the signed log, so it can itself
    be rolled back. With a `transaction` it counts once that is committed. Raises ModelError when there is nothing earlier.
    """
    with Meter() as meter:
        session = ledger.session(champion, Producer("champion", __name__))
        target = _target(ledger, champion, to)
        dataset = ledger.dataset(target)
        from orchestrai.models.estimators.artifact import load_dataset

        scorer = load_dataset(dataset)
        for entry in dataset.files(WHOLE).files:
            session.add_entry(WHOLE, entry)
        before = dataset.receipt(WHOLE)
        verdict = Verdict("golden_rows", True, "golden rows score as at training")
        return session.commit(
            {WHOLE: [verdict]},
            inputs=[*before.inputs, InputRef(champion, target.version, dataset.roots([WHOLE]))],
            cost=meter.cost(),
            facts={
                "model_version": target.version,
                "training_set": dict(scorer.info.training_set),
                "decision": f"rolled back to {target.version[7:19]}" + (f": {reason}" if reason else ""),
            },
            action="rollback",
            reason=reason or "rolled back on request",
            transaction=transaction,
        )


def _target(ledger: Ledger, champion: str, to: str | None) -> Head:
    heads = list(ledger.history(champion))
    if not heads:
        raise ModelError(f"expected a champion in {champion}, found none: promote a candidate first")
    digits = (to or "").removeprefix("sha256:")
    earlier = [head for head in heads[1:] if head.version != heads[0].version and head.version[7:].startswith(digits)]
    if not earlier:
        wanted = f"an earlier champion {to}" if to else "an earlier champion"
        raise ModelError(f"expected {wanted} in {champion}, found none among {len(heads)} entries: nothing was changed")
    return earlier[0]
