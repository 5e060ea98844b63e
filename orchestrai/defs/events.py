"""A StageReport told to Dagster: materializations, check results, failure.

Per-partition reporting uses what was found to work on Dagster 1.13 (docs/dagster.md): an `AssetCheckEvaluation` and an
`AssetMaterialization` per partition, then an `Output` that adds no materialization of its own, so that in a run over a
range the good partitions go on and the refused ones are visibly failed and never materialized.
"""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import dagster as dg
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION
from dagster._core.storage.tags import BACKFILL_ID_TAG

from orchestrai.core.verdict import Verdict
from orchestrai.ledger.report import PartitionOutcome, StageReport, shown_verdicts
from orchestrai.stage.stage import AssetNode

# an Output with this metadata is passed on without a materialization event (dagster/_core/execution/plan/execute_step.py)
SILENT = {SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True}

# facts that are a list of rows alike, and how many of them the UI is given
TABLES = ("decisions", "groups")
MOST_ROWS = 500


def report_events(
    context: dg.AssetExecutionContext, node: AssetNode, report: StageReport, seen: Mapping[str, str]
) -> Iterator[Any]:
    """Yield everything Dagster should know of a stage's work; raises Failure when nothing was published.

    `seen` are the tags that name the newest event of each input before the work began.
    """
    partitioned = node.grain != "all"
    published = [outcome for outcome in report.outcomes if outcome.published]
    specs = {spec.name: (output, spec) for output, spec in context.assets_def.check_specs_by_output_name.items()}
    if partitioned:
        for outcome in report.outcomes:
            yield from _partition_checks(specs, outcome, blocking=not published)
    else:
        yield from _whole_checks(specs, report, red=node.stage.red)
    if not published:
        reasons = refusals(report)
        raise dg.Failure(
            description=f"Gate closed for {node.asset}: {reasons[0] if reasons else 'nothing to publish'}",
            metadata={"refused": dg.MetadataValue.md("\n".join(f"- {reason}" for reason in reasons[:50]))},
            allow_retries=False,
        )
    for outcome in published if partitioned else ():
        yield dg.AssetMaterialization(
            asset_key=context.asset_key,
            partition=outcome.partition,
            metadata=_metadata(node, report, outcome, single=len(published) == 1),
            tags={**seen, **_tags(context, outcome)},
        )
    if partitioned:
        yield dg.Output(None, metadata=SILENT)
        for output, _ in specs.values():
            yield dg.Output(None, output_name=output)
    else:
        yield dg.Output(
            None,
            metadata=_metadata(node, report, _total(report), single=True),
            data_version=dg.DataVersion(report.version or "none"),
        )


def refusals(report: StageReport) -> list[str]:
    """One line per refused partition: which check, and why."""
    return [
        f"{outcome.partition}: " + "; ".join(f"{v.check}: {v.message}" for v in outcome.verdicts if v.closes_gate)
        for outcome in report.refused
    ]


def _partition_checks(specs: Mapping[str, Any], outcome: PartitionOutcome, blocking: bool) -> Iterator[Any]:
    verdicts = {verdict.check: verdict for verdict in shown_verdicts(outcome)}
    # what a person left out, or what an earlier gate refused, has passed nothing
    unchecked = left_out_by(outcome) or next((v for v in outcome.verdicts if v.details.get("refused") is True), None)
    for name, (_, spec) in specs.items():
        verdict = verdicts.get(name, unchecked)
        if verdict is None and not outcome.published:
            continue
        yield dg.AssetCheckEvaluation(
            asset_key=spec.asset_key,
            check_name=name,
            partition=outcome.partition,
            # a blocking evaluation fails the step; where other partitions were published they must go on,
            # and the check `complete` fails the run instead
            blocking=blocking and spec.blocking,
            **_finding(verdict),
        )


def _whole_checks(specs: Mapping[str, Any], report: StageReport, *, red: bool = False) -> Iterator[Any]:
    """One result per check over everything the stage did, the worst one."""
    verdicts = _by_check(tuple(verdict for outcome in report.outcomes for verdict in shown_verdicts(outcome)))
    for name in specs:
        verdict = verdicts.get(name)
        yield dg.AssetCheckResult(
            check_name=name, **_finding(replace(verdict, severity="error") if verdict and red else verdict)
        )


def left_out_by(outcome: PartitionOutcome) -> Verdict | None:
    """The finding that says who left the partition out, where somebody did."""
    return next((verdict for verdict in shown_verdicts(outcome) if "skipped_by" in verdict.details), None)


