"""The reckoning of a simulated day: every object in its place, every row once, every change of an alert told, and told once."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES, RunsFilter

from orchestrai.defs.asset_keys import asset_key
from orchestrai.defs.reporting.ledger_sync import sync
from orchestrai.ingest.discovery.reconciliation import reconcile
from orchestrai.observability.alerts.alert_log import ALERTS, AlertLog
from orchestrai.pipeline.reports.landing_status import judge_of
from orchestrai.pipeline.reports.open_work import open_work
from orchestrai.stage.names import VERBATIM
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.chaos.reckoning import Reckoning, wrong_rows
from orchestrai_tests.chaos.shop_by_hour import DATASETS, PREFIX
from orchestrai_tests.chaos.simulated_day import STEPS, Day, Fault
from orchestrai_tests.chaos.simulated_operation import simulated_operation

# what is true to the end: what is broken was never sent again, what has no hour is a dead letter
TRUE_TO_THE_END = frozenset({"gate_closed", "dead_letters", "unprotected"})


@dataclass
class Balance(Reckoning):
    """What came of a simulated day; `changes` counts changes of alerts, `open` are the kinds of those that are open."""

    changes: Counter[str] = field(default_factory=Counter)
    open: frozenset[str] = frozenset()
    done: Counter[str] = field(default_factory=Counter)
    counted: Counter[str] = field(default_factory=Counter)


def unrest(day: Day) -> list[str]:
    """What is under way still."""
    operation = day.operation
    runtime, left = operation.fresh_runtime(), []
    for dataset in runtime.project.pipelines[0].own_datasets:
        whole = reconcile(judge_of(runtime, dataset))
        if whole.due or whole.unplaced or open_work(runtime, dataset):
            left.append(f"{dataset.prefix} has {sorted(whole.due)} due, {sorted(open_work(runtime, dataset))} to carry on")
    outbox = AlertLog(runtime.ledger).newest().outbox
    kinds = {alert.condition.kind for alert in outbox.alerts} - TRUE_TO_THE_END
    left += [f"an alert is open: {kind}" for kind in sorted(kinds)]
    left += [f"a message is owed: {message.key}" for message in outbox.messages]
    going = operation.project.instance.get_runs(RunsFilter(statuses=list(NOT_FINISHED_STATUSES)))
    return left + [f"run {run.run_id} is {run.status.value}" for run in going]


def reckoned(day: Day, rest: list[str]) -> Balance:
    """Hold landings, ledger, vault, messages and Dagster's records against what was sent."""
    operation = day.operation
    found = Balance(unrest=rest, wrong=[*rest, *operation.unforeseen], done=day.done, counted=operation.counted)
    runtime = operation.fresh_runtime()
    for dataset in runtime.project.pipelines[0].own_datasets:
        name = dataset.spec.name
        sent = [key for key in (*day.landed, *day.broken, *day.odd) if key[0] == name]
        odd = [key for key in day.odd if key[0] == name]
        whole = reconcile(judge_of(runtime, dataset))
        found.objects += whole.listed
        found.published += whole.counts["raw_events"]
        found.refused += whole.held_up + whole.counts["dead_letters"]
        held_up = whole.counts["waiting"] == whole.held_up
        if whole.listed != len(sent) or not held_up or whole.counts["dead_letters"] != len(odd):
            found.wrong.append(f"{name}: {len(sent)} were sent, {len(odd)} of no hour, found {dict(whole.counts)}")
        found.wrong += wrong_rows(day, runtime, name, found)
    sealed = verify(runtime.vault, level="read")
    found.wrong += [f"vault: {one.key}: {one.problem}" for one in sealed.findings]
    _told(day, found)
    _synced(day, found)
    found.wrong += found.twice
    return found


def _told(day: Day, found: Balance) -> None:
    """Each change in the log of alerts reached the receiver, again only where the watcher died in between; what began is over or true."""
    log = AlertLog(day.operation.fresh_runtime().ledger)
    newest, changes = log.newest(), list[tuple[str, str]]()
    for number in range(1, newest.seq + 1):
        record = ALERTS.read(log.ledger.lake, log.ledger.keyring, ALERTS.key(f"{number:012d}"))
        for change, alert in record.changes:
            changes.append((f"{alert.key}:{change}:{record.time}:webhook", alert.condition.kind))
            found.changes[f"{alert.condition.kind} {change}"] += 1
    told = Counter(str(body["message"]) for body in day.operation.told)
    known = {key for key, _ in changes}
    found.open = frozenset(alert.condition.kind for alert in newest.outbox.alerts)
    found.repeated = sum(count - 1 for count in told.values())
    # whoever takes nothing is told of that by nobody: there is one receiver here
    found.wrong += [f"never told: {key} ({kind})" for key, kind in changes if key not in told and kind != "receiver_down"]
    found.wrong += [f"told, and in no record: {key}" for key in told if key not in known]
    # sent, and then its watcher died or the lake did not take that down
    if found.repeated > day.operation.counted["killed after it sent"] + day.operation.counted["looks that failed"]:
        found.twice.append(f"{found.repeated} messages came again: {[key for key, count in told.items() if count > 1]}")
    opened = Counter({kind: found.changes[f"{kind} opened"] for _, kind in changes})
    for kind, count in opened.items():
        still = sum(alert.condition.kind == kind for alert in newest.outbox.alerts)
        if count != found.changes[f"{kind} resolved"] + still:
            found.wrong.append(f"{kind}: {count} opened, {found.changes[f'{kind} resolved']} resolved, {still} open")


def _synced(day: Day, found: Balance) -> None:
    """Whatever Dagster lost or was never told, `orchestrai sync` tells it."""
    runtime = day.operation.fresh_runtime()
    with dg.DagsterInstance.ephemeral() as instance:
        [*sync(runtime, instance)]
        for name in DATASETS:
            for stage in VERBATIM:
                asset = f"{PREFIX}/{name}/{stage}"
                published, current = set(instance.get_materialized_partitions(asset_key(asset))), runtime.ledger.find(asset)
                if current is None or published != set(current.partitions):
                    found.wrong.append(f"{asset}: Dagster knows {sorted(published)}")


def simulated_day(folder: Path, seed: int, faults: Sequence[Fault], steps: int = STEPS) -> Balance:
    """A day of these faults, or its first steps, and what came of it."""
    folder.mkdir(parents=True)
    with simulated_operation(folder, seed) as operation:
        day = Day(operation, seed, faults)
        day.live(steps)
        rest = day.settle(lambda: unrest(day), steps)
        return reckoned(day, rest)
