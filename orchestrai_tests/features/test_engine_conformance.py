"""What every engine of features must do, run against ours."""

from typing import Any

import pytest

from orchestrai.conformance.engine_suite import EngineConformance
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.engines.engine import Engine
from orchestrai.features.engines.spark_engine import SparkEngine


class TestDuckDb(EngineConformance):
    """Over two threads, each window by its own sort: another plan than the reference has."""

    @pytest.fixture
    def engine(self) -> Engine:
        """As a machine with two cores runs it."""
        return DuckDbEngine(threads=2, one_sort=False)


@pytest.mark.spark
class TestSpark(EngineConformance):
    """On the tests' session."""

    @pytest.fixture
    def engine(self, spark_session: Any) -> Engine:
        """Spark."""
        return SparkEngine(lambda: spark_session)
