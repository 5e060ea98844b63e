"""The watcher: ledger and clock in, a frozen set of conditions out. It needs no run, and writes nothing."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

from orchestrai.errors import OrchestraiError, StorageError, TransientStorageError
from orchestrai.observability.alerts.condition import Condition, Sight
from orchestrai.observability.watch.cost_watch import over_budget, unrecorded
from orchestrai.observability.watch.dataset_watch import dead_letters, silence, unprotected
from orchestrai.observability.watch.house_watch import (
    checks,
    drills,
    gates,
    left_out,
    refused_assets,
    stale,
    vault_findings,
)
from orchestrai.observability.watch.model_watch import champion_old, sla_missed
from orchestrai.pipeline.runtime import Runtime

Look = Callable[[Runtime, datetime], Iterable[Condition]]
OF_DATASETS = (silence, unprotected, dead_letters)
OF_MODELS = (sla_missed, champion_old)


class _Looks:
    """What was seen so far; what could not be looked at is a condition of its own, and nothing under it is said to be well.

    A store that does not answer is one condition, whatever was asked of it. Where it is one of `needed`, which every look asks, nothing
    more is looked at: each look would wait for it, and say the same.
    """

    def __init__(self, needed: frozenset[str] = frozenset()) -> None:
        self.conditions: set[Condition] = set()
        self.unseen: set[str] = set()
        self.needed = needed

    def take(self, subject: str, look: Callable[[], Iterable[Condition]]) -> None:
        """Look once, unless that is in vain."""
        if "" in self.unseen:
            return
        try:
            self.conditions.update(look())
        except OrchestraiError as exc:
            self.cannot(subject, exc)

    def cannot(self, subject: str, error: OrchestraiError) -> None:
        """Note that a subject could not be looked at."""
        store = error.store if isinstance(error, StorageError) else ""
        in_vain = isinstance(error, TransientStorageError) and store in self.needed
        self.unseen.add("" if in_vain else subject)
        told = Condition(
            "unreadable", store or subject, "to be able to look at it", error.message, "orchestrai doctor; orchestrai audit"
        )
        # one line a subject, whatever was asked of it
        if not any(one.id == told.id for one in self.conditions):
            self.conditions.add(told)


def watch(runtime: Runtime) -> Sight:
    """Everything that is wrong now, as far as the ledger, the landings and the vault tell.

    Raises OrchestraiError only where nothing at all can be said: the lake does not answer, or no pipeline can be read.
    """
    stores = [runtime.ledger.lake, *([runtime.ledger.vault] if runtime.ledger.vault is not None else [])]
    moment, looks = runtime.clock(), _Looks(frozenset(store.url for store in stores))
    with runtime.ledger.reading():
        for about, look in _looks_at(runtime, refused_assets(runtime)):
            looks.take(about, lambda look=look: look(runtime, moment))  # type: ignore[misc]
        if "" not in looks.unseen:
            left, unreadable = stale(runtime, moment)
            looks.conditions.update(left)
            for asset, error in unreadable.items():
                looks.cannot(asset, error)
    # of what is left out nothing is looked at
    looks.unseen.update(pipeline.name for pipeline in runtime.project.left_out)
    return Sight(moment, frozenset({"ledger"}), frozenset(looks.conditions), frozenset(looks.unseen))


def _looks_at(runtime: Runtime, refused: frozenset[str]) -> Iterator[tuple[str, Look]]:
    """Each look there is to take, with what it is of."""
    for pipeline in runtime.project.pipelines:
        for dataset in pipeline.own_datasets:
            yield from ((dataset.prefix, _of(look, dataset)) for look in OF_DATASETS)
        for model in pipeline.models:
            yield from ((model.prefix, _of(judge, model)) for judge in OF_MODELS)
        if pipeline.spec.budget is not None:
            yield f"{pipeline.name}/costs", _of(over_budget, pipeline)
    for node in runtime.project.nodes.values():
        if node.executable:
            yield from ((node.asset, _of(see, node)) for see in (checks, drills))
            if node.asset in refused:
                yield node.asset, _of(gates, node)
    yield "vault", vault_findings
    yield "pipelines", left_out
    yield "costs", unrecorded


def _of(look: Callable[[Runtime, Any, datetime], Iterable[Condition]], subject: object) -> Look:
    return lambda runtime, now: look(runtime, subject, now)
