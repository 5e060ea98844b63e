"""The check `complete`: fails a run in which some partitions were refused, without holding back the good ones.

Dagster skips everything after a failed step, so a step that refused one day of 141 must itself succeed for the 140 others
to go on. This check runs as a step of its own beside them and turns the run red. What it says is worked out from the ledger:
with another Dagster database, or none, it says the same.
"""

from collections.abc import Iterator, Mapping, Sequence

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

from orchestrai.defs.asset_keys import asset_key
from orchestrai.defs.assets import node_partitions
from orchestrai.defs.platform.patience import patient
from orchestrai.errors import GateClosed
from orchestrai.pipeline.nodes.load_node import retries_of
from orchestrai.pipeline.runtime import Runtime
from orchestrai.stage.outcomes import UPSTREAM, gates_before, incomplete
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
    def complete(
        context: dg.AssetCheckExecutionContext, orchestrai_runtime: dg.ResourceParam[Runtime]
    ) -> Iterator[dg.AssetCheckResult]:
        with patient(context, retries_of(node.subject)):
            refused = incomplete(orchestrai_runtime.ledger, node, asked_of(node, context.run.tags))
        lines = [f"{partition}: {', '.join(checks)}" for partition, checks in sorted(refused.items())]
        waits = all(checks.keys() == {UPSTREAM} for checks in refused.values()) and _gates_run(context, node)
        yield dg.AssetCheckResult(
            passed=not refused,
            # one fault is red once, where it was found
            severity=dg.AssetCheckSeverity.WARN if refused and waits else dg.AssetCheckSeverity.ERROR,
            description="; ".join(lines[:10]) or None,
            metadata={"refused": len(refused), **({"why": _reasons(refused)} if refused else {})},
        )
        if refused and not waits:
            raise dg.Failure(
                description=f"{len(refused)} partition(s) of {node.asset} refused: " + "; ".join(lines[:10]),
                metadata={"error": GateClosed.__name__},
                allow_retries=False,
            )

    return complete


def _gates_run(context: dg.AssetCheckExecutionContext, node: AssetNode) -> bool:
    """Whether this very check of every gate that may hold a partition back runs in this run too, and fails it itself."""
    before = {f"{asset_key(gate).to_python_identifier()}_{COMPLETE}" for gate in gates_before(node)}
    # a run that is tried again, or of steps that a person chose, has a part of its job
    steps = context.run.step_keys_to_execute
    there = {one.name for one in context.op_execution_context.job_def.nodes}
    return bool(before) and before <= (there if steps is None else there & {*steps})


def _reasons(refused: Mapping[str, Mapping[str, str]]) -> dg.TableMetadataValue:
    records = [
        dg.TableRecord({"partition": partition, "check": check, "reason": reason})
        for partition, checks in sorted(refused.items())
        for check, reason in sorted(checks.items())
    ]
    columns = [dg.TableColumn(name, "string") for name in ("partition", "check", "reason")]
    # an event is no place for thousands of rows; `orchestrai gate list` has them all
    return dg.MetadataValue.table(records[:200], dg.TableSchema(columns=columns))


def asked_of(node: AssetNode, tags: Mapping[str, str]) -> list[str] | None:
    """The partitions that a run with these tags asks of a stage; None for one that is not cut by time."""
    partitions = node_partitions(node)
    first = tags.get(ASSET_PARTITION_RANGE_START_TAG) or tags.get(PARTITION_NAME_TAG)
    last = tags.get(ASSET_PARTITION_RANGE_END_TAG) or first
    if partitions is None or first is None or last is None:
        return None
    return list(partitions.get_partition_keys_in_range(dg.PartitionKeyRange(first, last)))
