"""The same version, read by the engines of others: from S3, by a catalog in PostgreSQL, by Sail."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrai.storage.local import LocalStore
from orchestrai.storage.url import open_store
from orchestrai.warehouse.tables.follow import follow
from orchestrai.warehouse.tables.iceberg_table import CATALOG, IcebergPlace, IcebergTable
from orchestrai_tests.servers.postgres import PostgresServer
from orchestrai_tests.servers.s3 import S3Server
from orchestrai_tests.warehouse.tables.conftest import ASSET, COLUMNS, FORMS, NAME, Rows, World, in_order, some


def two_versions(world: World) -> list[str]:
    """Partitions with names that a path has to be careful with; one changes."""
    versions = [world.publish({"2026-01-05-10:00": some(1, 2), "2026-01-05-11:00|eu": some(3)})]
    world.follow()
    versions.append(world.publish({"2026-01-05-11:00|eu": some(4, 5)}))
    world.follow()
    return versions


@pytest.mark.emulator
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["moto", "rgw"])
def test_a_table_in_s3_is_read_there(
    request: pytest.FixtureRequest, name: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server: S3Server = request.getfixturevalue(name)
    for variable, value in server.environment().items():
        monkeypatch.setenv(variable, value)
    lake = open_store(f"s3://{server.bucket()}/some/lake")
    world = World(tmp_path, form, lake)
    versions = two_versions(world)
    keys = {"access": server.access_key, "secret": server.secret_key}
    for number, version in enumerate(versions):
        if form == "delta":
            import deltalake

            options = {
                "aws_endpoint": server.endpoint, "aws_access_key_id": keys["access"], "aws_region": server.region,
                "aws_secret_access_key": keys["secret"], "aws_allow_http": "true", "aws_virtual_hosted_style_request": "false",
            }  # fmt: skip
            table = deltalake.DeltaTable(f"{lake.url}/data/{ASSET}", version=number, storage_options=options)
            found = table.to_pyarrow_table().drop_columns(["orchestrai_partition"]).to_pylist()
        else:
            properties = {
                "s3.endpoint": server.endpoint, "s3.access-key-id": keys["access"], "s3.secret-access-key": keys["secret"],
                "s3.region": server.region,
            }  # fmt: skip
            found = by_tag(f"sqlite:///{tmp_path}/catalog.db", version, **properties)
        assert in_order(found) == world.rows_of(version)


def by_tag(catalog: str, version: str, **properties: str) -> Rows:
    """The rows that pyiceberg reads of a version's tag."""
    from pyiceberg.catalog.sql import SqlCatalog

    opened = SqlCatalog(CATALOG, uri=catalog, **properties)
    try:
        table = opened.load_table(NAME)
        rows: Rows = table.scan(snapshot_id=table.refs()[version.replace(":", "-")].snapshot_id).to_arrow().to_pylist()
        return rows
    finally:
        opened.close()


@pytest.mark.emulator
def test_a_catalog_in_postgres_has_the_table_that_others_load(tmp_path: Path, postgres: PostgresServer) -> None:
    world = World(tmp_path, "iceberg", LocalStore(tmp_path / "lake"))
    uri = postgres.database().replace("postgresql://", "postgresql+psycopg://")
    versions = []
    for rows in (some(1, 2), some(3)):
        versions.append(world.publish({"a": rows}))
        table = IcebergTable(IcebergPlace(NAME, uri, world.lake, "tables/p/readings"), ASSET, world.lake, COLUMNS)
        assert follow(world.ledger, ASSET, table, set).committed == 1
        table.close()
    for version in versions:
        assert in_order(by_tag(uri, version)) == world.rows_of(version)


@pytest.mark.emulator
@pytest.mark.parametrize("form", FORMS)
def test_sail_reads_each_version(form: str, tmp_path: Path, sail_url: str) -> None:
    world = World(tmp_path, form, LocalStore(tmp_path / "lake"))
    versions = two_versions(world)
    place, option, values = str(tmp_path / "lake" / "data" / ASSET), "versionAsOf", ["0", "1"]
    if form == "iceberg":
        from pyiceberg.catalog.sql import SqlCatalog

        catalog = SqlCatalog(CATALOG, uri=f"sqlite:///{tmp_path}/catalog.db")
        table = catalog.load_table(NAME)
        place, option = table.location(), "snapshot-id"
        values = [str(table.refs()[version.replace(":", "-")].snapshot_id) for version in versions]
        catalog.close()
    command = [sys.executable, "-m", f"{__package__ or 'orchestrai_tests.warehouse.tables'}.sail_rows"]
    done = subprocess.run([*command, sail_url, form, place, option, *values], capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    found: list[list[dict[str, Any]]] = json.loads(done.stdout.splitlines()[-1])
    for version, rows in zip(versions, found, strict=True):
        plain = [{name: str(value) for name, value in row.items()} for row in world.rows_of(version)]
        told = [{name: row[name] for name in plain[0] if name != "at"} for row in rows]
        assert sorted(told, key=lambda row: int(row["id"])) == [
            {name: value for name, value in row.items() if name != "at"} for row in plain
        ]
