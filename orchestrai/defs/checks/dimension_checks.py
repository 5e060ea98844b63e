"""The check `dimension_complete` of raw events: no declared value is lacking for a time for which others have arrived.

It holds nothing back, since each value is gated alone. A warning, or where the dataset says `complete: error` an error that turns the
run red.
"""

from collections.abc import Iterator, Mapping, Sequence

import dagster as dg

from orchestrai.core.time.calendar import dimension_of
from orchestrai.defs.asset_keys import asset_key
from orchestrai.defs.checks.complete_checks import asked_of
from orchestrai.defs.platform.patience import patient
from orchestrai.ingest.arrival import RAW_EVENTS
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.nodes.load_node import retries_of
from orchestrai.pipeline.runtime import Runtime
from orchestrai.stage.absent_values import absent_values
from orchestrai.stage.stage import AssetNode

DIMENSION_COMPLETE = "dimension_complete"
SHOWN = 200


def build_dimension_checks(nodes: Sequence[AssetNode]) -> list[dg.AssetChecksDefinition]:
    """A `dimension_complete` check for the raw events of each dataset with a dimension."""
    raw = [node for node in nodes if node.stage is RAW_EVENTS and isinstance(node.subject, DatasetNode)]
    return [_dimension_complete(node) for node in raw if dimension_of(node.grain) is not None]


def _dimension_complete(node: AssetNode) -> dg.AssetChecksDefinition:
    dataset: DatasetNode = node.subject
    declared = dataset.spec.partitions.dimension
    assert declared is not None
    wrong = declared.complete == "error"

    @dg.asset_check(  # type: ignore[arg-type]
        asset=asset_key(node.asset),
        name=DIMENSION_COMPLETE,
        blocking=False,
        description=f"Every {declared.name} ({', '.join(declared.values)}) has arrived for each time for which another has.",
    )
    def dimension_complete(
        context: dg.AssetCheckExecutionContext, orchestrai_runtime: dg.ResourceParam[Runtime]
    ) -> Iterator[dg.AssetCheckResult]:
        with patient(context, retries_of(dataset)):
            absent = absent_values(
                orchestrai_runtime.ledger, dataset, asked_of(node, context.run.tags), orchestrai_runtime.clock()
            )
        message = _message(declared.dimension.expected, absent)
        yield dg.AssetCheckResult(
            passed=not absent,
            severity=dg.AssetCheckSeverity.ERROR if wrong else dg.AssetCheckSeverity.WARN,
            description=message or None,
            metadata={"times": len(absent), **({"lacking": _table(absent)} if absent else {})},
        )
        if absent and wrong:
            raise dg.Failure(description=message, allow_retries=False)

    return dimension_complete


def _message(expected: str, absent: Mapping[str, Sequence[str]]) -> str:
    if not absent:
        return ""
    lines = [f"{time} without {', '.join(values)}" for time, values in list(absent.items())[-5:]]
    more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
    return f"expected {expected} of each time, found {'; '.join(lines)}{more}: have the producer send what is lacking"


def _table(absent: Mapping[str, Sequence[str]]) -> dg.TableMetadataValue:
    records = [
        dg.TableRecord({"time": time, "lacking": ", ".join(values)}) for time, values in list(absent.items())[-SHOWN:]
    ]
    return dg.MetadataValue.table(
        records, dg.TableSchema([dg.TableColumn("time", "string"), dg.TableColumn("lacking", "string")])
    )
