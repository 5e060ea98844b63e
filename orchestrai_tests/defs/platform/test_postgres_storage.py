"""PostgreSQL as Dagster's storage, really started: pages are served, runs are recorded, a rotated password needs no restart."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import dagster as dg
import pytest
import yaml

import orchestrai
from orchestrai.defs.instance import open_instance
from orchestrai.errors import ConfigError
from orchestrai.pipeline.instance.instance_findings import judge_instance
from orchestrai.pipeline.instance.instance_options import InstanceOptions
from orchestrai.pipeline.instance.settings_file import NAME
from orchestrai_tests.cli.conftest import command
from orchestrai_tests.servers.postgres import PostgresServer
from orchestrai_tests.servers.process import free_port, running

REFERENCE = "env://DAGSTER_PG_URL"
BY_DATABASE = InstanceOptions(database=REFERENCE)
PAGES = (
    "{ runsOrError { ... on Runs { results { runId status } } } assetsOrError { ... on AssetConnection { nodes { id } } } }"
)


@dg.asset
def kept() -> dg.MaterializeResult:
    return dg.MaterializeResult(metadata={"dagster/row_count": 3})


@pytest.fixture
def url(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database of its own, named as people name one: `postgresql://`, which SQLAlchemy 2.1 gives to psycopg 3."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    url = postgres.database()
    assert url.startswith("postgresql://")
    monkeypatch.setenv("DAGSTER_PG_URL", url)
    return url


@pytest.mark.emulator
def test_runs_and_pages_are_served_from_postgresql(url: str, tmp_path: Path) -> None:
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import EmptyWorkspaceTarget
    from dagster_webserver.app import create_app_from_workspace_process_context
    from starlette.testclient import TestClient

    with open_instance(tmp_path, BY_DATABASE) as instance:
        done = dg.materialize([kept], instance=instance)
        assert done.success
    # another process's instance, by the written file alone
    with dg.DagsterInstance.from_config(str(tmp_path / "dagster")) as instance:
        instance.optimize_for_webserver(statement_timeout=5000, pool_recycle=3600, max_overflow=5)
        assert instance.get_runs()[0].run_id == done.run_id
        with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as context:
            client = TestClient(create_app_from_workspace_process_context(context))
            for page in ("/", "/runs", "/assets", "/server_info"):
                # the first one worked also with the driver that closes its connections
                assert [client.get(page).status_code for _ in range(3)] == [200, 200, 200]
            for _ in range(3):
                data = client.post("/graphql", json={"query": PAGES}).json()["data"]
                assert data["runsOrError"]["results"] == [{"runId": done.run_id, "status": "SUCCESS"}]
                assert len(data["assetsOrError"]["nodes"]) == 1
            settings = client.post("/graphql", json={"query": "{ instance { info } }"}).json()["data"]["instance"]["info"]
    # what is written and shown is where the URL lies
    assert "local_artifact_storage" in settings and url not in settings
    assert REFERENCE in (tmp_path / "dagster" / NAME).read_text()
    assert url not in (tmp_path / "dagster" / NAME).read_text()
    assert not list((tmp_path / "dagster").rglob("*.db"))


@pytest.mark.emulator
def test_a_rotated_password_needs_no_restart(
    postgres: PostgresServer, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    secret = tmp_path / "url"
    first, second = "first/p@ss %41", "second:p@ss"
    with psycopg.connect(postgres.url, autocommit=True) as owner:
        owner.execute("CREATE ROLE dagster LOGIN SUPERUSER")
        (hba,) = owner.execute("SHOW hba_file").fetchone() or ("",)
        with_trust = Path(hba).read_text()
        Path(hba).write_text("local all dagster scram-sha-256\n" + with_trust)
        owner.execute("SELECT pg_reload_conf()")
        try:
            _set_password(owner, secret, url, first)
            with open_instance(tmp_path, InstanceOptions(database=f"file://{secret}")) as instance:
                assert instance.get_runs_count() == 0
                _set_password(owner, secret, url, second)
                assert instance.get_runs_count() == 0
        finally:
            Path(hba).write_text(with_trust)
            owner.execute("SELECT pg_reload_conf()")


def _set_password(owner: object, secret: Path, url: str, password: str) -> None:
    from sqlalchemy.engine import make_url

    owner.execute(f"ALTER ROLE dagster PASSWORD '{password}'")  # type: ignore[attr-defined]
    secret.write_text(make_url(url).set(username="dagster", password=password).render_as_string(hide_password=False))


@pytest.mark.emulator
def test_a_command_opens_the_instance_that_the_settings_name(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sync` opened it without them, and wrote SQLite's storage over PostgreSQL's."""
    monkeypatch.setenv("ORCHESTRAI_HOME", str(tmp_path))
    monkeypatch.setenv("ORCHESTRAI_INSTANCE_DB", REFERENCE)
    with open_instance(tmp_path, BY_DATABASE):
        pass
    written = (tmp_path / "dagster" / NAME).read_text()
    assert REFERENCE in written
    assert command("sync")[0] == 0
    assert (tmp_path / "dagster" / NAME).read_text() == written


