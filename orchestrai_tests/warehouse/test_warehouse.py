"""Versions into warehouse tables by declaration: real PostgreSQL, DuckDB, and SQLAlchemy's dialects."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrai.errors import ConfigError, DeclarationError, IntegrityError, StorageError
from orchestrai.ingest.sources.stream_log import StreamLog
from orchestrai.pipeline.runtime import Runtime
from orchestrai_tests.ingest.declaring import NOW, declare, hour, opened, reading, run

LOG = "{url: 'log://readings', format: jsonl}"
Ask = Callable[[str], list[tuple[Any, ...]]]


def fill(home: Path, *values: bytes) -> None:
    with StreamLog(home / "streams", "readings").writer(lambda: NOW) as writer:
        writer.append(values)


def declared(folder: Path, to: str, more: str = "") -> Path:
    """The one dataset, loaded into a table."""
    declare(folder, LOG)
    path = folder / "pipeline.yaml"
    load = f"load:\n  - {{name: table, from: readings, to: '{to}', table: readings{more}}}\n"
    path.write_text(path.read_text() + load)
    return folder


def load(runtime: Runtime, *hours: str) -> Any:
    return runtime.run(runtime.project.nodes["plant/table/warehouse"], hours)


class Warehouse:
    def __init__(self, url: str, ask: Ask) -> None:
        self.url, self.ask = url, ask


@pytest.fixture(
    params=[
        "duckdb",
        "sqlite",
        pytest.param("postgres", marks=pytest.mark.emulator),
        pytest.param("mariadb", marks=pytest.mark.emulator),
        pytest.param("sqlalchemy", marks=pytest.mark.emulator),
    ]
)
def warehouse(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    home = tmp_path / "home"
    home.mkdir()
    if request.param == "duckdb":
        import duckdb

        def duck(statement: str) -> list[tuple[Any, ...]]:
            with duckdb.connect(str(home / "marts.duckdb")) as opened:
                return opened.execute(statement).fetchall()

        return Warehouse("duckdb:///marts.duckdb", duck)
    if request.param == "sqlite":
        import sqlite3

        def lite(statement: str) -> list[tuple[Any, ...]]:
            with sqlite3.connect(home / "marts.sqlite") as opened:
                return opened.execute(statement).fetchall()

        return Warehouse(f"sqlite:///{home}/marts.sqlite", lite)
    if request.param == "mariadb":
        server = request.getfixturevalue("mariadb")
        url = server.database()
        monkeypatch.setenv("MARTS_URL", url)
        return Warehouse("env://MARTS_URL", lambda statement: server.run(url.rpartition("/")[2], statement))
    import psycopg

    url = request.getfixturevalue("postgres").database()

    def post(statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(url, autocommit=True) as opened:
            answer = opened.execute(statement)  # type: ignore[arg-type]
            return answer.fetchall() if answer.description else []

    monkeypatch.setenv(
        "MARTS_URL", url if request.param == "postgres" else url.replace("postgresql://", "postgresql+psycopg://")
    )
    return Warehouse("env://MARTS_URL", post)


def test_partitions_are_replaced_counted_and_noted_and_the_same_version_changes_nothing(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    folder, home = declared(tmp_path / "plant", warehouse.url), tmp_path / "home"
    fill(home, *(reading(n, value=n / 2) for n in range(20)), reading(30, at=11))
    runtime = opened(folder, home)
    run(runtime, [hour(10), hour(11)])
    first = load(runtime, hour(10), hour(11))
    assert not first.refused and first.facts["partitions_loaded"] == 2 and first.rows == 21
    rows = warehouse.ask("SELECT id, value FROM readings WHERE id < 30 ORDER BY id")
    assert [(int(a), float(b)) for a, b in rows] == [(n, n / 2) for n in range(20)]
    again = load(runtime, hour(10), hour(11))
    assert again.facts["partitions_loaded"] == 0 and again.version == first.version
    fill(home, reading(31, at=11))
    run(runtime, [hour(11)])
    later = load(runtime, hour(11))
    assert later.facts["partitions_loaded"] == 1
    assert warehouse.ask("SELECT count(*) FROM readings") == [(22,)]
    restored = runtime.ledger.open("plant/readings/restored")
    noted = warehouse.ask("SELECT part, root, row_count FROM orchestrai_partition_loads ORDER BY part")
    assert noted == [(key, restored.partitions[key].root, restored.partitions[key].rows) for key in (hour(10), hour(11))]
    assert warehouse.ask(f"SELECT DISTINCT orchestrai_version FROM readings WHERE orchestrai_partition = '{hour(11)}'") == [
        (restored.version,)
    ]
    receipt = runtime.ledger.open("plant/table/warehouse").receipt(hour(11))
    assert [(ref.asset, ref.version) for ref in receipt.inputs] == [("plant/readings/restored", restored.version)]


def test_a_table_that_does_not_count_up_is_left_as_it_was(
    tmp_path: Path, warehouse: Warehouse, request: pytest.FixtureRequest
) -> None:
    if "postgres" not in request.node.name and "sqlalchemy" not in request.node.name:
        pytest.skip("only PostgreSQL here has triggers that drop rows")
    folder, home = declared(tmp_path / "plant", warehouse.url), tmp_path / "home"
    fill(home, reading(1), reading(2))
    runtime = opened(folder, home)
    run(runtime, [hour(10)])
    load(runtime, hour(10))
    warehouse.ask(
        "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF NEW.id = 3 THEN RETURN NULL; END IF; RETURN NEW; END'"
    )
    warehouse.ask("CREATE TRIGGER lose BEFORE INSERT ON readings FOR EACH ROW EXECUTE FUNCTION lose()")
    fill(home, reading(3))
    run(runtime, [hour(10)])
    with pytest.raises(IntegrityError, match="expected 3 rows"):
        load(runtime, hour(10))
    assert warehouse.ask("SELECT id FROM readings ORDER BY id") == [(1,), (2,)]


def test_an_hour_that_is_not_restored_is_refused_and_no_row_of_it_loaded(tmp_path: Path) -> None:
    folder, home = declared(tmp_path / "plant", "duckdb:///marts.duckdb"), tmp_path / "home"
    fill(home, reading(1))
    runtime = opened(folder, home)
    run(runtime, [hour(10)])
    report = load(runtime, hour(10), hour(11))
    assert [outcome.partition for outcome in report.refused] == [hour(11)] and report.rows == 1


def test_rows_merged_by_key_and_a_warehouse_that_cannot(tmp_path: Path) -> None:
    import duckdb

    home = tmp_path / "home"
    fill(home, reading(1), reading(2))
    folder = declared(tmp_path / "plant", "duckdb:///marts.duckdb", ", mode: merge, key: [id]")
    runtime = opened(folder, home)
    run(runtime, [hour(10)])
    assert load(runtime, hour(10)).facts["inserted"] == 2 and load(runtime, hour(10)).facts["inserted"] == 0
    with duckdb.connect(str(home / "marts.duckdb")) as found:
        assert found.execute("SELECT count(*) FROM readings").fetchall() == [(2,)]
    declared(tmp_path / "plant", f"sqlite:///{home}/m.sqlite", ", mode: merge, key: [id]")
    with pytest.raises(ConfigError, match="mode partitions"):
        load(opened(folder, home), hour(10))


@pytest.mark.parametrize(
    ("to", "more", "told"),
    [
        ("postgresql://u:canary@h/db", "", "without credentials"),
        ("marts", "", "a URL such as"),
        ("duckdb:///x", ", mode: merge", "key with the mode merge"),
        ("duckdb:///x", ", key: [id]", "key with the mode merge"),
    ],
)
def test_a_wrong_load_is_told_in_one_line(tmp_path: Path, to: str, more: str, told: str) -> None:
    with pytest.raises(DeclarationError, match=told) as caught:
        opened(declared(tmp_path / "plant", to, more), tmp_path / "home")
    assert "canary" not in str(caught.value)


def test_an_unknown_source_is_told_by_name(tmp_path: Path) -> None:
    folder = declared(tmp_path / "plant", "duckdb:///x")
    path = folder / "pipeline.yaml"
    path.write_text(path.read_text().replace("from: readings", "from: nothing"))
    with pytest.raises(DeclarationError, match="expected one of readings, found 'nothing'"):
        opened(folder, tmp_path / "home")


def test_a_dialect_that_is_not_installed_and_an_unreachable_warehouse_show_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    fill(home, reading(1))
    folder = declared(tmp_path / "plant", "env://MARTS_URL")
    runtime = opened(folder, home)
    run(runtime, [hour(10)])
    monkeypatch.setenv("MARTS_URL", "nosuchdb://u:canary@h/db")
    with pytest.raises(ConfigError, match="dialect") as caught:
        load(runtime, hour(10))
    assert "canary" not in str(caught.value)
    monkeypatch.setenv("MARTS_URL", "postgresql+psycopg://u:canary@127.0.0.1:1/db")
    with pytest.raises(StorageError) as unreachable:
        load(runtime, hour(10))
    assert "canary" not in str(unreachable.value)


@pytest.mark.parametrize("name", ["redshift+redshift_connector", "snowflake", "bigquery"])
def test_the_statements_compile_for_other_warehouses(name: str) -> None:
    """Only where the dialect's package is there: without it nothing is claimed."""
    import pyarrow as pa
    import sqlalchemy as sa
    from sqlalchemy.dialects import registry

    from orchestrai.warehouse.sqlalchemy_target import SqlAlchemyTable

    try:
        dialect = registry.load(name.replace("+", "."))()
    except sa.exc.NoSuchModuleError:
        pytest.skip(f"the SQLAlchemy dialect {name} is not installed")
    table = SqlAlchemyTable(sa.create_mock_engine("sqlite://", lambda *_: None), "marts.t")
    table.prepare(pa.schema([("id", pa.int64()), ("at", pa.timestamp("us", "UTC"))]))
    for statement in (sa.schema.CreateTable(table._table), sa.delete(table._table), sa.insert(table._table)):
        assert str(statement.compile(dialect=dialect))


