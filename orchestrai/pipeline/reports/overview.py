"""What `report` says of each pipeline: summaries, what is stale, recovery points, unusual changes, databases."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from orchestrai.backup.wal.log_position import LogPosition
from orchestrai.pipeline.reports.database_findings import log_positions
from orchestrai.pipeline.reports.recovery_point import RecoveryPoint, recovery_point
from orchestrai.pipeline.reports.report_parts import ReportParts
from orchestrai.pipeline.reports.stale_assets import StaleAssets, stale_assets
from orchestrai.pipeline.reports.summary import PipelineSummary, summarize
from orchestrai.pipeline.reports.unusual_snapshots import unusual_snapshots
from orchestrai.pipeline.runtime import Runtime

if TYPE_CHECKING:
    from orchestrai.vault.change.unusual_change import Alarm


@dataclass(frozen=True)
class Overview:
    """All pipelines at a glance; `points` are by pipeline, one of each dataset that it declares."""

    summaries: tuple[PipelineSummary, ...]
    stale: StaleAssets
    points: Mapping[str, tuple[RecoveryPoint, ...]]
    unusual: "tuple[Alarm, ...]"
    positions: tuple[LogPosition, ...]

    @property
    def all_points(self) -> tuple[RecoveryPoint, ...]:
        """The recovery points of all pipelines."""
        return tuple(point for some in self.points.values() for point in some)

    def as_json(self) -> list[dict[str, Any]]:
        """For `--json`, a pipeline each."""
        return [
            {
                **asdict(summary),
                "stale": self.stale.counts(f"{summary.name}/"),
                "recovery_points": {point.dataset: point.as_json() for point in self.points.get(summary.name, ())},
                "unusual_changes": [a.as_json() for a in self.unusual if a.commit.dataset.startswith(f"{summary.name}/")],
                "databases": [p.as_json() for p in self.positions if p.name.startswith(f"{summary.name}/")],
            }
            for summary in self.summaries
        ]


def overview(runtime: Runtime, parts: ReportParts | None = None) -> Overview:
    """Read it from the ledger, and from landings for what no snapshot protects; without `parts` raises what cannot be read."""
    tried = parts or ReportParts(strict=True)
    pipelines = {one.name: one for one in runtime.project.pipelines}
    summaries = tried.each("pipeline", pipelines, lambda one: summarize(runtime.ledger, one))
    points = tried.each(
        "recovery points of", pipelines, lambda one: tuple(recovery_point(runtime, node) for node in one.own_datasets)
    )
    return Overview(
        tuple(summaries.values()),
        stale_assets(runtime.context(), runtime.project.nodes),
        points,
        tried.one("unusual changes", lambda: tuple(unusual_snapshots(runtime)), ()),
        tried.one("databases", lambda: tuple(log_positions(runtime)), ()),
    )