def _finding(verdict: Verdict | None) -> dict[str, Any]:
    if verdict is None:
        # Dagster wants a result of every check; what was not judged is in no receipt, and is said to be so
        return {"passed": True, "metadata": {"orchestrai/judged": False}, "description": "nothing to judge"}
    severity = dg.AssetCheckSeverity.ERROR if verdict.severity == "error" else dg.AssetCheckSeverity.WARN
    metadata = {"message": verdict.message, **{key: _value(value) for key, value in verdict.details.items()}}
    return {"passed": verdict.passed, "severity": severity, "metadata": metadata, "description": verdict.message}


def _by_check(verdicts: tuple[Verdict, ...]) -> dict[str, Verdict]:
    return {verdict.check: verdict for verdict in _worst_first(verdicts)}


def _worst_first(verdicts: tuple[Verdict, ...]) -> list[Verdict]:
    # of several partitions' verdicts on a check the last one in a dict wins, so the worst comes last
    return sorted(verdicts, key=lambda verdict: (verdict.closes_gate, not verdict.passed))


def _tags(context: dg.AssetExecutionContext, outcome: PartitionOutcome) -> dict[str, str]:
    tags = {"dagster/data_version": outcome.root or "none", "dagster/data_version_is_user_provided": "true"}
    code = context.assets_def.code_versions_by_key.get(context.asset_key)
    if code:
        tags["dagster/code_version"] = code
    backfill = context.run.tags.get(BACKFILL_ID_TAG)
    if backfill:
        tags[BACKFILL_ID_TAG] = backfill
    return tags


def _total(report: StageReport) -> PartitionOutcome:
    size = sum(outcome.size for outcome in report.outcomes if outcome.published)
    return PartitionOutcome("all", True, report.version, report.rows, size)


def _metadata(node: AssetNode, report: StageReport, outcome: PartitionOutcome, single: bool) -> dict[str, Any]:
    metadata: dict[str, Any] = {} if node.stage.rowless else {"dagster/row_count": outcome.rows}
    if single:
        # what a person opens the asset for comes first
        metadata |= {name: picture(name, png) for name, png in report.plots.items()}
        for name, value in report.facts.items():
            metadata |= _fact(name, value)
    metadata |= {
        "orchestrai/bytes": outcome.size,
        "orchestrai/version": report.version or "none",
        "orchestrai/root": outcome.root or "none",
        "orchestrai/stage": node.stage.name,
        "orchestrai/due": outcome.root is not None,
    }
    left_out = left_out_by(outcome)
    if left_out is not None:
        metadata["orchestrai/left_out"] = left_out.message
    if single:
        # figures of the whole step: given once, so that sums over partitions stay true
        cost = report.cost
        metadata |= {
            "orchestrai/wall_seconds": round(cost.wall_seconds, 4),
            "orchestrai/compute_seconds": round(cost.cpu_seconds, 4),
            "orchestrai/bytes_read": cost.bytes_read,
            "orchestrai/bytes_written": cost.bytes_written,
            "orchestrai/peak_rss_mb": round(cost.peak_rss_bytes / 2**20, 1),
        }
    return metadata


def _fact(name: str, value: Any) -> dict[str, Any]:
    """A fact as it is; rows as a table; measures with intervals as a table, and each a number of its own, drawn over the versions."""
    if name in TABLES and isinstance(value, list) and value:
        return {name: dg.MetadataValue.table([dg.TableRecord(row) for row in value[:MOST_ROWS]])}
    if not (isinstance(value, dict) and value and all(isinstance(m, dict) and "value" in m for m in value.values())):
        return {name: _value(value)}
    parts = ("value", "low", "high")
    records = [
        dg.TableRecord({"measure": key, **{part: float(m[part]) for part in parts if m.get(part) is not None}})
        for key, m in value.items()
    ]
    columns = [dg.TableColumn("measure", "string"), *(dg.TableColumn(part, "float") for part in parts)]
    numbers = {f"{name}/{key}": float(m["value"]) for key, m in value.items() if m["value"] is not None}
    return {name: dg.MetadataValue.table(records, dg.TableSchema(columns=columns)), **numbers}


def _value(value: Any) -> Any:
    if isinstance(value, bool | int | float | str):
        return value
    return dg.MetadataValue.null() if value is None else dg.MetadataValue.json(value)


def picture(name: str, png: bytes) -> dg.MarkdownMetadataValue:
    """A PNG shown in metadata."""
    return dg.MetadataValue.md(f"![{name}](data:image/png;base64,{base64.b64encode(png).decode()})")
