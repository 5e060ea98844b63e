"""A view reads its inputs and nothing else: names are quoted, the lint refuses the rest, and the engine would not let it through."""

import ast
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st

import orchestrai
from orchestrai.conformance.generated_views import table_of
from orchestrai.contracts.odcs import load_contract
from orchestrai.core.sql.quoting import literal, name_fault, quoted
from orchestrai.errors import ConfigError, DeclarationError, FeatureViewError
from orchestrai.features.engines.closed_database import ClosedDatabase
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.engines.engine import Query, Source
from orchestrai.features.engines.spark_engine import job_of
from orchestrai.features.spec import FeatureViewSpec, LabelSpec
from orchestrai.features.views.view import FeatureView, load_label, load_view
from orchestrai_tests.features.conftest import ORDERS, READINGS, UTC_MICROS

SECRET = "a secret of this machine"
NAMES = st.one_of(
    st.sampled_from(
        [
            'a"b',
            "a`b",
            "a'b",
            "a;b",
            "a--b",
            "/*a*/",
            "a b",
            "ä",
            "日本",
            "a.b",
            "a{b}",
            "a\\b",
            "select",
            "a%b",
            "a$b",
            "a\nb",
            "",
            " ",
        ]
    ),
    st.text(st.characters(codec="utf-8"), max_size=6),
    st.text("\"`'; -/*\\.ab{}%\n\0", max_size=8),
)


def engine() -> DuckDbEngine:
    return DuckDbEngine(threads=1)


def view_of(expression: str, schema: pa.Schema = READINGS, more: str = "") -> FeatureView:
    spec = {"name": "v", "entity": "device_id", "event_time": "ts", "from": ["readings"]}
    sql = f"SELECT device_id, ts, {expression} FROM readings {more}"
    return load_view(FeatureViewSpec.model_validate({**spec, "sql": sql}), Path(), {"readings": schema})


