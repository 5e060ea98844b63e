"""The check `complete`: fails a run in which some partitions were refused, without holding back the good ones.

Dagster skips everything after a failed step, so a step that refused one day of 141 must itself succeed for the 140 others
to go on. This check runs as a step of its own beside them and turns the run red.
"""

from collections.abc import Iterator, Mapping, Sequence

import dagster as dg

from orchestrai.defs.assets import asset_key, node_partitions
from orchestrai.stage.stage import AssetNode

COMPLETE = "complete"


def build_complete_checks(nodes: Sequence[AssetNode]) -> list[dg.AssetChecksDefinition]:
    """A `complete` check for each partitioned stage that can refuse partitions."""
    return [_complete(node) for node in nodes if node.executable and node.checks and node_partitions(node) is not None]


def _complete(node: AssetNode) -> dg.AssetChecksDefinition:
    # a generator is what Dagster runs here, though its stub knows functions only
    @dg.asset_check(  # type: ignore[arg-type]
        asset=asset_key(node.asset),
        name=COMPLETE,
        blocking=False,
        description="Every partition asked for in this run was published; the run fails when one was refused.",
    )
    def complete(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        refused = refused_partitions(context.op_execution_context.instance, context.op_execution_context.run_id, node.asset)
        lines = [f"{partition}: {', '.join(checks)}" for partition, checks in sorted(refused.items())]
        yield dg.AssetCheckResult(
            passed=not refused,
            description="; ".join(lines[:10]) or None,
            metadata={"refused": len(refused), **({"why": _reasons(refused)} if refused else {})},
        )
        if refused:
            raise dg.Failure(
                description=f"{len(refused)} partition(s) of {node.asset} refused: " + "; ".join(lines[:10]),
                allow_retries=False,
            )

    return complete


def _reasons(refused: Mapping[str, Mapping[str, str]]) -> dg.TableMetadataValue:
    records = [
        dg.TableRecord({"partition": partition, "check": check, "reason": reason})
        for partition, checks in sorted(refused.items())
        for check, reason in sorted(checks.items())
    ]
    columns = [dg.TableColumn(name, "string") for name in ("partition", "check", "reason")]
    # an event is no place for thousands of rows; `orchestrai gate list` has them all
    return dg.MetadataValue.table(records[:200], dg.TableSchema(columns=columns))


def refused_partitions(instance: dg.DagsterInstance, run_id: str, asset: str) -> dict[str, dict[str, str]]:
    """The partitions of an asset whose gate closed in a run, with the checks that closed it and what these said."""
    refused: dict[str, dict[str, str]] = {}
    cursor = None
    while True:
        page = instance.get_records_for_run(run_id, cursor, {dg.DagsterEventType.ASSET_CHECK_EVALUATION})
        for record in page.records:
            event = record.event_log_entry.dagster_event
            evaluation = event.asset_check_evaluation_data if event else None
            if (
                evaluation is not None
                and evaluation.asset_key == asset_key(asset)
                and not evaluation.passed
                and evaluation.severity == dg.AssetCheckSeverity.ERROR
                and evaluation.partition
            ):
                refused.setdefault(evaluation.partition, {})[evaluation.check_name] = evaluation.description or ""
        if not page.has_more:
            return refused
        cursor = page.cursor
