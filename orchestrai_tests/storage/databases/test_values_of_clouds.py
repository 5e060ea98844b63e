"""Any value of a declared type, loaded into a cloud's warehouse from files and read out of it by files, is the same value."""

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings

from orchestrai.storage.databases.open_table import Place
from orchestrai.warehouse.cloud.cloud_table import CloudTarget
from orchestrai.warehouse.targets import opened_target
from orchestrai_tests.clouds.played_clouds import played_cloud
from orchestrai_tests.storage.databases.test_values_there_and_back import CONTRACT, ROWS, Row, read, table

# each one is a load and a reading by many calls
EXAMPLES = int(os.environ.get("ORCHESTRAI_TEST_TABLE_EXAMPLES", "6"))


@pytest.mark.parametrize("cloud", ["bigquery", "redshift", "snowflake"])
def test_values_are_the_same_there_and_back(cloud: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.parquet"

    @given(rows=ROWS)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize="ORCHESTRAI_TEST_TABLE_EXAMPLES" not in os.environ,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    def there_and_back(rows: list[Row]) -> None:
        pq.write_table(table(rows), path)
        with opened_target(found.url, "things", tmp_path) as target:
            assert isinstance(target, CloudTarget)
            with target.transaction() as on:
                on.prepare(CONTRACT.arrow_schema())
                assert on.replace("all", [path], CONTRACT.names, "v") == len(rows)
                on.note("all", "root", "v", 1, len(rows))
        assert read(Place(found.url)) == [tuple(row) for row in rows]
        assert found.staged == [] and found.faults() == []

    with played_cloud(cloud, tmp_path, monkeypatch) as found:
        there_and_back()
