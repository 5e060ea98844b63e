"""A declared load is an asset of its own: run with what it is loaded from, partitioned alike, and skipped when the gate is closed."""

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import duckdb

from orchestrai.defs.asset_keys import asset_key
from orchestrai.defs.build import build_definitions
from orchestrai.ingest.sources.stream_log import StreamLog
from orchestrai.pipeline.runtime import Runtime
from orchestrai_tests.ingest.declaring import NOW, declare, hour, opened, reading

WAREHOUSE = asset_key("plant/mart/warehouse")


def deployed(tmp_path: Path) -> Runtime:
    folder = declare(tmp_path / "plant", "{url: 'log://readings', format: jsonl}")
    path = folder / "pipeline.yaml"
    load = "load:\n  - {name: mart, from: readings, to: 'duckdb:///marts.duckdb', table: readings}\n"
    path.write_text(path.read_text() + load)
    return opened(folder, tmp_path / "home", datetime(2026, 11, 22, 12, tzinfo=UTC))


def test_the_ingest_job_loads_the_table_and_tells_its_rows(tmp_path: Path) -> None:
    runtime = deployed(tmp_path)
    definitions = build_definitions(runtime)
    with StreamLog(runtime.settings.home / "streams", "readings").writer(lambda: NOW) as writer:
        writer.append([reading(n) for n in range(5)])
    job = definitions.resolve_job_def("plant_readings_ingest")
    with dg.DagsterInstance.ephemeral() as instance:
        assert job.execute_in_process(instance=instance, partition_key=hour(10), raise_on_error=False).success
        told = instance.get_latest_materialization_event(WAREHOUSE)
        assert told is not None and told.asset_materialization is not None
        metadata = told.asset_materialization.metadata
        assert told.asset_materialization.partition == hour(10) and metadata["dagster/row_count"].value == 5
        assert metadata["partitions_loaded"].value == 1
        # an hour without data closes the gate before the table
        assert not job.execute_in_process(instance=instance, partition_key=hour(9), raise_on_error=False).success
        assert instance.get_materialized_partitions(WAREHOUSE) == {hour(10)}
    with duckdb.connect(str(runtime.settings.home / "marts.duckdb")) as found:
        assert found.execute("SELECT count(*) FROM readings").fetchall() == [(5,)]
