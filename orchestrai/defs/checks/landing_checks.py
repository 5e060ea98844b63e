"""The checks of a landing: `accounted`, every object is in one of four places and none waits for a person; `rpo`, none is old without
a snapshot.

Sensors report it with each whole look; by hand it looks itself.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import dagster as dg

from orchestrai.core.verdict import Verdict
from orchestrai.defs.asset_keys import asset_key
from orchestrai.defs.platform.patience import patient
from orchestrai.errors import OrchestraiError
from orchestrai.ingest.discovery.reconciliation import PLACES, Reconciliation, reconcile
from orchestrai.observability.alerts.condition import Condition, Sight
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.nodes.load_node import retries_of
from orchestrai.pipeline.reports.landing_status import judge_of
from orchestrai.pipeline.reports.recovery_point import INFO, RecoveryPoint, recovery_point
from orchestrai.pipeline.runtime import Runtime

ACCOUNTED = "accounted"
# the conditions of a ledger's gate, which tell whoever waits for a person
GATES = ("gate_closed", "held")
SHOWN = 50


def build_landing_checks(datasets: Sequence[DatasetNode]) -> list[dg.AssetChecksDefinition]:
    """An `accounted` check for each dataset whose objects land, and `rpo` for every dataset."""
    accounted = [_accounted(dataset) for dataset in datasets if dataset.spec.source.kind == "objects"]
    return [*accounted, *map(_rpo, datasets)]


def _rpo(dataset: DatasetNode) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=asset_key(dataset.asset("landing")), name=INFO.name, blocking=False, description=INFO.description)
    def rpo(orchestrai_runtime: dg.ResourceParam[Runtime]) -> dg.AssetCheckResult:
        verdict = recovery_point(orchestrai_runtime, dataset).verdict
        return dg.AssetCheckResult(
            passed=verdict.passed, severity=dg.AssetCheckSeverity.WARN, metadata=_told(verdict), description=verdict.message
        )

    return rpo


def rpo_evaluation(dataset: DatasetNode, point: RecoveryPoint) -> dg.AssetCheckEvaluation:
    """The check `rpo`, by a look that a sensor took."""
    verdict = point.verdict
    return dg.AssetCheckEvaluation(
        asset_key=asset_key(dataset.asset("landing")),
        check_name=INFO.name,
        passed=verdict.passed,
        severity=dg.AssetCheckSeverity.WARN,
        metadata=_told(verdict),
        description=verdict.message,
    )


def _told(verdict: Verdict) -> dict[str, Any]:
    return {name: value for name, value in verdict.details.items() if isinstance(value, str | int | float | bool)}


def _accounted(dataset: DatasetNode) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(dataset.asset("landing")),
        name=ACCOUNTED,
        blocking=False,
        description="Every landed object is in the raw events, the dead letters, waiting or passed over by a rule; none waits for you.",
    )
    def accounted(
        context: dg.AssetCheckExecutionContext, orchestrai_runtime: dg.ResourceParam[Runtime]
    ) -> dg.AssetCheckResult:
        with patient(context, retries_of(dataset)):
            whole = reconcile(judge_of(orchestrai_runtime, dataset))
        return dg.AssetCheckResult(passed=_passed(whole), severity=dg.AssetCheckSeverity.WARN, metadata=_metadata(whole))

    return accounted


def accounted_evaluation(dataset: DatasetNode, whole: Reconciliation) -> dg.AssetCheckEvaluation:
    """The check's verdict on a look that a sensor took anyway."""
    return dg.AssetCheckEvaluation(
        asset_key=asset_key(dataset.asset("landing")),
        check_name=ACCOUNTED,
        passed=_passed(whole),
        severity=dg.AssetCheckSeverity.WARN,
        metadata=_metadata(whole),
    )


def without_twice(runtime: Runtime, sight: Sight) -> Sight:
    """A look without what another condition tells: `accounted` fails while a gate of the raw events is closed, and for just that.

    The newest evaluation is as old as the newest whole look at the landing. So where no gate is closed the landing is looked at again,
    and where that cannot be done nothing is said of the check.
    """
    closed = {one.subject for one in sight.conditions if one.kind in GATES}
    over, unseen = set[Condition](), set[str]()
    by_landing = {
        asset_key(dataset.asset("landing")).to_user_string(): dataset
        for pipeline in runtime.project.pipelines
        for dataset in pipeline.own_datasets
    }
    for one in sight.conditions:
        dataset = by_landing.get(asset_key(one.subject).to_user_string())
        if dataset is None or (one.kind, one.cause) != ("check_failed", ACCOUNTED):
            continue
        raw = dataset.asset("raw_events")
        try:
            passed = raw in closed or _passed(reconcile(judge_of(runtime, dataset)).lettered())
            known = raw in closed or sight.covers(Condition(GATES[0], raw, "", "", ""))
        except OrchestraiError:
            passed = known = False
        if passed or not known:
            over.add(one)
            unseen |= set() if known else {one.subject}
    return replace(sight, conditions=sight.conditions - over, unseen=sight.unseen | unseen)


def _passed(whole: Reconciliation) -> bool:
    return not whole.held_up and not whole.unplaced


def _metadata(whole: Reconciliation) -> dict[str, Any]:
    records = [
        dg.TableRecord({"place": r.place, "why": r.reason, "objects": r.count, "example": r.example})
        for r in whole.reasons[:SHOWN]
    ]
    columns = [
        dg.TableColumn(name, "int" if name == "objects" else "string") for name in ("place", "why", "objects", "example")
    ]
    oldest = {"oldest_waiting": whole.oldest.key} if whole.oldest is not None else {}
    return {
        "listed": whole.listed,
        **{place: whole.counts[place] for place in PLACES},
        **oldest,
        "why": dg.MetadataValue.table(records, dg.TableSchema(columns=columns)),
    }
