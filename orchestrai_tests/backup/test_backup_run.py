"""Feature tables, models, databases, Dagster's records and definitions: kept whole, kept once, drilled, and let go of."""

import itertools
import json
import os
import sqlite3
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrai.backup.instance_files import find_instance, postgres_reference
from orchestrai.core.time.calendar import WHOLE
from orchestrai.errors import ConfigError, DeclarationError
from orchestrai.pipeline.graph import declared_backups
from orchestrai.pipeline.runtime import Runtime
from orchestrai.restore.folder import restore_folder
from orchestrai.secrets.reference import resolve_secret
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.backup.kept_shop import (
    DATABASE,
    FEATURES,
    MODEL,
    PUBLISHED,
    VIEW,
    fresh,
    make_instance,
    make_sqlite,
    materialize,
    publish,
)
from orchestrai_tests.defs.shop import csv_of
from orchestrai_tests.producers import producer
from orchestrai_tests.servers.postgres import PostgresServer

REGISTRY = f"{MODEL}/registry"
INSTANCE, DEFINITIONS = "orchestrai/instance", "orchestrai/definitions"


def drilled(runtime: Runtime, prefix: str) -> dict[str, bool]:
    report = materialize(runtime, f"{prefix}/drill")
    return {verdict.check: verdict.passed for outcome in report.outcomes for verdict in outcome.verdicts}


