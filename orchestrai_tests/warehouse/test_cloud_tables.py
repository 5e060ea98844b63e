"""BigQuery and Redshift by their published interfaces: files staged, loaded and put in place by one transaction that counts."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrai.errors import ConfigError, DeclarationError, IntegrityError, MissingExtra, StorageError
from orchestrai.storage.databases.cloud import bigquery_jobs, redshift_data, snowflake_session
from orchestrai.warehouse import targets
from orchestrai_tests.clouds.played_clouds import Cloud, played_cloud
from orchestrai_tests.ingest.declaring import hour, opened, reading, run
from orchestrai_tests.warehouse.test_warehouse import declared, fill, load


@pytest.fixture(params=["bigquery", "redshift", "snowflake"])
def cloud(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    (tmp_path / "home").mkdir()
    with played_cloud(request.param, tmp_path, monkeypatch) as found:
        yield found


def test_partitions_are_replaced_counted_and_noted_there(tmp_path: Path, cloud: Cloud) -> None:
    folder, home = declared(tmp_path / "plant", cloud.url), tmp_path / "home"
    fill(home, *(reading(n, value=n / 2) for n in range(20)), reading(30, at=11))
    runtime = opened(folder, home)
    run(runtime, [hour(10), hour(11)])
    first = load(runtime, hour(10), hour(11))
    assert not first.refused and first.facts["partitions_loaded"] == 2 and first.rows == 21
    rows = cloud.ask('SELECT id, value, epoch("at")::bigint % 3600 FROM marts.readings WHERE id < 30 ORDER BY id')
    assert rows == [(n, n / 2, n) for n in range(20)]
    again = load(runtime, hour(10), hour(11))
    assert again.facts["partitions_loaded"] == 0 and again.version == first.version
    fill(home, reading(31, at=11))
    run(runtime, [hour(11)])
    assert load(runtime, hour(11)).facts["partitions_loaded"] == 1
    assert cloud.ask("SELECT count(*) FROM marts.readings") == [(22,)]
    restored = runtime.ledger.open("plant/readings/restored")
    noted = cloud.ask("SELECT part, root, row_count FROM marts.orchestrai_partition_loads ORDER BY part")
    assert noted == [(key, restored.partitions[key].root, restored.partitions[key].rows) for key in (hour(10), hour(11))]
    assert cloud.ask("SELECT table_name FROM duckdb_tables() WHERE table_name LIKE '%staged%'") == []
    assert cloud.staged == [] and cloud.faults() == []


def test_a_column_that_the_contract_got_since_is_added(tmp_path: Path, cloud: Cloud) -> None:
    folder, home = declared(tmp_path / "plant", cloud.url), tmp_path / "home"
    fill(home, reading(1))
    run(opened(folder, home), [hour(10)])
    load(opened(folder, home), hour(10))
    path = folder / "readings.contract.yaml"
    note = "      - {name: note, physicalType: STRING}\ncustomProperties"
    path.write_text(path.read_text().replace("customProperties", note, 1))
    fill(home, json.dumps({"id": 2, "at": "2026-11-22T11:00:00+00:00", "value": 1.0, "note": 'it\'s "so"'}).encode())
    run(opened(folder, home), [hour(10), hour(11)])
    load(opened(folder, home), hour(10), hour(11))
    assert cloud.ask("SELECT id, note FROM marts.readings ORDER BY id") == [(1, None), (2, 'it\'s "so"')]
    assert cloud.faults() == []


def test_a_table_that_does_not_count_up_is_left_as_it_was(tmp_path: Path, cloud: Cloud) -> None:
    folder, home = declared(tmp_path / "plant", cloud.url), tmp_path / "home"
    fill(home, reading(1), reading(2))
    runtime = opened(folder, home)
    run(runtime, [hour(10)])
    load(runtime, hour(10))
    fill(home, reading(3))
    run(runtime, [hour(10)])
    whole = cloud.played.said

    def doubled(text: str) -> list[str]:
        found = whole(text)
        return [
            again
            for one in found
            for again in ([one, one] if one.lower().startswith('insert into "marts"."readings"') else [one])
        ]

    cloud.played.said = doubled  # type: ignore[method-assign]
    if cloud.played.dialect == "redshift":
        one = cloud.service._one
        cloud.service._one = lambda sql: one(sql) if "COPY" not in sql else [one(sql), one(sql)][1]
        cloud.played.said = whole  # type: ignore[method-assign]
    with pytest.raises(IntegrityError, match="expected 3 rows"):
        load(runtime, hour(10))
    assert cloud.ask("SELECT id FROM marts.readings ORDER BY id") == [(1,), (2,)]
    assert cloud.staged == [] and cloud.faults() == []


@pytest.mark.parametrize("cloud", ["bigquery"], indirect=True)
def test_a_job_that_fails_is_told_with_the_reason_and_tried_again_from_the_start(tmp_path: Path, cloud: Cloud) -> None:
    folder, home = declared(tmp_path / "plant", cloud.url), tmp_path / "home"
    fill(home, reading(1))
    runtime = opened(folder, home)
    run(runtime, [hour(10)])
    for kind in ("load", "query"):
        cloud.service.fail = {kind: "no slots left"}
        with pytest.raises(StorageError, match="resourcesExceeded: no slots left"):
            load(runtime, hour(10))
        assert cloud.staged == []
    # the answer to the first request is lost: the job is there, and asked for by its name
    cloud.service.lost = 1
    with pytest.raises(StorageError):
        load(runtime, hour(10))
    assert load(runtime, hour(10)).facts["partitions_loaded"] == 1
    assert cloud.ask("SELECT count(*) FROM marts.readings") == [(1,)] and cloud.faults() == []


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("bigquery://p/d?staging=s3://b", "gs://"),
        ("bigquery://p/d?staging=gs://b&colour=1", "unknown colour"),
        ("bigquery://p?staging=gs://b", "another path"),
        ("redshift-data://wg/db?staging=s3://b", "no role"),
        ("snowflake://ann@acct/shop?warehouse=w", "DATABASE/SCHEMA"),
        ("snowflake://ann@acct/shop/marts?colour=1", "unknown colour"),
        ("redshift-data://wg/db?staging=s3://b&role=x&region=us-east-1", "ARN"),
    ],
)
def test_a_wrong_url_of_a_cloud_is_told(tmp_path: Path, url: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        targets.open_target(url, "t", tmp_path)


DRIVERS: dict[str, Any] = {
    "bigquery": bigquery_jobs.BigQuery,
    "redshift": redshift_data.Redshift,
    "snowflake": snowflake_session.Snowflake,
}


@pytest.mark.parametrize("cloud", ["bigquery"], indirect=True)
def test_a_staging_table_that_a_killed_load_leaves_ends_by_itself(
    tmp_path: Path, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, home = declared(tmp_path / "plant", cloud.url), tmp_path / "home"
    fill(home, reading(1))
    runtime = opened(folder, home)
    run(runtime, [hour(10)])

    def killed(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bigquery_jobs.BigQuery, "forget", killed)
    with pytest.raises(KeyboardInterrupt):
        load(runtime, hour(10))
    asked = [job.body["configuration"].get("query", {}).get("query", "") for job in cloud.service.jobs.values()]
    made = [text for text in asked if text.startswith("CREATE TABLE `marts`.`orchestrai_staged_")]
    assert (
        len(made) == 1 and "OPTIONS (expiration_timestamp = TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 1 DAY))" in made[0]
    )


def merged(tmp_path: Path, cloud: Cloud) -> Path:
    return declared(tmp_path / "plant", cloud.url, ", mode: merge, key: [id]")


def test_rows_are_merged_by_key_and_the_same_version_changes_none(tmp_path: Path, cloud: Cloud) -> None:
    folder, home = merged(tmp_path, cloud), tmp_path / "home"
    fill(home, *(reading(n, value=n / 2) for n in range(6)), reading(6))
    runtime = opened(folder, home)
    run(runtime, [hour(10)])
    first = load(runtime, hour(10))
    assert (first.facts["inserted"], first.facts["updated"], first.rows) == (7, 0, 7)
    again = load(runtime, hour(10))
    assert (again.facts["inserted"], again.facts["updated"]) == (0, 0) and again.version == first.version
    # a person changed one, lost one and made one null; another row is theirs alone
    cloud.ask("UPDATE marts.readings SET value = 99 WHERE id = 1")
    cloud.ask("UPDATE marts.readings SET value = NULL WHERE id = 2")
    cloud.ask("UPDATE marts.readings SET value = 5 WHERE id = 6")
    cloud.ask("DELETE FROM marts.readings WHERE id = 3")
    cloud.ask("INSERT INTO marts.readings (id, value) VALUES (100, 1)")
    mended = load(runtime, hour(10))
    assert (mended.facts["inserted"], mended.facts["updated"]) == (1, 3)
    rows = cloud.ask('SELECT id, value, epoch("at")::bigint % 3600 FROM marts.readings WHERE id < 100 ORDER BY id')
    assert rows == [*((n, n / 2, n) for n in range(6)), (6, None, 6)]
    assert cloud.ask("SELECT count(*), count(DISTINCT orchestrai_version) FROM marts.readings") == [(8, 1)]
    assert cloud.staged == [] and cloud.faults() == []


@pytest.mark.parametrize("when", ["before", "behind"])
def test_a_merge_that_was_killed_is_done_again_and_changes_nothing_twice(
    tmp_path: Path, cloud: Cloud, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, home = merged(tmp_path, cloud), tmp_path / "home"
    fill(home, *(reading(n, value=n / 2) for n in range(6)))
    runtime = opened(folder, home)
    run(runtime, [hour(10)])
    driver = DRIVERS[cloud.played.dialect]
    whole = driver.run

    def killed(self: Any, groups: Any) -> None:
        merging = any(len(group) > 1 for group in groups)
        if not merging or when == "behind":
            whole(self, groups)
        if merging:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(driver, "run", killed)
        with pytest.raises(KeyboardInterrupt):
            load(runtime, hour(10))
    assert cloud.ask("SELECT count(*) FROM marts.readings") == [(0 if when == "before" else 6,)]
    report = load(runtime, hour(10))
    assert (report.facts["inserted"], report.facts["updated"]) == ((6 if when == "before" else 0), 0)
    assert cloud.ask("SELECT id, value FROM marts.readings ORDER BY id") == [(n, n / 2) for n in range(6)]
    assert cloud.ask("SELECT count(*) FROM marts.orchestrai_loads") == [(1,)] and cloud.faults() == []


@pytest.mark.parametrize(
    "spoil", ["DELETE FROM marts.readings WHERE id = 2", "UPDATE marts.readings SET value = 77 WHERE id = 2"]
)
def test_a_merge_after_which_rows_are_not_those_of_the_files_changes_nothing(
    tmp_path: Path, cloud: Cloud, spoil: str
) -> None:
    folder, home = merged(tmp_path, cloud), tmp_path / "home"
    fill(home, reading(1, value=1), reading(2, value=2))
    runtime = opened(folder, home)
    run(runtime, [hour(10)])
    load(runtime, hour(10))
    fill(home, reading(3, value=3))
    run(runtime, [hour(10)])
    whole = cloud.played.said

    def spoiled(text: str) -> list[str]:
        """What a rule on the table might do to an insert."""
        return [
            again
            for one in whole(text)
            for again in (
                [one, "DELETE FROM marts.readings WHERE id = 2"]
                if 'insert into "marts"."readings"' in one.lower()
                else [one]
            )
        ]

    if cloud.played.dialect == "redshift":
        one = cloud.service._one
        cloud.service._one = lambda sql: (
            [one(sql), cloud.ask(spoil)][0] if ('INSERT INTO "marts"."readings"' in sql) else one(sql)
        )
    else:
        cloud.played.said = spoiled  # type: ignore[method-assign]
    with pytest.raises(IntegrityError, match="expected 3 rows of plant/readings/restored"):
        load(runtime, hour(10))
    assert cloud.ask("SELECT id, value FROM marts.readings ORDER BY id") == [(1, 1.0), (2, 2.0)]
    assert cloud.staged == [] and cloud.faults() == []


def test_a_newer_version_that_was_loaded_meanwhile_is_not_written_over(
    tmp_path: Path, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, home = merged(tmp_path, cloud), tmp_path / "home"
    fill(home, reading(1, value=1))
    runtime = opened(folder, home)
    run(runtime, [hour(10)])
    load(runtime, hour(10))
    cloud.ask("UPDATE marts.readings SET value = 5")
    driver = DRIVERS[cloud.played.dialect]
    whole = driver.run

    def late(self: Any, groups: Any) -> None:
        if any(len(group) > 1 for group in groups):
            cloud.ask("UPDATE marts.orchestrai_loads SET seq = 1000")
        whole(self, groups)

    with monkeypatch.context() as patch:
        patch.setattr(driver, "run", late)
        with pytest.raises(IntegrityError, match="loaded meanwhile"):
            load(runtime, hour(10))
    assert cloud.ask("SELECT value FROM marts.readings") == [(5.0,)] and cloud.staged == []


def test_no_key_and_an_older_version_are_not_merged(tmp_path: Path, cloud: Cloud) -> None:
    folder, home = merged(tmp_path, cloud), tmp_path / "home"
    fill(home, reading(1, value=1))
    runtime = opened(folder, home)
    run(runtime, [hour(10)])
    load(runtime, hour(10))
    cloud.ask("UPDATE marts.orchestrai_loads SET seq = 1000")
    cloud.ask("DELETE FROM marts.readings")
    assert load(runtime, hour(10)).facts["inserted"] == 0 and cloud.ask("SELECT count(*) FROM marts.readings") == [(0,)]
    fill(home, reading(1, value=2))
    run(runtime, [hour(10)])
    with pytest.raises(ConfigError, match="1 values twice"):
        load(runtime, hour(10))
    assert cloud.staged == [] and cloud.faults() == []


def test_without_the_connector_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "snowflake.connector", None)
    target = targets.open_target("snowflake://ann@acct/shop/marts?warehouse=w", "t", tmp_path)
    with pytest.raises(MissingExtra, match=r"orchestrai\[snowflake\]"), target.transaction():
        pass


def test_a_password_beside_a_load_is_refused_when_it_is_declared(tmp_path: Path) -> None:
    url = "snowflake://ann@acct/shop/marts?warehouse=w&token=canary"
    with pytest.raises(DeclarationError, match="without credentials") as caught:
        opened(declared(tmp_path / "plant", url), tmp_path / "home")
    assert "canary" not in str(caught.value)