def back(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def rows_in(path: Path, column: str = "temperature") -> Path:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    schema = pa.schema([("device_id", pa.string()), ("ts", UTC_MICROS), (column, pa.float64())])
    pq.write_table(pa.Table.from_pylist([{"device_id": "d1", "ts": moment, column: 2.5}], schema), path)
    return path


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("names")


@settings(max_examples=60, deadline=None)
@given(name=NAMES, alias=NAMES)
def test_any_name_and_alias_is_refused_at_load_or_works(shared: Path, name: str, alias: str) -> None:
    schema = pa.schema([("device_id", pa.string()), ("ts", UTC_MICROS), (name, pa.float64())])
    try:
        view = view_of(f"x.{back(name)} AS {back(alias)}", schema, f"AS x WHERE x.{back(name)} > 1")
    except FeatureViewError:
        return
    assert name_fault(name) is None and name_fault(alias) is None
    path = rows_in(shared / "rows.parquet", name)
    query = Query(view, {"readings": Source(view.tables["readings"], [path])})
    result = table_of(engine(), query)
    assert result.to_pylist() == [{"device_id": "d1", "ts": datetime(2026, 1, 1, tzinfo=UTC), alias: 2.5}]
    job = job_of(query, str, "out")
    assert f"CAST({quoted(alias, '`')} AS DOUBLE) AS {quoted(alias, '`')}" in job["select"]
    assert all(_is_one_expression(text) for text in [*job["select"], *job["order"], *job["tables"]["readings"][0]["select"]])


def _is_one_expression(text: str) -> bool:
    statements = sqlglot.parse(f"SELECT {text}", read="databricks")
    return len(statements) == 1 and statements[0] is not None and len(statements[0].expressions) == 1


@pytest.mark.parametrize("name", ["plain", "two words", "ä", "a.b", "it's", "select", "a;b", "100%"])
def test_what_is_no_quote_and_no_control_character_is_a_legal_name(name: str) -> None:
    assert name_fault(name) is None


@pytest.mark.parametrize(
    "name", ["", " a", "a ", 'a"b', "a`b", "a\0b", "a\nb", "a\x1bb", "a\u2028b", "a\x85b", "a${env:HOME}", "x" * 256]
)
def test_quotes_control_characters_and_endless_names_are_no_names(name: str) -> None:
    assert name_fault(name) is not None


def test_quoting_is_undone_by_reading() -> None:
    assert quoted('a"b') == '"a""b"' and quoted("a`b", "`") == "`a``b`" and literal("it's") == "'it''s'"
    for wrong in ("", "a\0b"):
        with pytest.raises(ConfigError):
            quoted(wrong)


def test_an_alias_cannot_close_its_quote_and_read_a_file(tmp_path: Path) -> None:
    other = tmp_path / "secret.parquet"
    pq.write_table(pa.table({"s": [SECRET]}), other)
    alias = f'x" AS DOUBLE) AS "x", (SELECT s FROM \'{other}\') AS "y", CAST("x'
    with pytest.raises(FeatureViewError, match="without double quotes"):
        view_of(f"temperature AS {back(alias)}")


ATTACKS = [
    "(SELECT content FROM read_text('{file}')) AS f",
    "(SELECT column0 FROM read_csv('{file}')) AS f",
    "read_text('{file}') AS f",
    "getenv('HOME') AS f",
    "(SELECT file FROM glob('{folder}/*')) AS f",
    "current_setting('TimeZone') AS f",
    "(SELECT s FROM '{file}') AS f",
    "'${{env:HOME}}' AS f",
    "temperature AS `${{env:HOME}}`",
    "reflect('java.lang.System', 'getenv', 'HOME') AS f",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_lint_refuses_what_reads_anything_but_the_inputs(tmp_path: Path, attack: str) -> None:
    with pytest.raises(FeatureViewError):
        view_of(attack.format(file=tmp_path / "f.csv", folder=tmp_path))
    sql = f"SELECT customer_id, as_of, {attack.format(file='f', folder='.')} FROM spine"
    label = LabelSpec.model_validate({"sql": sql, "horizon": "7d"})
    spine = pa.schema([("customer_id", pa.string()), ("as_of", UTC_MICROS)])
    with pytest.raises(FeatureViewError):
        load_label(label, Path(), {"orders": ORDERS}, ("customer_id",), "as_of", spine)


@pytest.mark.parametrize(
    "statement",
    [
        "COPY readings TO '/elsewhere/x.csv'",
        "ATTACH '/elsewhere/x.db'",
        "INSTALL httpfs",
        "PRAGMA database_list",
        "SELECT device_id, ts, seq AS f FROM readings; SELECT 1",
        "SELECT device_id, ts, seq AS f FROM parquet.`/elsewhere/x`",
        "SELECT device_id, ts, seq AS f FROM csv.readings",
        "SELECT device_id, ts, seq AS f FROM main.readings",
        "SELECT device_id, ts, seq AS f FROM read_parquet('/elsewhere/x') AS readings",
        "SELECT device_id, ts, seq AS f FROM range(10) AS readings",
        "SELECT device_id, ts, seq AS f FROM IDENTIFIER('text.`/elsewhere/x`') AS readings",
        "SELECT device_id, ts, seq AS f FROM readings -- ${env:HOME}",
    ],
)
def test_the_lint_refuses_other_statements_and_other_tables(statement: str) -> None:
    spec = {"name": "v", "entity": "device_id", "event_time": "ts", "from": ["readings"], "sql": statement}
    with pytest.raises(FeatureViewError):
        load_view(FeatureViewSpec.model_validate(spec), Path(), {"readings": READINGS})


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_text('{file}')",
        "SELECT * FROM read_csv('{file}')",
        "SELECT * FROM read_json('{file}')",
        "SELECT * FROM read_blob('{file}')",
        "SELECT * FROM read_parquet('{parquet}')",
        "SELECT * FROM '{parquet}'",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM sniff_csv('{file}')",
        "SELECT * FROM parquet_metadata('{parquet}')",
        "COPY (SELECT 1) TO '{folder}/out.csv'",
        "EXPORT DATABASE '{folder}/out'",
        "ATTACH '{folder}/out.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SELECT getenv('HOME')",
        "SELECT * FROM a_python_variable",
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
        "PRAGMA threads = 1",
        "RESET lock_configuration",
        "SELECT * FROM read_csv('http://127.0.0.1:1/x.csv')",
        "SELECT * FROM read_parquet('s3://bucket/x.parquet')",
    ],
)
def test_with_the_lint_bypassed_the_engine_refuses_it(tmp_path: Path, statement: str) -> None:
    a_python_variable = pa.table({"s": [SECRET]})
    file, parquet = tmp_path / "f.csv", tmp_path / "f.parquet"
    file.write_text(SECRET)
    pq.write_table(a_python_variable, parquet)
    runner = engine()
    with runner.connect() as workspace:
        workspace.place(rows_in(tmp_path / "rows.parquet"))
        with pytest.raises(duckdb.Error) as told:
            workspace.connection.execute(statement.format(file=file, parquet=parquet, folder=tmp_path)).fetchall()
    assert SECRET not in str(told.value)
    evaluator = runner._evaluator()
    with pytest.raises(duckdb.Error):
        evaluator.execute(statement.format(file=file, parquet=parquet, folder=tmp_path)).fetchall()
    assert {path.name for path in tmp_path.iterdir()} == {"f.csv", "f.parquet", "rows.parquet"}


