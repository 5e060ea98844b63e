"""Dagster's database filled from the ledger: what is published and Dagster does not know, as events without a run.

The database is a view of the ledger. After it was lost, or where a process died before it had told all, this tells the rest.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG

from orchestrai.defs.asset_keys import asset_key
from orchestrai.defs.assets import closed_by, node_partitions
from orchestrai.defs.event_log import EventLog
from orchestrai.defs.reporting.check_events import partitioned_evaluations
from orchestrai.defs.reporting.dagster_view import DagsterView, newest_tags, version_tags
from orchestrai.defs.reporting.event_metadata import metadata_of
from orchestrai.errors import NotReceipted
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.report import PartitionOutcome, StageReport
from orchestrai.pipeline.runtime import Runtime
from orchestrai.stage.recorded_bytes import as_published
from orchestrai.stage.stage import AssetNode


@dataclass(frozen=True)
class Told:
    """What was told of one asset: partitions (one for an asset that is not cut by time) and checks; `uncounted` have no valid receipt."""

    asset: str
    partitions: int
    checks: int
    uncounted: tuple[str, ...] = ()


def sync(runtime: Runtime, instance: dg.DagsterInstance, only: Collection[str] | None = None) -> Iterator[Told]:
    """Tell Dagster of each published asset, or `only` of some, what it does not know; yields those of which something was told or does
    not count.
    """
    for node in runtime.project.nodes.values():
        if only is not None and node.asset not in only:
            continue
        current = runtime.ledger.find(node.asset)
        if current is None:
            continue
        told = _told(runtime, instance, node, current)
        if told.partitions or told.checks or told.uncounted:
            yield told


def former_keys(runtime: Runtime, instance: dg.DagsterInstance) -> list[dg.AssetKey]:
    """The keys that Dagster knows assets of the project by from before the last part said the subject, too."""
    known, named = set(instance.get_asset_keys()), {asset_key(asset) for asset in runtime.project.nodes}
    former = {dg.AssetKey(asset.split("/")) for asset in runtime.project.nodes}
    return sorted(known & former - named)


def _told(runtime: Runtime, instance: dg.DagsterInstance, node: AssetNode, current: Dataset) -> Told:
    key, code = asset_key(node.asset), node.stage.code_of(node.subject)
    outcomes, uncounted = _outcomes(current)
    partitions = node_partitions(node)
    cut = partitions is not None
    if cut:
        outcomes = [
            outcome for outcome in outcomes if partitions is not None and partitions.has_partition_key(outcome.partition)
        ]
        unknown = DagsterView(instance, key, [outcome.partition for outcome in outcomes]).unknown(node, outcomes, code)
    else:
        whole = PartitionOutcome("all", True, current.version, current.rows, sum(o.size for o in outcomes), standing=True)
        unknown = [] if newest_tags(instance, key).get(DATA_VERSION_TAG) == current.version else [whole]
    report = StageReport(node.asset, current.version, tuple(outcomes))
    log = instance.event_log_storage
    with log.together() if isinstance(log, EventLog) else nullcontext():
        for outcome in unknown:
            instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    key,
                    partition=outcome.partition if cut else None,
                    metadata=metadata_of(node, report, outcome, single=False),
                    tags=version_tags(outcome, code),
                )
            )
    return Told(node.asset, len(unknown), _checks(runtime, instance, node, report), tuple(uncounted))


def _outcomes(current: Dataset) -> tuple[list[PartitionOutcome], list[str]]:
    outcomes, uncounted = [], []
    for key in sorted(current.partitions):
        try:
            outcomes.append(as_published(current, key))
        except NotReceipted:
            uncounted.append(key)
    return outcomes, uncounted


def _checks(runtime: Runtime, instance: dg.DagsterInstance, node: AssetNode, report: StageReport) -> int:
    """Tell the verdicts of checks that Dagster has no evaluation of; as many."""
    missing = _unevaluated(instance, node)
    specs = {name: dg.AssetCheckSpec(name, asset=asset_key(node.asset)) for name in missing}
    # what nothing was judged of stays unsaid
    judged = {verdict.check for outcome in report.outcomes for verdict in outcome.verdicts}
    wanted = {name: spec for name, spec in specs.items() if name in judged}
    for evaluation in partitioned_evaluations(wanted, report, closed_by(runtime, node), blocking=False):
        instance.report_runless_asset_event(evaluation)
    return len(wanted)


def _unevaluated(instance: dg.DagsterInstance, node: AssetNode) -> Sequence[str]:
    keys = {check.name: dg.AssetCheckKey(asset_key(node.asset), check.name) for check in node.checks}
    found = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(keys.values())) if keys else {}
    return [name for name, key in keys.items() if key not in found or found[key].evaluation is None]
