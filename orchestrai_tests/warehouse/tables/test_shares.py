"""A declared table is an asset that follows its source as a whole, in the runs that publish the source."""

from pathlib import Path

import dagster as dg
import pytest

from orchestrai.defs.asset_keys import asset_key
from orchestrai.defs.build import build_definitions
from orchestrai.errors import DeclarationError
from orchestrai.ingest.sources.stream_log import StreamLog
from orchestrai.pipeline.load import load_project
from orchestrai.pipeline.micro_batches.batch_run import BatchRun
from orchestrai.pipeline.reports.stale_assets import stale_assets
from orchestrai.pipeline.runtime import Runtime
from orchestrai.stage.staleness import Cause
from orchestrai_tests.ingest.declaring import NOW, declare, hour, opened, reading, run

BOTH = """share:
  - {name: mine, from: readings, as: iceberg}
  - {name: raw, from: readings, of: raw, as: delta}
"""
MINE, RAW = "plant/mine/table", "plant/raw/table"


def deployed(folder: Path, share: str = BOTH) -> Runtime:
    declare(folder / "plant", "{url: 'log://readings', format: jsonl}")
    path = folder / "plant" / "pipeline.yaml"
    path.write_text(path.read_text() + share)
    return opened(folder / "plant", folder / "home")


def fill(runtime: Runtime, *records: bytes) -> None:
    with StreamLog(runtime.settings.home / "streams", "readings").writer(lambda: NOW) as writer:
        writer.append(list(records))


def in_iceberg(runtime: Runtime) -> list[int]:
    from pyiceberg.catalog.sql import SqlCatalog

    catalog = SqlCatalog("orchestrai", uri=f"sqlite:///{runtime.settings.home}/tables/iceberg.db")
    try:
        return sorted(catalog.load_table("plant.mine").scan().to_arrow()["id"].to_pylist())
    finally:
        catalog.close()


def in_delta(runtime: Runtime) -> list[int]:
    from deltalake import DeltaTable

    place = runtime.settings.home / "lake" / "data" / "plant" / "readings" / "raw_events"
    return sorted(DeltaTable(place).to_pyarrow_table()["id"].to_pylist())


def test_the_ingest_job_makes_the_snapshots_and_the_ledger_notes_them(tmp_path: Path) -> None:
    runtime = deployed(tmp_path)
    fill(runtime, *(reading(n) for n in range(5)))
    job = build_definitions(runtime).resolve_job_def("plant_readings_ingest")
    with dg.DagsterInstance.ephemeral() as instance:
        assert job.execute_in_process(instance=instance, partition_key=hour(10), raise_on_error=False).success
        for asset in (MINE, RAW):
            told = instance.get_latest_materialization_event(asset_key(asset))
            assert told is not None and told.asset_materialization is not None
            metadata = told.asset_materialization.metadata
            assert (metadata["dagster/row_count"].value, metadata["snapshots_added"].value) == (5, 1)
    assert in_iceberg(runtime) == in_delta(runtime) == [0, 1, 2, 3, 4]
    for asset in (MINE, RAW):
        dataset = runtime.ledger.open(asset)
        assert (
            dataset.rows == 5
            and dataset.receipt("all").inputs[0].version == runtime.ledger.open("plant/readings/restored").version
        )


