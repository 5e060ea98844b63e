"""The same version, read by the engines of others: from S3, Azure and Google, by a catalog in PostgreSQL, by Sail."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrai.storage.local import LocalStore
from orchestrai.storage.url import open_store
from orchestrai.warehouse.tables.follow import follow
from orchestrai.warehouse.tables.iceberg.iceberg_catalog import CATALOG, IcebergPlace
from orchestrai.warehouse.tables.iceberg.iceberg_table import IcebergTable
from orchestrai.warehouse.tables.location import reader_url
from orchestrai_tests.servers.azurite import AzuriteServer
from orchestrai_tests.servers.gcs import GcsServer
from orchestrai_tests.servers.postgres import PostgresServer
from orchestrai_tests.servers.s3 import S3Server
from orchestrai_tests.servers.sail import sail_server
from orchestrai_tests.warehouse.tables.conftest import ASSET, COLUMNS, FORMS, NAME, World, in_order, some


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
    if form == "delta":
        options = {
            "aws_endpoint": server.endpoint, "aws_access_key_id": server.access_key, "aws_region": server.region,
            "aws_secret_access_key": server.secret_key, "aws_allow_http": "true", "aws_virtual_hosted_style_request": "false",
        }  # fmt: skip
        return read_by_delta_rs(world, versions, options)
    properties = {
        "s3.endpoint": server.endpoint, "s3.access-key-id": server.access_key, "s3.secret-access-key": server.secret_key,
        "s3.region": server.region,
    }  # fmt: skip
    read_by_pyiceberg(world, versions, f"sqlite:///{tmp_path}/catalog.db", **properties)


def read_by_pyiceberg(world: World, versions: list[str], catalog: str, **properties: str) -> None:
    """pyiceberg gives the rows of each version by its tag."""
    from pyiceberg.catalog.sql import SqlCatalog

    opened = SqlCatalog(CATALOG, uri=catalog, **properties)
    try:
        table = opened.load_table(NAME)
        for version in versions:
            snapshot = table.refs()[version.replace(":", "-")].snapshot_id
            assert in_order(table.scan(snapshot_id=snapshot).to_arrow().to_pylist()) == world.rows_of(version)
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
    read_by_pyiceberg(world, versions, uri)


@pytest.mark.emulator
@pytest.mark.parametrize("form", FORMS)
def test_sail_reads_each_version(form: str, tmp_path: Path, sail_url: str) -> None:
    world = World(tmp_path, form, LocalStore(tmp_path / "lake"))
    read_by_sail(world, two_versions(world), sail_url)


def read_by_sail(world: World, versions: list[str], url: str) -> None:
    """Sail gives the rows of each version, without the moments, which it shows by the zone of its session."""
    place, option, values = world.table().shown.removeprefix("file://"), "versionAsOf", ["0", "1"]
    if world.form == "iceberg":
        place, option = f"{reader_url(world.lake)}/tables/p/readings", "snapshot-id"
        values = [str(one.number) for one in world.snapshots()]
    command = [sys.executable, "-m", f"{__package__ or 'orchestrai_tests.warehouse.tables'}.sail_rows"]
    done = subprocess.run([*command, url, world.form, place, option, *values], capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    found: list[list[dict[str, Any]]] = json.loads(done.stdout.splitlines()[-1])
    for version, rows in zip(versions, found, strict=True):
        plain = [{name: str(value) for name, value in row.items()} for row in world.rows_of(version)]
        told = [{name: row[name] for name in plain[0] if name != "at"} for row in rows]
        assert sorted(told, key=lambda row: int(row["id"])) == [
            {name: value for name, value in row.items() if name != "at"} for row in plain
        ]


@pytest.mark.emulator
def test_tables_in_azure_are_read_there(tmp_path: Path, azurite: AzuriteServer, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pysail")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
    account = {"azure_storage_account_name": azurite.account, "azure_storage_account_key": azurite.key}
    delta = World(tmp_path / "delta", "delta", open_store(f"az://{azurite.container()}/some/lake"))
    versions = two_versions(delta)
    options = {**account, "azure_storage_endpoint": azurite.endpoint, "azure_allow_http": "true"}
    read_by_delta_rs(delta, versions, options)
    iceberg = World(tmp_path / "iceberg", "iceberg", open_store(f"az://{azurite.container()}/some/lake"))
    others = two_versions(iceberg)
    # pyiceberg reads Azure by the package adlfs alone, which is not installed here
    sail = {name.upper(): value for name, value in account.items()}
    sail |= {
        "AZURE_STORAGE_USE_EMULATOR": "true",
        "AZURITE_BLOB_STORAGE_URL": azurite.endpoint.removesuffix(azurite.account),
    }
    with sail_server(sail) as url:
        read_by_sail(delta, versions, url)
        read_by_sail(iceberg, others, url)


@pytest.mark.emulator
def test_tables_in_google_cloud_storage_are_read_there(
    tmp_path: Path, gcs: GcsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pysail")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.endpoint)
    delta = World(tmp_path / "delta", "delta", open_store(f"gs://{gcs.bucket()}/some/lake"))
    versions = two_versions(delta)
    read_by_delta_rs(delta, versions, {"google_service_account_key": gcs.service_account_key})
    iceberg = World(tmp_path / "iceberg", "iceberg", open_store(f"gs://{gcs.bucket()}/some/lake"))
    others = two_versions(iceberg)
    token = {"gcs.oauth2.token": "t", "gcs.oauth2.token-expires-at": "4000000000000"}
    read_by_pyiceberg(
        iceberg, others, f"sqlite:///{iceberg.folder}/catalog.db", **token, **{"gcs.service.host": gcs.endpoint}
    )
    with sail_server({"GOOGLE_SERVICE_ACCOUNT_KEY": gcs.service_account_key}) as url:
        read_by_sail(delta, versions, url)
        read_by_sail(iceberg, others, url)


def read_by_delta_rs(world: World, versions: list[str], options: dict[str, str]) -> None:
    """delta-rs gives the rows of each version."""
    import deltalake

    for number, version in enumerate(versions):
        table = deltalake.DeltaTable(world.table().shown, version=number, storage_options=options)
        assert in_order(table.to_pyarrow_table().drop_columns(["orchestrai_partition"]).to_pylist()) == world.rows_of(
            version
        )