def test_columns_and_types_are_those_of_the_contract_in_force(tmp_path: Path, warehouse: Warehouse) -> None:
    home, folder = tmp_path / "home", declared(tmp_path / "plant", warehouse.url)
    path = folder / "readings.contract.yaml"
    wide = path.read_text()
    path.write_text(wide.replace("name: id, physicalType: BIGINT", "name: id, physicalType: INT"))
    fill(home, reading(1), reading(2))
    first = opened(folder, home)
    run(first, [hour(10)])
    load(first, hour(10))
    # the contract gets a column, and a wider type
    note = "      - {name: note, physicalType: STRING}\ncustomProperties"
    path.write_text(wide.replace("customProperties", note, 1))
    later = json.dumps({"id": 2**40, "at": "2026-11-22T11:00:00+00:00", "value": 1.0, "note": "x"}).encode()
    fill(home, later)
    second = opened(folder, home)
    run(second, [hour(10), hour(11)])
    assert not load(second, hour(10), hour(11)).refused
    expected = [(1, None), (2, None), (2**40, "x")]
    assert [tuple(row) for row in warehouse.ask("SELECT id, note FROM readings ORDER BY id")] == expected
    # and a table that is made only now has all of it too, from the older hour on
    text = (folder / "pipeline.yaml").read_text()
    (folder / "pipeline.yaml").write_text(text.replace("table: readings}", "table: again}"))
    load(opened(folder, home), hour(10), hour(11))
    assert [tuple(row) for row in warehouse.ask("SELECT id, note FROM again ORDER BY id")] == expected


