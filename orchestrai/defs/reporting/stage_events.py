"""A StageReport told to Dagster: what changed, one result per check, failure.

In a run over many partitions (docs/dagster.md) each that Dagster does not know as it is becomes an `AssetMaterialization`, each check one
`AssetCheckEvaluation`, then an `Output` that adds no materialization of its own follows, so that the good partitions go on and the refused
ones are visibly failed and never materialized. Where nothing changed an observation says so.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_TAG,
    DEFAULT_DATA_VERSION,
    get_input_data_version_tag,
)
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION
from dagster._core.events import AssetMaterializationPlannedData, DagsterEvent
from dagster._core.storage.tags import BACKFILL_ID_TAG

from orchestrai.defs.reporting.check_events import Closed, partitioned_evaluations, whole_results
from orchestrai.defs.reporting.dagster_view import DagsterView, newest_tags, version_tags
from orchestrai.defs.reporting.event_metadata import metadata_of
from orchestrai.ledger.report import PartitionOutcome, StageReport
from orchestrai.stage.outcomes import blocked
from orchestrai.stage.stage import AssetNode

# an Output with this metadata is passed on without a materialization event (dagster/_core/execution/plan/execute_step.py)
SILENT = {SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True}


def report_events(
    context: dg.AssetExecutionContext, node: AssetNode, report: StageReport, seen: Mapping[str, str], closed: Closed
) -> Iterator[Any]:
    """Yield what Dagster does not know yet of a stage's work; raises Failure when nothing was published.

    `seen` are the tags that name the newest event of each input before the work began, `closed` what the asset's gate holds back now.
    """
    partitioned = node.grain != "all"
    published = [outcome for outcome in report.outcomes if outcome.published]
    specs = {spec.name: spec for spec in context.assets_def.check_specs_by_output_name.values()}
    if partitioned:
        yield from partitioned_evaluations(specs, report, closed, blocking=not published)
        _plan_refused(context, report)
    else:
        yield from whole_results(list(specs), report, red=node.stage.red)
    if not published:
        reasons = refusals(report)
        raise dg.Failure(
            description=f"Gate closed for {node.asset}: {reasons[0] if reasons else 'nothing to publish'}",
            metadata={"refused": dg.MetadataValue.md("\n".join(f"- {reason}" for reason in reasons[:50]))},
            allow_retries=False,
        )
    if not partitioned:
        if _stands_as_told(context, report):
            yield from _nothing_new(context, node, report)
            yield dg.Output(None, metadata=SILENT)
            return
        yield dg.Output(
            None,
            metadata=metadata_of(node, report, _total(report), single=True),
            data_version=dg.DataVersion(report.version or "none"),
        )
        return
    changed = _to_tell(context, node, published)
    for outcome in changed:
        yield dg.AssetMaterialization(
            asset_key=context.asset_key,
            partition=outcome.partition,
            metadata=metadata_of(node, report, outcome, single=len(published) == 1),
            tags={**seen, **_tags(context, outcome)},
        )
    if not changed:
        yield from _nothing_new(context, node, report)
    yield dg.Output(None, metadata=SILENT)
    for output in context.assets_def.check_specs_by_output_name:
        yield dg.Output(None, output_name=output)


def _nothing_new(context: dg.AssetExecutionContext, node: AssetNode, report: StageReport) -> Iterator[dg.AssetObservation]:
    published = [outcome for outcome in report.outcomes if outcome.published]
    said = f"nothing new: {len(published)} partitions as they were" if node.grain != "all" else "nothing new"
    context.log.info(f"{node.asset}: {said}")
    yield dg.AssetObservation(
        context.asset_key, description=said, metadata={"partitions": len(published), "version": report.version or "none"}
    )


def _stands_as_told(context: dg.AssetExecutionContext, report: StageReport) -> bool:
    """Whether all stands that the step looked at, and Dagster knows it as it is: this version, by this code, of these inputs."""
    if not all(outcome.published and outcome.standing for outcome in report.outcomes):
        return False
    told = newest_tags(context.instance, context.asset_key)
    code = context.assets_def.code_versions_by_key.get(context.asset_key)
    return (
        told.get(DATA_VERSION_TAG) == report.version
        and told.get(CODE_VERSION_TAG) == code
        and all(told.get(get_input_data_version_tag(key)) == version for key, version in _input_versions(context).items())
    )


def _input_versions(context: dg.AssetExecutionContext) -> dict[dg.AssetKey, str]:
    """The version of each input that Dagster would note of this step."""
    step = context.get_step_execution_context()
    deps = context.assets_def.asset_deps[context.asset_key]
    found = {key: step.maybe_fetch_and_get_input_asset_version_info(key) for key in deps}
    versions = {key: one.data_version if one is not None else None for key, one in found.items()}
    return {key: (version or DEFAULT_DATA_VERSION).value for key, version in versions.items()}


def _to_tell(
    context: dg.AssetExecutionContext, node: AssetNode, published: Sequence[PartitionOutcome]
) -> Sequence[PartitionOutcome]:
    """The partitions to report. A backfill of Dagster's, and whoever asked for one partition, wait for a word on each."""
    by_range = context.instance.event_log_storage.supports_partition_subset_in_asset_materialization_planned_events
    if len(published) == 1 or BACKFILL_ID_TAG in context.run.tags or not by_range:
        return published
    view = DagsterView(context.instance, context.asset_key, [outcome.partition for outcome in published])
    return view.unknown(node, published, context.assets_def.code_versions_by_key.get(context.asset_key))


def _plan_refused(context: dg.AssetExecutionContext, report: StageReport) -> None:
    """Have refused partitions shown as failed: a run over a range plans no single one, and this run turns red.

    What an earlier gate holds back did not fail: it is missing here, and the checks say what it waits for.
    """
    if len(report.outcomes) == 1:
        return
    for outcome in report.refused:
        if blocked(outcome) is not None:
            continue
        planned = DagsterEvent.build_asset_materialization_planned_event(
            context.job_name,
            context.get_step_execution_context().step.key,
            AssetMaterializationPlannedData(context.asset_key, partition=outcome.partition, partitions_subset=None),
        )
        context.instance.report_dagster_event(planned, context.run.run_id, logging.DEBUG)


def refusals(report: StageReport) -> list[str]:
    """One line per refused partition: which check, and why."""
    return [
        f"{outcome.partition}: " + "; ".join(f"{v.check}: {v.message}" for v in outcome.verdicts if v.closes_gate)
        for outcome in report.refused
    ]


def _tags(context: dg.AssetExecutionContext, outcome: PartitionOutcome) -> dict[str, str]:
    tags = version_tags(outcome, context.assets_def.code_versions_by_key.get(context.asset_key))
    backfill = context.run.tags.get(BACKFILL_ID_TAG)
    if backfill:
        tags[BACKFILL_ID_TAG] = backfill
    return tags


def _total(report: StageReport) -> PartitionOutcome:
    size = sum(outcome.size for outcome in report.outcomes if outcome.published)
    return PartitionOutcome("all", True, report.version, report.rows, size)
