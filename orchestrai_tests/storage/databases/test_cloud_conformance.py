"""What every table must do that is read on behind a watermark, run against the warehouses of clouds."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from orchestrai.conformance.table_suite import Fill, Opening, Row, TableConformance
from orchestrai.storage.databases.open_table import Place, table_snapshot
from orchestrai.storage.databases.table_port import Relation
from orchestrai_tests.clouds.played_clouds import played_cloud


class TestClouds(TableConformance):
    """Each of them played; windows by files of a bucket or a stage."""

    @pytest.fixture(params=["bigquery", "redshift", "snowflake"])
    def fill(self, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fill]:
        with played_cloud(request.param, tmp_path, monkeypatch) as cloud:

            def fill(rows: Sequence[Row]) -> Opening:
                cloud.ask("CREATE TABLE marts.readings (id bigint, seen_at timestamptz, words varchar)")
                for number, at, words in rows:
                    cloud.played.database.execute("INSERT INTO marts.readings VALUES (?, ?, ?)", [number, at, words])
                return lambda: table_snapshot(Place(cloud.url), Relation("readings"))

            yield fill
            assert cloud.faults() == []
