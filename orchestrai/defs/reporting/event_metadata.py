"""What a person reads on a materialization: figures, facts as tables, pictures."""

import base64
from typing import Any

import dagster as dg

from orchestrai.core.verdict import Verdict
from orchestrai.defs.asset_commands import version_page
from orchestrai.ledger.report import PartitionOutcome, StageReport, shown_verdicts
from orchestrai.stage.stage import AssetNode

# facts that are a list of rows alike, and how many of them the UI is given
TABLES = ("decisions", "groups", "days")
MOST_ROWS = 500


def left_out_by(outcome: PartitionOutcome) -> Verdict | None:
    """The finding that says who left the partition out, where somebody did."""
    return next((verdict for verdict in shown_verdicts(outcome) if "skipped_by" in verdict.details), None)


def metadata_of(node: AssetNode, report: StageReport, outcome: PartitionOutcome, single: bool) -> dict[str, Any]:
    """The metadata of one partition; those of a `single` one also say what the whole step found and used.

    Of many they are kept for each, twice: what the tags say, its version and whether something was due, is not said again.
    """
    metadata: dict[str, Any] = {} if node.stage.rowless else {"dagster/row_count": outcome.rows}
    if single:
        # what a person opens the asset for comes first
        metadata |= {name: picture(name, png) for name, png in report.plots.items()}
        for name, value in report.facts.items():
            metadata |= _fact(name, value)
    metadata["orchestrai/bytes"] = outcome.size
    if single:
        metadata |= {"orchestrai/version": report.version or "none", "orchestrai/root": outcome.root or "none"}
        page = version_page(node, report.version) if report.version else None
        metadata |= {"orchestrai/page": page} if page is not None else {}
    if single or outcome.root is None:
        metadata["orchestrai/due"] = outcome.root is not None
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
            **{name: plain(value) for name, value in report.measured.items()},
        }
    return metadata


def _fact(name: str, value: Any) -> dict[str, Any]:
    """A fact as it is; rows as a table; measures with intervals as a table, and each a number of its own, drawn over the versions."""
    if name in TABLES and isinstance(value, list) and value:
        return {name: dg.MetadataValue.table([dg.TableRecord(row) for row in value[:MOST_ROWS]])}
    if not (isinstance(value, dict) and value and all(isinstance(m, dict) and "value" in m for m in value.values())):
        return {name: plain(value)}
    parts = ("value", "low", "high")
    records = [
        dg.TableRecord({"measure": key, **{part: float(m[part]) for part in parts if m.get(part) is not None}})
        for key, m in value.items()
    ]
    columns = [dg.TableColumn("measure", "string"), *(dg.TableColumn(part, "float") for part in parts)]
    numbers = {f"{name}/{key}": float(m["value"]) for key, m in value.items() if m["value"] is not None}
    return {name: dg.MetadataValue.table(records, dg.TableSchema(columns=columns)), **numbers}


def plain(value: Any) -> Any:
    """A value as Dagster takes it."""
    if isinstance(value, bool | int | float | str):
        return value
    return dg.MetadataValue.null() if value is None else dg.MetadataValue.json(value)


def picture(name: str, png: bytes) -> dg.MarkdownMetadataValue:
    """A PNG shown in metadata."""
    return dg.MetadataValue.md(f"![{name}](data:image/png;base64,{base64.b64encode(png).decode()})")
