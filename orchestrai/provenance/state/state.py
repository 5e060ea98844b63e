"""The state of everything: what others work out, brought together once; shown in a terminal, as a page, as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrai.observability.alerts.condition import Condition
from orchestrai.observability.watch.watcher import watch
from orchestrai.pipeline.costs.budgets import BudgetUse, budget_use
from orchestrai.pipeline.costs.cost_report import drawn_days
from orchestrai.pipeline.costs.day_costs import DayCost
from orchestrai.pipeline.graph import declared_backups
from orchestrai.pipeline.reports.gate_list import ClosedGate, gate_list
from orchestrai.pipeline.reports.overview import Overview, overview
from orchestrai.pipeline.reports.report_parts import ReportParts
from orchestrai.pipeline.runtime import Runtime
from orchestrai.provenance.compliance.compliance import Compliance, compliance
from orchestrai.provenance.state.dataset_days import DatasetDay, dataset_days
from orchestrai.provenance.state.model_versions import ModelState, model_state
from orchestrai.vault.protection import is_sealed

COST_DAYS = 30


@dataclass(frozen=True)
class State:
    """All of it as of `time`. `vault` is None where nothing was backed up yet; `unreadable` are parts that could not be read, with why.

    `days`, `costs` and `budgets` are by dataset and by pipeline.
    """

    time: datetime
    overview: Overview
    gates: tuple[ClosedGate, ...]
    days: Mapping[str, tuple[DatasetDay, ...]]
    vault: Compliance | None
    models: tuple[ModelState, ...]
    costs: Mapping[str, tuple[DayCost, ...]]
    budgets: tuple[BudgetUse, ...]
    alerts: tuple[Condition, ...]
    unreadable: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """Whether nothing needs a person, as far as could be read."""
        return not self.alerts and not self.gates and not self.unreadable

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "time": self.time.isoformat(),
            "ok": self.ok,
            "pipelines": self.overview.as_json(),
            "gates": [{**gate.as_json(), "remedies": list(gate.remedies)} for gate in self.gates],
            "datasets": {name: [day.as_json() for day in days] for name, days in self.days.items()},
            "vault": self.vault.as_json() if self.vault is not None else None,
            "models": [model.as_json() for model in self.models],
            "costs": {name: [day.as_json() for day in days] for name, days in self.costs.items()},
            "budgets": [{**use.__dict__, "share": round(use.share, 4)} for use in self.budgets],
            "alerts": [{"id": one.id, "title": one.title, **one.as_json()} for one in self.alerts],
            "unreadable": dict(self.unreadable),
        }


def state_of(runtime: Runtime, *, pictures: bool = False) -> State:
    """Read all of it and write nothing; with `pictures` what evaluations drew, too."""
    parts, ledger, now = ReportParts(), runtime.ledger, runtime.clock()
    pipelines = {one.name: one for one in runtime.project.pipelines}
    datasets = {node.shown: node for one in pipelines.values() for node in one.own_datasets}
    models = {node.shown: node for one in pipelines.values() for node in one.models}
    with ledger.reading():
        told = overview(runtime, parts)
        states = parts.each("model", models, lambda node: model_state(ledger, node, pictures=pictures))
        days = parts.each("dataset", datasets, lambda node: dataset_days(runtime, node))
        costs = parts.each("costs of", pipelines, lambda one: tuple(drawn_days(ledger, one.name, now, COST_DAYS)))
        budgets = parts.each("budget of", pipelines, lambda one: tuple(budget_use(ledger, one, now)))
        gates: tuple[ClosedGate, ...] = parts.one("gates", lambda: tuple(gate_list(runtime)), ())
        alerts: tuple[Condition, ...] = parts.one("alerts", lambda: tuple(sorted(watch(runtime).conditions)), ())
    vault = parts.one("vault", lambda: _vault(runtime), None)
    used = tuple(use for some in budgets.values() for use in some)
    return State(now, told, gates, days, vault, tuple(states.values()), costs, used, alerts, parts.unreadable)


def _vault(runtime: Runtime) -> Compliance | None:
    """What the vault's records say; None where there is no vault, which looking does not make."""
    store = runtime.ledger.vault
    if store is None or is_sealed(store, runtime.ledger.keyring) is None:
        return None
    return compliance(runtime.ledger, runtime.vault, declared_backups(tuple(runtime.project.nodes.values())))