def test_a_view_whose_lint_was_bypassed_reads_no_file(tmp_path: Path) -> None:
    file = tmp_path / "f.csv"
    file.write_text(SECRET)
    view = view_of("temperature AS f", pa.schema([READINGS.field(name) for name in ("device_id", "ts", "temperature")]))
    view = replace(view, duckdb_sql=f"SELECT device_id, ts, (SELECT content FROM read_text('{file}')) AS f FROM readings")
    path = rows_in(tmp_path / "rows.parquet")
    with pytest.raises(FeatureViewError, match="Permission"):
        table_of(DuckDbEngine(one_sort=False), Query(view, {"readings": Source(view.tables["readings"], [path])}))


def test_files_are_let_in_for_one_query_only_from_any_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise OSError("Invalid cross-device link")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    # of its own: that of the process may have its folder on another file system
    database, path = ClosedDatabase(), rows_in(tmp_path / "it's here.parquet")
    for linked in (True, False):
        if not linked:
            monkeypatch.setattr(os, "link", refused)
        with database.workspace() as workspace:
            place = workspace.place(path)
            assert os.path.samefile(place, path) is linked
            assert workspace.connection.execute(
                f"SELECT count(*) FROM read_parquet({workspace.paths([path])})"
            ).fetchall() == [(1,)]
        assert not place.exists() and path.exists()
        with database.workspace() as workspace, pytest.raises(duckdb.Error):
            workspace.connection.execute(f"SELECT count(*) FROM read_parquet({literal(str(place))})")
    database.close()


def test_a_folder_beside_the_files_saves_copying_and_is_swept_of_what_killed_processes_left(tmp_path: Path) -> None:
    room = Path(ClosedDatabase(beside=tmp_path / "scratch")._room.name)
    owner = str(os.getpid())
    assert owner in room.name
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    left = room.with_name(room.name.replace(owner, str(gone.pid), 1))
    (left / "000000").mkdir(parents=True)
    database = ClosedDatabase(beside=tmp_path / "scratch")
    path = rows_in(tmp_path / "a.parquet")
    with database.workspace() as workspace:
        assert os.path.samefile(workspace.place(path), path)
    assert not left.exists()
    database.close()


def test_comments_of_a_view_do_not_reach_the_engine() -> None:
    view = view_of("temperature AS f -- */ ATTACH 'x' /*\n")
    assert "ATTACH" not in view.duckdb_sql


def test_columns_that_differ_by_case_alone_are_refused() -> None:
    schema = pa.schema([("device_id", pa.string()), ("ts", UTC_MICROS), ("v", pa.float64()), ("V", pa.int64())])
    with pytest.raises(FeatureViewError, match="more than the case of letters, found v and V"):
        view_of("seq AS f", schema)
    with pytest.raises(FeatureViewError, match="twice"):
        view_of("temperature AS f, seq AS F")


@pytest.mark.parametrize("name", ["'a\"b'", '"a`b"', '"a\\tb"', '"a\\nb"', '" a"', '"a\\u0000b"'])
def test_a_contract_with_such_a_column_name_is_refused_with_its_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / "t.contract.yaml"
    path.write_text(
        "apiVersion: v3.0.2\nkind: DataContract\nid: t\nversion: 1.0.0\nstatus: active\nname: t\nschema:\n  - name: t\n"
        f"    properties:\n      - name: id\n        logicalType: string\n      - name: {name}\n        logicalType: string\n"
    )
    with pytest.raises(DeclarationError, match=re.escape("t.contract.yaml:12: ")) as told:
        load_contract(path)
    assert "expected a name" in str(told.value)


_SQL = re.compile(r"\b(SELECT|FROM|WHERE|CAST|INSERT|CREATE|DELETE|COPY|AS|AND|BY|NULLS)\b")


def _written_quotes(tree: ast.AST) -> Iterator[int]:
    """The lines of f-strings of SQL that write a quote around a value themselves."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.JoinedStr):
            continue
        texts = [
            part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else None for part in node.values
        ]
        if not any(_SQL.search(text) for text in texts if text is not None):
            continue
        for before, value, after in zip(texts, texts[1:], texts[2:], strict=False):
            if value is None and before and after and before[-1] in "\"'`" and before[-1] == after[0]:
                yield node.lineno


def test_no_other_module_writes_a_quote_around_a_name_or_a_value() -> None:
    assert list(_written_quotes(ast.parse("""f'SELECT "{name}" FROM t'"""))) == [1]
    assert list(_written_quotes(ast.parse('''f"SELECT {quoted(name)} FROM t"'''))) == []
    root = Path(orchestrai.__file__).parent
    written = [
        f"{path.relative_to(root)}:{line}"
        for path in sorted(root.rglob("*.py"))
        for line in _written_quotes(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert written == []