def test_commands_have_one_way_to_open_an_instance() -> None:
    root = Path(orchestrai.__file__).parent
    callers = {str(path.relative_to(root)) for path in root.rglob("*.py") if "open_instance(" in path.read_text()}
    # `instance` has written its settings already, and makes the tables of them
    assert callers == {"defs/instance.py", "cli/project/project_commands.py"}


@pytest.mark.emulator
@pytest.mark.thorough("test_runs_and_pages_are_served_from_postgresql")
def test_the_webserver_itself_starts_on_postgresql(url: str, tmp_path: Path) -> None:
    environment = {**os.environ, "ORCHESTRAI_HOME": str(tmp_path), "ORCHESTRAI_INSTANCE_DB": REFERENCE}
    home = subprocess.run(
        [sys.executable, "-c", "from orchestrai.cli import main; main()", "instance"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    port, log = free_port(), tmp_path / "webserver.log"
    (tmp_path / "empty.yaml").write_text("load_from: []\n")
    command = [str(Path(sys.executable).parent / "dagster-webserver"), "-w", str(tmp_path / "empty.yaml")]
    with running(
        [*command, "-h", "127.0.0.1", "-p", str(port)], port, log=log, environment={**environment, "DAGSTER_HOME": home}
    ):
        for _ in range(3):
            body = json.dumps({"query": PAGES}).encode()
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/graphql", body, headers={"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert json.load(answer)["data"]["runsOrError"]["results"] == []
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
                assert answer.status == 200
            time.sleep(0.1)
    assert url not in log.read_text()


@pytest.mark.parametrize("text", ["mysql://a:hidden@b/c", "hidden", "postgresql:///", "postgresql://a:hidden@b"])
def test_what_is_no_url_of_postgresql_is_refused_and_not_shown(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrai.defs.platform.postgres_storage import database_url

    monkeypatch.setenv("DAGSTER_PG_URL", text)
    with pytest.raises(ConfigError, match=REFERENCE) as refused:
        database_url(REFERENCE)
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    "storage",
    [
        {"storage": {"postgres": {"postgres_url": {"env": "DAGSTER_PG_URL"}}}},
        {"storage": {"postgres": {"postgres_url": "postgresql://a:hidden@b/c"}}},
        {
            "run_storage": {
                "module": "dagster_postgres",
                "class": "PostgresRunStorage",
                "config": {"postgres_db": {"username": "a"}},
            }
        },
    ],
)
def test_a_storage_whose_pages_would_be_errors_is_told(
    storage: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_PG_URL", "postgresql://a:hidden@b/c")
    (tmp_path / NAME).write_text(yaml.safe_dump(storage))
    (told,) = [finding for finding in judge_instance(tmp_path / "home") if finding.name == "instance storage"]
    assert not told.ok and "postgresql+psycopg2://" in told.detail and "hidden" not in told.detail
    (tmp_path / NAME).write_text(yaml.safe_dump(storage).replace("postgresql://", "postgresql+psycopg2://"))
    monkeypatch.setenv("DAGSTER_PG_URL", "postgresql+psycopg2://a:hidden@b/c")
    found = {finding.name: finding.ok for finding in judge_instance(tmp_path / "home")}
    assert found["instance storage"] is ("run_storage" not in storage)
