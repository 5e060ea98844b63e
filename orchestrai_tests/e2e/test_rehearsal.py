"""The disaster, rehearsed: what an empty machine with a vault and its keys gets back, step by step as in docs/backup.md.

The backups are made by Dagster's own jobs on a Dagster instance of SQLite; then lake, Dagster and definitions are gone.
"""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestrai.defs.asset_keys import asset_key
from orchestrai.defs.build import build_definitions
from orchestrai.defs.instance import open_instance
from orchestrai.models.estimators.artifact import load_model
from orchestrai.pipeline.load import load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings
from orchestrai_tests.backup import kept_shop
from orchestrai_tests.backup.kept_shop import FEATURES, MODEL, VIEW, materialize
from orchestrai_tests.cli.conftest import command

pytestmark = pytest.mark.e2e
DATASETS = [
    "orchestrai/definitions/files",
    "orchestrai/instance/dump",
    "shop/alarm/registry",
    "shop/crm/dump",
    "shop/levels/features",
    "shop/readings/raw_events",
]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Runtime, set[str]]]:
    """A home that was worked on and backed up by Dagster's jobs, and the ids of the runs that its instance knew then."""
    folder = tmp_path_factory.mktemp("lived")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DAGSTER_HOME", raising=False)
        patch.setenv("CRM_URL", str(kept_shop.make_sqlite(folder / "crm.sqlite")))
        runtime = kept_shop.fresh(folder / "home", folder / "declared")
        kept_shop.publish(runtime, kept_shop.PUBLISHED)
        definitions = build_definitions(runtime)
        with open_instance(runtime.settings.home) as instance:
            for job in ("shop_backup", "shop_drills", "orchestrai_backup"):
                runs = {run.run_id for run in instance.get_runs()}
                done = definitions.resolve_job_def(job).execute_in_process(instance=instance, raise_on_error=False)
                assert done.success, job
            told = instance.get_latest_materialization_event(asset_key(f"{VIEW}/feature_backup"))
            assert told is not None and told.asset_materialization is not None
            assert "snapshot_id" in told.asset_materialization.metadata
        yield runtime, runs


@pytest.fixture
def empty(lived: tuple[Runtime, set[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new home that has the vault and the keys, and nothing else; and a shell there."""
    home = tmp_path / "new"
    for name in ("vault", "keys"):
        shutil.copytree(lived[0].settings.home / name, home / name, copy_function=shutil.copy2)
    monkeypatch.setenv("ORCHESTRAI_HOME", str(home))
    # no declarations either: nothing of this may need them
    monkeypatch.setenv("ORCHESTRAI_PIPELINES", str(tmp_path / "no-pipelines"))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    return home


def answer(*words: str) -> object:
    code, text = command(*words, "--json")
    assert code == 0, text
    return json.loads(text)


def restored(name: str, into: Path) -> Path:
    answer("vault", "restore", name, "--into", str(into))
    return into


def test_an_empty_machine_gets_everything_back_from_vault_and_keys(
    lived: tuple[Runtime, set[str]], empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, runs = lived
    # 1. what is there, and is it sound?
    listed = answer("vault", "list")
    assert isinstance(listed, list) and sorted({snapshot["dataset"] for snapshot in listed}) == DATASETS
    verified = answer("vault", "verify", "--level", "read")
    assert isinstance(verified, dict) and verified["ok"] and verified["snapshots"] == len(listed)
    # 2. the definitions
    definitions = restored("orchestrai/definitions", tmp_path / "pipelines")
    assert (definitions / "shop" / "pipeline.yaml").read_text() == (
        old.project.pipelines[0].folder / "pipeline.yaml"
    ).read_text()
    monkeypatch.setenv("ORCHESTRAI_PIPELINES", str(definitions))
    # 3. Dagster's records, where the UI finds them
    restored("orchestrai/instance", empty / "dagster")
    with open_instance(empty) as instance:
        assert {run.run_id for run in instance.get_runs()} >= runs
        assert len(instance.fetch_materializations(asset_key(f"{MODEL}/model_backup"), 10).records) == 1
    # 4. the lake: records, then the bytes of what the vault holds, features and models among them
    rebuilt = answer("rebuild", "--bytes")
    assert isinstance(rebuilt, dict) and rebuilt["recovered"]["files"] > 0
    assert not {FEATURES, f"{MODEL}/champion", f"{MODEL}/candidate"} & set(rebuilt["recovered"]["dropped"])
    new = Runtime(Settings(home=empty), load_project([definitions / "shop"], {}), clock=old.clock)
    for asset in (FEATURES, f"{MODEL}/champion"):
        mine, theirs = new.ledger.open(asset), old.ledger.open(asset)
        assert mine.version == theirs.version
        with mine.fetched(sorted(mine.partitions)) as files:
            assert all(files.values())
    assert load_model(new.ledger, f"{MODEL}/champion").version == old.ledger.open(f"{MODEL}/champion").version
    # 5. the events are restored and proven like every day, and the next backup has nothing to write
    assert (
        materialize(new, "shop/readings/restored", kept_shop.PUBLISHED).version
        == old.ledger.open("shop/readings/restored").version
    )
    assert materialize(new, f"{VIEW}/feature_backup").facts["new_bytes"] == 0
    # 6. the drills pass on the new machine
    assert command("vault", "drill", MODEL)[0] == 0


def test_a_person_without_declarations_gets_each_kind_as_plain_files(empty: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    table = restored("shop/levels", tmp_path / "features")
    assert pq.read_table(table / kept_shop.PUBLISHED[0]).num_rows == 30
    models = restored("shop/alarm", tmp_path / "models")
    registry = json.loads((models / "registry" / "registry.json").read_bytes())
    assert (models / registry["versions"][0]["folder"] / "model.ubj").stat().st_size
    database = restored("shop/crm", tmp_path / "crm")
    with closing(sqlite3.connect(database / "database.sqlite")) as opened:
        assert opened.execute("SELECT count(*) FROM customer").fetchone() == (3,)


def test_with_dagsters_database_gone_the_vault_lists_verifies_and_restores(
    lived: tuple[Runtime, set[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    shutil.copytree(lived[0].settings.home, home, copy_function=shutil.copy2)
    shutil.rmtree(home / "dagster")
    monkeypatch.setenv("ORCHESTRAI_HOME", str(home))
    monkeypatch.setenv("ORCHESTRAI_PIPELINES", str(lived[0].project.pipelines[0].folder))
    monkeypatch.chdir(tmp_path)
    listed = answer("vault", "list", "shop/levels")
    assert isinstance(listed, list)
    snapshot = listed[-1]["snapshot_id"]
    shown = answer("vault", "show", snapshot)
    assert isinstance(shown, dict) and len(shown["held"]) == len(kept_shop.PUBLISHED)
    answer("vault", "verify", "--level", "read")
    restored(snapshot, tmp_path / "by-id")
    answer("vault", "drill", "shop/levels")
    answer("vault", "drill", "orchestrai/instance")
    replica = str(tmp_path / "replica")
    answer("vault", "replicate", "--to", replica)
    answer("vault", "restore", "shop/alarm", "--into", str(tmp_path / "models"), "--vault", replica)
    pruned = answer("vault", "prune")
    assert isinstance(pruned, dict) and set(pruned["forget"]) == set(DATASETS)
    # a folder cannot lock, and says so
    assert command("vault", "lock", snapshot, "--for", "3d", "--json")[0] == 1
    assert not (home / "dagster").exists()
