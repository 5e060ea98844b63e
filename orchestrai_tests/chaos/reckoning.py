"""The reckoning after a day of faults: every object in its place, every row once, every alert told and ended."""

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Protocol

import dagster as dg
import pyarrow.parquet as pq
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES, RunsFilter

from orchestrai.ingest.discovery.reconciliation import reconcile
from orchestrai.pipeline.reports.landing_status import judge_of
from orchestrai.pipeline.reports.open_work import open_work
from orchestrai.pipeline.runtime import Runtime
from orchestrai_tests.chaos.chaos_faults import NEVER_MENDED, Chaos
from orchestrai_tests.chaos.shop_by_hour import PREFIX
from orchestrai_tests.observability.hooks import Hook

# conditions that are true to the end: what is broken was never sent again
TRUE_TO_THE_END = frozenset({"gate_closed", "dead_letters", "unprotected"})


class Sent(Protocol):
    """What producers sent, by dataset and name: the hour of each object, and the numbers of its rows."""

    landed: dict[tuple[str, str], tuple[int, list[int]]]
    broken: dict[tuple[str, str], tuple[int, list[int]]]


@dataclass
class Reckoning:
    """What came of it; `wrong` is empty where all is accounted for, `unrest` what was under way still, `twice` what may never be."""

    objects: int = 0
    published: int = 0
    refused: int = 0
    rows: int = 0
    runs: Counter[str] = field(default_factory=Counter)
    alerts: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    settled_seconds: float = 0
    unrest: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)


def settle(chaos: Chaos, seconds: float) -> float:
    """Let it come to rest with nothing more in its way; how long that took. Who comes to no rest is judged as it is then."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        chaos.operation.until(2)
        if not _unrest(chaos):
            break
    return time.monotonic() - began


def _unrest(chaos: Chaos) -> list[str]:
    runtime = chaos.operation.runtime()
    left = []
    for dataset in runtime.project.pipelines[0].own_datasets:
        whole = reconcile(judge_of(runtime, dataset))
        if whole.due or whole.unplaced or open_work(runtime, dataset):
            left.append(f"{dataset.prefix} has {sorted(whole.due)} due, {sorted(open_work(runtime, dataset))} to carry on")
    left += [f"an alert is open: {kind}" for kind in sorted(_open_alerts(runtime) - TRUE_TO_THE_END)]
    with dg.DagsterInstance.from_config(str(chaos.operation.home / "dagster")) as instance:
        going = instance.get_runs(RunsFilter(statuses=list(NOT_FINISHED_STATUSES)))
        left += [f"run {run.run_id} is {run.status.value}" for run in going]
    return left


def _open_alerts(runtime: Runtime) -> set[str]:
    from orchestrai.observability.alerts.alert_log import AlertLog

    return {alert.condition.kind for alert in AlertLog(runtime.ledger).newest().outbox.alerts}


def reckon(chaos: Chaos) -> Reckoning:
    """Hold landings, ledger, vault, runs and messages against what was sent."""
    unrest = _unrest(chaos)
    found = Reckoning(unrest=unrest, wrong=[*unrest])
    runtime = chaos.operation.runtime()
    for dataset in runtime.project.pipelines[0].own_datasets:
        name = dataset.spec.name
        sent = [key for key in (*chaos.landed, *chaos.broken) if key[0] == name]
        whole = reconcile(judge_of(runtime, dataset))
        found.objects += whole.listed
        found.published += whole.counts["raw_events"]
        found.refused += whole.held_up
        if whole.listed != len(sent) or whole.counts["waiting"] != whole.held_up:
            found.wrong.append(f"{name}: {len(sent)} were sent, found {dict(whole.counts)}, {whole.held_up} of them held up")
        found.wrong += wrong_rows(chaos, runtime, name, found)
    _told(chaos.operation.hook, _open_alerts(runtime), found)
    with dg.DagsterInstance.from_config(str(chaos.operation.home / "dagster")) as instance:
        found.runs.update(run.status.value.lower() for run in instance.get_runs())
    return found


def wrong_rows(sent_by: Sent, runtime: Runtime, name: str, found: Reckoning) -> list[str]:
    """Each row that a producer sent is in the restored data once, and in the raw events and the snapshot as the same bytes."""
    prefix = f"{PREFIX}/{name}"
    raw, kept, restored = (runtime.ledger.find(f"{prefix}/{stage}") for stage in ("raw_events", "snapshot", "restored"))
    if raw is None or kept is None or restored is None:
        return [f"{name}: nothing was restored"]
    wrong = [] if raw.version == kept.version == restored.version else [f"{name}: the stages have other versions"]
    there: Counter[int] = Counter()
    with restored.fetched(sorted(restored.partitions)) as files:
        for part in files.values():
            for file in part:
                there.update(pq.read_table(file.path, columns=["number"])["number"].to_pylist())
    held_up = {hour for (dataset, _), (hour, _) in sent_by.broken.items() if dataset == name}
    sent = Counter(
        number
        for (dataset, _), (hour, numbers) in sent_by.landed.items()
        if dataset == name and hour not in held_up
        for number in numbers
    )
    assert held_up <= {NEVER_MENDED}
    found.rows += there.total()
    if there != sent:
        lost, more = sent - there, there - sent
        found.twice += [f"{name}: row {number} is there {count} times" for number, count in there.items() if count > 1]
        wrong.append(f"{name}: {lost.total()} rows are not there, {more.total()} too often: {[*lost][:5]} {[*more][:5]}")
    return wrong


def _told(hook: Hook, still_open: set[str], found: Reckoning) -> None:
    """Each change of an alert was told once, a repeat has the key of the first; what was opened was ended, or is true."""
    told: Counter[str] = Counter()
    by_alert: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for body in list(hook.told):
        alert = body["orchestrai"]
        key = alert["key"]
        told[key] += 1
        if told[key] == 1:
            by_alert[alert["kind"], f"{alert['subject']} since {alert['opened']}"][alert["change"]] += 1
            found.alerts[f"{alert['kind']} {alert['change']}"] += 1
    found.repeated = sum(count - 1 for count in told.values())
    found.twice += [f"told {count} times: {key}" for key, count in told.items() if count > 2]
    found.wrong += found.twice
    for (kind, alert), changes in by_alert.items():
        if changes["opened"] != changes["resolved"] and kind not in still_open:
            found.wrong.append(f"{kind} {alert} was told as {dict(changes)}")
