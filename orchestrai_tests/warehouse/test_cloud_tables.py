"""BigQuery and Redshift by their published interfaces: files staged, loaded and put in place by one transaction that counts."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrai.errors import ConfigError, IntegrityError, StorageError
from orchestrai.warehouse import targets
from orchestrai_tests.clouds.played_clouds import Cloud, played_cloud
from orchestrai_tests.ingest.declaring import hour, opened, reading, run
from orchestrai_tests.warehouse.test_warehouse import declared, fill, load


@pytest.fixture(params=["bigquery", "redshift"])
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
            again for one in found for again in ([one, one] if one.startswith('INSERT INTO "marts"."readings"') else [one])
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
        ("redshift-data://wg/db?staging=s3://b&role=x&region=us-east-1", "ARN"),
    ],
)
def test_a_wrong_url_of_a_cloud_is_told(tmp_path: Path, url: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        targets.open_target(url, "t", tmp_path)