def damage(runtime: Runtime, dataset: str, partition: str, name: str = "") -> None:
    vault = runtime.vault
    file = next(f for f in vault.files(vault.latest(dataset), partition) if f.path.startswith(name))
    path = vault.store.local_path(file.key)
    assert path is not None
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[file.offset + file.length // 2] ^= 1
    path.write_bytes(bytes(data))


# -- feature tables ----------------------------------------------------------------------------------------------


def test_a_feature_table_is_kept_at_its_own_version(shop: Runtime) -> None:
    report = materialize(shop, f"{VIEW}/feature_backup")
    table = shop.ledger.open(FEATURES)
    assert report.version == table.version == shop.vault.latest(FEATURES).version
    assert {v.check: v.passed for o in report.outcomes for v in o.verdicts} == {"same_version": True}
    assert report.facts["partitions_changed"] == len(PUBLISHED)


def test_only_a_partition_that_changed_is_kept_again(shop: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    materialize(shop, f"{VIEW}/feature_backup")
    again = materialize(shop, f"{VIEW}/feature_backup")
    assert (again.facts["new_bytes"], again.facts["partitions_changed"]) == (0, 0)
    assert len(shop.vault.snapshots(FEATURES)) == 1
    landed = shop.settings.home / "landing" / "readings" / f"{PUBLISHED[1]}.csv"
    landed.write_text(csv_of(PUBLISHED[1]).replace(",true", ",false", 1).replace(",1", ",2", 1))
    for stage in ("readings/raw_events", "readings/snapshot", "readings/restored", "levels/features"):
        materialize(shop, f"shop/{stage}", [PUBLISHED[1]])
    changed = materialize(shop, f"{VIEW}/feature_backup")
    assert changed.facts["partitions_changed"] == 1
    assert [outcome.partition for outcome in changed.outcomes] == [PUBLISHED[1]]
    assert changed.version == shop.ledger.open(FEATURES).version == shop.vault.latest(FEATURES).version


def test_a_partition_dropped_from_the_table_leaves_its_backup(shop: Runtime) -> None:
    materialize(shop, f"{VIEW}/feature_backup")
    shop.ledger.session(FEATURES, producer("features")).commit(drop=[PUBLISHED[0]], reason="recalled")
    report = materialize(shop, f"{VIEW}/feature_backup")
    assert report.version == shop.ledger.open(FEATURES).version
    assert sorted(shop.vault.partitions(shop.vault.latest(FEATURES))) == PUBLISHED[1:]
    assert sorted(shop.ledger.open(f"{VIEW}/feature_backup").partitions) == PUBLISHED[1:]


def test_features_that_were_never_made_are_refused_with_the_remedy(tmp_path: Path) -> None:
    report = materialize(fresh(tmp_path / "new", tmp_path / "declared"), f"{VIEW}/feature_backup")
    assert report.version is None and "materialize it first" in report.refused[0].verdicts[0].message


def test_a_drill_of_features_reads_footers_and_columns(shop: Runtime) -> None:
    materialize(shop, f"{VIEW}/feature_backup")
    assert drilled(shop, VIEW) == {"proof": True, "rto": True, "rpo": True}
    other = fresh(shop.settings.home, shop.settings.home.parent / "other", changes={"AS more": "AS other"})
    report = materialize(other, f"{VIEW}/drill")
    assert "expected column other" in next(v.message for v in report.refused[0].verdicts if v.check == "proof")


# -- models ------------------------------------------------------------------------------------------------------


def test_every_version_of_a_model_is_kept_with_its_receipts(shop: Runtime, tmp_path: Path) -> None:
    report = materialize(shop, f"{MODEL}/model_backup")
    champion = shop.ledger.open(f"{MODEL}/champion").version
    assert (report.facts["versions"], report.facts["champion"]) == (1, champion)
    restore_folder(shop.vault, shop.vault.latest(REGISTRY), tmp_path / "back")
    registry = json.loads((tmp_path / "back" / "registry" / "registry.json").read_bytes())
    (version,) = registry["versions"]
    assert (version["version"], version["aliases"]) == (champion, ["candidate", "champion"])
    names = {path.name for path in (tmp_path / "back" / version["folder"]).iterdir()}
    assert names == {"model.ubj", "model.json", "golden.parquet", "candidate.receipt.json", "champion.receipt.json"}
    assert drilled(shop, MODEL)["proof"]


def test_a_second_backup_of_a_model_writes_nothing_again(shop: Runtime) -> None:
    materialize(shop, f"{MODEL}/model_backup")
    again = materialize(shop, f"{MODEL}/model_backup")
    assert again.facts["new_bytes"] == 0
    # the ledger has the times of all versions: no snapshot needs to say that the registry was still so
    assert len(shop.vault.snapshots(REGISTRY)) == 1


def test_a_new_version_joins_those_before(shop: Runtime) -> None:
    before = materialize(shop, f"{MODEL}/model_backup")
    publish(shop, [*PUBLISHED, "2026-10-05", "2026-10-06"])
    after = materialize(shop, f"{MODEL}/model_backup")
    assert after.facts["versions"] == 2 and after.facts["champion"] != before.facts["champion"]
    assert drilled(shop, MODEL)["proof"]


def test_a_model_that_does_not_score_its_golden_rows_fails_the_drill(shop: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    import orchestrai.models.estimators.artifact as artifact

    materialize(shop, f"{MODEL}/model_backup")
    monkeypatch.setattr(artifact, "GOLDEN_TOLERANCE", -1.0)
    report = materialize(shop, f"{MODEL}/drill")
    assert "golden rows" in report.refused[0].verdicts[0].message


# -- databases ---------------------------------------------------------------------------------------------------


def test_a_database_is_dumped_kept_and_drilled(shop: Runtime, tmp_path: Path) -> None:
    report = materialize(shop, f"{DATABASE}/dump")
    assert report.rows == 3 and report.facts["engine"] == "sqlite"
    assert drilled(shop, DATABASE) == {"proof": True, "rto": True, "rpo": True}
    restore_folder(shop.vault, shop.vault.latest(f"{DATABASE}/dump"), tmp_path / "back")
    with closing(sqlite3.connect(tmp_path / "back" / "database.sqlite")) as opened:
        assert opened.execute("SELECT count(*) FROM customer").fetchone() == (3,)


def test_a_database_with_too_few_rows_never_reaches_the_vault(
    shop: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    materialize(shop, f"{DATABASE}/dump")
    monkeypatch.setenv("CRM_URL", f"sqlite:///{make_sqlite(tmp_path / 'emptied.sqlite', 1)}")
    report = materialize(shop, f"{DATABASE}/dump")
    assert [v.check for v in report.refused[0].verdicts if v.closes_gate] == ["dump"]
    assert len(shop.vault.snapshots(f"{DATABASE}/dump")) == 1


def test_a_dump_that_lost_rows_fails_the_drill(shop: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    import orchestrai.backup.databases.dump_snapshot as kept_dumps

    real = kept_dumps.read_note
    materialize(shop, f"{DATABASE}/dump")
    monkeypatch.setattr(
        kept_dumps, "read_note", lambda data: kept_dumps.DumpNote(real(data).engine, {"database.sqlite": {"customer": 4}})
    )
    report = materialize(shop, f"{DATABASE}/drill")
    assert "expected 4 rows in customer, found 3" in report.refused[0].verdicts[0].message


@pytest.mark.emulator
def test_a_postgres_database_is_drilled_in_a_database_that_goes_again(
    shop: Runtime, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    url = postgres.database()
    monkeypatch.setenv("CRM_URL", url)
    with psycopg.connect(url, autocommit=True) as opened:
        opened.execute("CREATE TABLE customer AS SELECT generate_series(1, 500) AS id")
    assert materialize(shop, f"{DATABASE}/dump").rows == 500
    assert drilled(shop, DATABASE)["proof"]
    with psycopg.connect(url) as opened:
        left = opened.execute("SELECT count(*) FROM pg_database WHERE datname LIKE 'orchestrai_drill%'").fetchone()
    assert left == (0,)


# -- Dagster's records and the definitions -----------------------------------------------------------------------


def test_dagsters_records_are_dumped_and_what_did_not_change_is_not_read(
    shop: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    import orchestrai.backup.databases.dump_snapshot as kept_dumps

    report = materialize(shop, f"{INSTANCE}/dump")
    assert (report.rows, report.facts["databases"]) == (19, 4)
    read: list[str] = []
    real = kept_dumps.dump_sqlite
    monkeypatch.setattr(kept_dumps, "dump_sqlite", lambda path, into: read.append(path.name) or real(path, into))  # type: ignore[func-returns-value]
    assert materialize(shop, f"{INSTANCE}/dump").facts["new_bytes"] == 0
    assert read == []
    with closing(sqlite3.connect(shop.settings.home / "dagster/history/runs.db")) as opened, opened:
        opened.execute("INSERT INTO customer (name) VALUES ('new')")
    again = materialize(shop, f"{INSTANCE}/dump")
    assert read == ["runs.db"] and again.rows == 20
    assert drilled(shop, INSTANCE)["proof"]


def test_what_waits_in_a_write_ahead_log_is_a_change(shop: Runtime) -> None:
    path = shop.settings.home / "dagster/history/runs.db"
    with closing(sqlite3.connect(path)) as opened:
        opened.execute("PRAGMA journal_mode = WAL")
        materialize(shop, f"{INSTANCE}/dump")
        with opened:
            opened.execute("INSERT INTO customer (name) VALUES ('waiting')")
        assert path.with_name("runs.db-wal").stat().st_size
        assert materialize(shop, f"{INSTANCE}/dump").rows == 20


def test_definitions_are_kept_by_pipeline_and_load_again(shop: Runtime, tmp_path: Path) -> None:
    folder = shop.project.pipelines[0].folder
    (folder / ".secret").write_text("hidden files stay")
    materialize(shop, f"{DEFINITIONS}/snapshot")
    restore_folder(shop.vault, shop.vault.latest(f"{DEFINITIONS}/files"), tmp_path / "back")
    names = {path.name for path in (tmp_path / "back" / "shop").iterdir()}
    assert names == {"pipeline.yaml", "readings.contract.yaml"}
    assert drilled(shop, DEFINITIONS)["proof"]


def test_definitions_that_do_not_load_fail_the_drill(shop: Runtime) -> None:
    (shop.project.pipelines[0].folder / "pipeline.yaml").write_text("pipeline: shop\nnonsense: true\n")
    materialize(shop, f"{DEFINITIONS}/snapshot")
    report = materialize(shop, f"{DEFINITIONS}/drill")
    assert "expected pipelines that load" in report.refused[0].verdicts[0].message


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("storage: {postgres: {postgres_url: {env: PG_URL}}}", "postgresql://here"),
        ("storage: {postgres: {postgres_url: 'postgresql://there'}}", "postgresql://there"),
        (
            "run_storage: {module: dagster_postgres.run_storage, class: X, config: {postgres_db: {hostname: h, username: u, "
            "password: {env: PW}, db_name: d, port: 5432}}}",
            "host='h' user='u' password='it\\'s' dbname='d' port='5432'",
        ),
    ],
)
def test_a_postgres_instance_is_found_in_dagster_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, reference: str
) -> None:
    (tmp_path / "dagster.yaml").write_text(text)
    environment = {"DAGSTER_HOME": str(tmp_path), "PW": "it's"}
    monkeypatch.setenv("PG_URL", "postgresql://here")
    with postgres_reference(find_instance(tmp_path / "home", environment)) as found:
        assert resolve_secret(found) == reference


@pytest.mark.emulator
def test_an_instance_in_postgres_is_dumped_and_drilled(
    shop: Runtime, postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    monkeypatch.setenv("DAGSTER_PG", postgres.database())
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster_home"))
    (tmp_path / "dagster_home").mkdir()
    (tmp_path / "dagster_home" / "dagster.yaml").write_text("storage: {postgres: {postgres_url: {env: DAGSTER_PG}}}\n")
    with psycopg.connect(os.environ["DAGSTER_PG"], autocommit=True) as opened:
        opened.execute("CREATE TABLE runs AS SELECT generate_series(1, 7) AS id")
    report = materialize(shop, f"{INSTANCE}/dump")
    assert (report.rows, report.facts["engine"]) == (7, "postgresql")
    assert drilled(shop, INSTANCE)["proof"]
    assert b"postgresql://" not in b"".join(path.read_bytes() for path in _files(shop.settings.home / "vault"))


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_sqlite_folders_of_dagster_yaml_count_and_a_missing_instance_is_told(tmp_path: Path) -> None:
    base = make_instance(tmp_path / "home")
    elsewhere = tmp_path / "elsewhere"
    make_sqlite(elsewhere / "schedules.db")
    (base / "dagster.yaml").write_text(f"schedule_storage: {{module: m, class: c, config: {{base_dir: {elsewhere}}}}}\n")
    found = find_instance(tmp_path / "home", {})
    assert found.folders == {"": base, "schedule_storage": elsewhere}
    with pytest.raises(ConfigError, match="run Dagster once"):
        find_instance(tmp_path / "nothing", {})


# -- all of them -------------------------------------------------------------------------------------------------

PREFIXES = {VIEW: FEATURES, MODEL: REGISTRY, DATABASE: f"{DATABASE}/dump", INSTANCE: f"{INSTANCE}/dump"}


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_flipped_byte_in_any_kind_is_found_and_fails_the_drill(shop: Runtime, prefix: str) -> None:
    stage = {VIEW: "feature_backup", MODEL: "model_backup"}.get(prefix, "dump")
    materialize(shop, f"{prefix}/{stage}")
    dataset = PREFIXES[prefix]
    assert verify(shop.vault, level="read", dataset=dataset).ok
    partition = sorted(shop.vault.partitions(shop.vault.latest(dataset)))[0]
    damage(shop, dataset, partition)
    assert not verify(shop.vault, level="read", dataset=dataset).ok
    report = materialize(shop, f"{prefix}/drill")
    assert [v.check for v in report.refused[0].verdicts if v.closes_gate] == ["proof"]


def test_a_missed_rto_and_rpo_are_failed_checks(shop: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    materialize(shop, f"{DATABASE}/dump")
    more = "\ndatabases:\n  - {name: crm, dsn_env: CRM_URL, rto: 5s, rpo: 5s}\n"
    other = fresh(shop.settings.home, shop.settings.home.parent / "other", more)
    assert drilled(other, DATABASE) == {"proof": True, "rto": True, "rpo": True}
    newest = other.vault.latest(f"{DATABASE}/dump")
    monkeypatch.setattr(other.vault, "store_time", lambda: newest.committed + timedelta(seconds=6))
    ticks = itertools.count(step=6)
    slow = SimpleNamespace(perf_counter=lambda: float(next(ticks)))
    monkeypatch.setattr(sys.modules["orchestrai.restore.drill"], "time", slow)
    assert drilled(other, DATABASE) == {"proof": True, "rto": False, "rpo": False}


def test_everything_kept_is_locked_copied_and_told_as_declared(shop: Runtime, tmp_path: Path) -> None:
    backup = f"{{every: '0 5 * * 0', lock: 30d, replica: {tmp_path / 'replica'}}}"
    declared = {"features: [levels]": f"features: [levels]\n    backup: {backup}"}
    other = fresh(shop.settings.home, tmp_path / "other", changes=declared)
    facts = materialize(other, f"{MODEL}/model_backup").facts
    assert facts["locked"] is False and facts["lock_reason"]
    assert facts["replica"] and facts["replica_verified"] == 2


def test_the_catalog_lists_what_is_kept_beside_events(shop: Runtime) -> None:
    for asset in (f"{VIEW}/feature_backup", f"{MODEL}/model_backup", f"{DATABASE}/dump"):
        materialize(shop, asset)
    lines = {line["asset"]: line for line in materialize(shop, "shop/catalog").facts["catalog"]}  # type: ignore[union-attr, call-overload, index]
    assert lines[f"{VIEW}/feature_backup"]["kind"] == "feature_backup"
    assert lines[f"{MODEL}/model_backup"]["snapshot_id"] == shop.vault.latest(REGISTRY).snapshot_id
    assert lines[f"{DATABASE}/dump"]["rows"] == 3


def test_backup_false_keeps_nothing(tmp_path: Path) -> None:
    off = {"entity: device_id, event_time: ts,": "entity: device_id, event_time: ts, backup: false,"}
    nodes = fresh(tmp_path / "home", tmp_path / "declared", changes=off).project.nodes
    assert f"{VIEW}/feature_backup" not in nodes and f"{VIEW}/drill" not in nodes
    assert f"{MODEL}/model_backup" in nodes
    assert set(declared_backups(tuple(nodes.values()))) == {
        "shop/readings/raw_events",
        "shop/readings/dead_letters",
        REGISTRY,
        f"{DATABASE}/dump",
        f"{INSTANCE}/dump",
        f"{DEFINITIONS}/files",
    }


def test_a_partly_declared_backup_keeps_the_sensible_rest(tmp_path: Path) -> None:
    some = {"entity: device_id, event_time: ts,": "entity: device_id, event_time: ts, backup: {lock: 9d},"}
    backups = declared_backups(tuple(fresh(tmp_path / "home", tmp_path / "declared", changes=some).project.nodes.values()))
    assert (backups[FEATURES].lock, backups[FEATURES].every, backups[FEATURES].keep.weekly) == (
        timedelta(days=9),
        "0 5 * * 0",
        5,
    )


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("databases: [{name: readings, dsn_env: X}]", "found readings more than once"),
        ("databases: [{name: crm, dsn_env: 'postgres://u:p@h'}]", "dsn_env"),
        ("databases: [{name: crm, dsn_env: X, every: daily}]", "cron"),
    ],
)
def test_a_mistaken_declaration_is_one_line(tmp_path: Path, more: str, told: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        fresh(tmp_path / "home", tmp_path / "declared", f"\n{more}\n")
    assert told in caught.value.message and "\n" not in caught.value.message


def test_no_pipeline_takes_the_name_of_the_house(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="keeps the house"):
        fresh(tmp_path / "home", tmp_path / "declared", changes={"pipeline: shop": "pipeline: orchestrai"})


def test_whole_is_the_only_partition_of_a_dump(shop: Runtime) -> None:
    materialize(shop, f"{DATABASE}/dump")
    assert list(shop.ledger.open(f"{DATABASE}/dump").partitions) == [WHOLE]