def test_the_metadata_of_an_iceberg_table_lies_where_it_is_declared(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    share = f"share:\n  - {{name: mine, from: readings, as: iceberg, at: '{elsewhere}', catalog: 'sqlite:///own/c.db', table: x.y}}\n"
    runtime = deployed(tmp_path, share)
    fill(runtime, reading(1), reading(2))
    run(runtime, [hour(10)])
    assert runtime.run(runtime.project.nodes[MINE], ["all"]).facts["table"] == "x.y"
    from pyiceberg.catalog.sql import SqlCatalog

    catalog = SqlCatalog("orchestrai", uri=f"sqlite:///{runtime.settings.home}/own/c.db")
    table = catalog.load_table("x.y")
    assert sorted(table.scan().to_arrow()["id"].to_pylist()) == [1, 2]
    assert table.metadata_location.startswith(f"file://{elsewhere}/plant/mine/metadata/")
    catalog.close()


def test_a_micro_batch_reaches_the_tables(tmp_path: Path) -> None:
    runtime = deployed(tmp_path)
    batch = BatchRun(runtime, next(iter(runtime.project.pipelines[0].datasets)))
    for number in range(2):
        fill(runtime, reading(number))
        batch.run()
    assert in_iceberg(runtime) == in_delta(runtime) == [0, 1]
    from pyiceberg.catalog.sql import SqlCatalog

    catalog = SqlCatalog("orchestrai", uri=f"sqlite:///{runtime.settings.home}/tables/iceberg.db")
    assert len(catalog.load_table("plant.mine").metadata.snapshots) == 2
    catalog.close()


def test_a_table_is_stale_until_it_has_the_version_that_is_published(tmp_path: Path) -> None:
    runtime = deployed(tmp_path)
    fill(runtime, reading(1))
    run(runtime, [hour(10)])
    nodes = runtime.project.nodes

    def stale(asset: str) -> list[Cause]:
        found = stale_assets(runtime.context(), nodes, [asset]).partitions
        return [cause for one in found for cause in one.causes]

    runtime.run(nodes[MINE], ["all"])
    version = runtime.ledger.open(MINE).version
    assert stale(MINE) == []
    runtime.run(nodes[MINE], ["all"])
    assert runtime.ledger.open(MINE).head.seq == 1
    fill(runtime, reading(2))
    run(runtime, [hour(10)])
    assert stale(MINE) == [Cause("changed", "plant/readings/restored", ("all",))]
    runtime.run(nodes[MINE], ["all"])
    assert stale(MINE) == [] and runtime.ledger.open(MINE).version != version


def test_retention_of_the_source_decides_which_snapshots_stay(tmp_path: Path) -> None:
    runtime = deployed(tmp_path)
    path = tmp_path / "plant" / "pipeline.yaml"
    path.write_text(
        path.read_text().replace('backup: {every: "15 * * * *"}', 'backup: {every: "15 * * * *", keep: {last: 2}}')
    )
    runtime = opened(tmp_path / "plant", tmp_path / "home")
    expired = []
    for number in range(4):
        fill(runtime, reading(number))
        run(runtime, [hour(10)])
        expired.append(runtime.run(runtime.project.nodes[RAW], ["all"]).facts["snapshots_expired"])
    assert expired == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("share", "found"),
    [
        ("{name: x, from: reading, as: iceberg}", "share[0].from: expected one of readings, found 'reading'"),
        ("{name: x, from: readings, as: hudi}", "share[0].as: expected"),
        ("{name: x, from: readings, as: delta, at: 's3://b/x'}", "at: expected it beside `as: iceberg`"),
        ("{name: x, from: readings, as: iceberg, catalog: 'mysql://h/d'}", "catalog: expected sqlite:///"),
        ("{name: x, from: readings, as: iceberg, catalog: 'postgresql://u:p@h/d'}", "catalog"),
        ("{name: x, from: readings, as: iceberg, catalog: 'http://catalog.example'}", "expected https for catalog.example"),
        (
            "{name: x, from: readings, as: iceberg, access: {token: 'env://T'}}",
            "access: expected it beside the https:// URL",
        ),
        (
            "{name: x, from: readings, as: iceberg, catalog: 'https://c', access: {token: open-sesame}}",
            "share[0].access",
        ),
        (
            "{name: x, from: readings, as: iceberg, catalog: 'https://c', access: {client: a, secret: 'env://S'}}",
            "expected client, secret and token_url together",
        ),
        ("{name: readings, from: readings, as: iceberg}", "expected distinct names"),
        ("{name: x, from: readings, as: delta}\n  - {name: y, from: readings, as: delta}", "y, which is the table of x"),
    ],
)
def test_a_declaration_that_is_no_table_is_told(tmp_path: Path, share: str, found: str) -> None:
    with pytest.raises(DeclarationError) as error:
        load_project([deployed_text(tmp_path, f"share:\n  - {share}\n")], {})
    assert found in str(error.value)
    assert "p@h" not in str(error.value) and "open-sesame" not in str(error.value)


def deployed_text(folder: Path, share: str) -> Path:
    declare(folder / "plant", "{url: 'log://readings', format: jsonl}")
    path = folder / "plant" / "pipeline.yaml"
    path.write_text(path.read_text() + share)
    return folder / "plant"


def test_share_of_a_dataset_says_where_it_is_declared_now(tmp_path: Path) -> None:
    folder = deployed_text(tmp_path, "    share: [delta]\n")
    with pytest.raises(DeclarationError, match=r"share: expected an entry \{name, from, as\} under share of the pipeline"):
        load_project([folder], {})
