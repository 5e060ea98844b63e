"""A pipeline of one dataset, declared in YAML, and its stages run as Dagster and the command line run them."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrai.ledger.report import StageReport
from orchestrai.pipeline.load import load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings
from orchestrai.stage.names import StageName

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PREFIX = "plant/readings"
RAW, RESTORED = f"{PREFIX}/raw_events", f"{PREFIX}/restored"

CONTRACT = """\
kind: DataContract
apiVersion: v3.0.2
id: readings
name: readings
version: {version}
status: active
schema:
  - name: readings
    properties:
      - {{name: id, physicalType: BIGINT, required: true{key}}}
      - {{name: at, physicalType: TIMESTAMP, required: true}}
      - {{name: value, physicalType: DOUBLE, logicalTypeOptions: {{maximum: {maximum}}}}}
customProperties: [{{property: eventTime, value: at}}]
"""


def declare(folder: Path, source: str, *, maximum: int = 100, version: str = "1.0.0", key: bool = False) -> Path:
    """Write the pipeline; `source` is YAML on one line."""
    folder.mkdir(parents=True, exist_ok=True)
    primary = ", primaryKey: true, primaryKeyPosition: 1" if key else ""
    (folder / "readings.contract.yaml").write_text(CONTRACT.format(maximum=maximum, version=version, key=primary))
    (folder / "pipeline.yaml").write_text(
        f"""pipeline: plant
datasets:
  - name: readings
    source: {source}
    contract: readings.contract.yaml
    partitions: {{grain: hour, start: 2026-11-22}}
    backup: {{every: "15 * * * *"}}
"""
    )
    return folder


def opened(folder: Path, home: Path, now: datetime = NOW) -> Runtime:
    """The runtime of the declared pipeline."""
    return Runtime(Settings(home=home), load_project([folder], {}), clock=lambda: now)


def run(runtime: Runtime, partitions: Sequence[str], *stages: StageName) -> StageReport:
    """Run stages, all three by default; the report of the last."""
    for stage in stages or ("raw_events", "snapshot", "restored"):
        report = runtime.run(runtime.project.nodes[f"{PREFIX}/{stage}"], partitions)
    return report


def hour(number: int) -> str:
    """A partition of the test's day."""
    return f"2026-11-22-{number:02d}:00"


def reading(number: int, *, at: int = 10, value: float | None = None) -> bytes:
    """One record of an hour."""
    moment = datetime(2026, 11, 22, at, number // 60 % 60, number % 60, tzinfo=UTC)
    return json.dumps({"id": number, "at": moment.isoformat(), "value": value}).encode()


def rows(runtime: Runtime, asset: str = RESTORED) -> list[dict[str, Any]]:
    """All rows of a dataset, by id."""
    import pyarrow.parquet as pq

    dataset = runtime.ledger.open(asset)
    with dataset.fetched(sorted(dataset.partitions)) as files:
        found = [row for part in files.values() for f in part for row in pq.read_table(f.path).to_pylist()]
    return sorted(found, key=lambda row: (row["id"], row["at"]))


def ids(runtime: Runtime, asset: str = RESTORED) -> list[int]:
    """The ids of all rows."""
    return [row["id"] for row in rows(runtime, asset)]