def test_rows_are_merged_by_the_contract_in_force_too(tmp_path: Path) -> None:
    import duckdb

    home, folder = tmp_path / "home", declared(tmp_path / "plant", "duckdb:///marts.duckdb", ", mode: merge, key: [id]")
    path = folder / "readings.contract.yaml"
    fill(home, reading(1))
    run(opened(folder, home), [hour(10)])
    load(opened(folder, home), hour(10))
    path.write_text(
        path.read_text().replace("customProperties", "      - {name: note, physicalType: STRING}\ncustomProperties", 1)
    )
    fill(home, json.dumps({"id": 2, "at": "2026-11-22T11:00:00+00:00", "value": 1.0, "note": "x"}).encode())
    run(opened(folder, home), [hour(10), hour(11)])
    load(opened(folder, home), hour(10), hour(11))
    with duckdb.connect(str(home / "marts.duckdb")) as found:
        assert found.execute("SELECT id, note FROM readings ORDER BY id").fetchall() == [(1, None), (2, "x")]


def test_a_partition_that_cannot_be_read_as_declared_is_told(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", declared(tmp_path / "plant", "duckdb:///marts.duckdb")
    path = folder / "readings.contract.yaml"
    fill(home, reading(1))
    run(opened(folder, home), [hour(10)])
    path.write_text(path.read_text().replace("name: id, physicalType: BIGINT", "name: id, physicalType: INT"))
    with pytest.raises(
        ConfigError, match="expected the column id of readings as INT in each partition, found one that holds it as BIGINT"
    ):
        load(opened(folder, home), hour(10))
