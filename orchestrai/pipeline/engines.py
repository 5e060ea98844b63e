"""Which engine a view runs on, and where Spark is: read off the settings."""

from collections.abc import Callable
from pathlib import Path

from orchestrai.errors import ConfigError
from orchestrai.features import DuckDbEngine, Engine, RemoteSparkEngine, SparkEngine
from orchestrai.settings import Settings
from orchestrai.storage import open_store

Launch = Callable[[str], None]
JOBS = ("subprocess", "emr", "emr-serverless")


def session_settings(url: str) -> dict[str, str]:
    """The configuration of a session for a master (`local[2]`, `spark://host:port`, `yarn`) or a Connect server (`sc://`)."""
    if not url:
        return {}
    return {"spark.remote" if url.startswith("sc://") else "spark.master": url}


def cluster_url(exchange: str) -> str:
    """The exchange as Spark names it."""
    if "://" in exchange:
        return exchange.split("?", 1)[0]
    return Path(exchange).expanduser().resolve().as_uri()


def embedded(settings: Settings) -> DuckDbEngine:
    """DuckDB on this machine."""
    return DuckDbEngine(memory_limit=settings.memory_limit)


def engine_for(
    settings: Settings, session: Callable[[], object], launch: Launch | None, wanted: str = "auto", size: int = 0
) -> Engine:
    """The engine by the settings, else as the view wants it, else by the size of its input in bytes.

    Raises ConfigError where Spark jobs are chosen and nothing can start them.
    """
    choice = settings.engine if settings.engine != "auto" else wanted
    if choice == "auto":
        threshold = settings.spark_threshold_bytes
        choice = "spark" if threshold and size >= threshold else "duckdb"
    return _spark(settings, session, launch) if choice == "spark" else embedded(settings)


def _spark(settings: Settings, session: Callable[[], object], launch: Launch | None) -> Engine:
    where, _, _ = settings.spark_url.partition(":")
    if where not in JOBS:
        return SparkEngine(session)
    if launch is None:
        raise ConfigError(f"expected a run in Dagster to start Spark jobs by {where}, found none: materialize it in Dagster")
    if not settings.spark_exchange:
        raise ConfigError(f"expected ORCHESTRAI_SPARK_EXCHANGE beside {where}, found none: name a store both sides reach")
    return RemoteSparkEngine(open_store(settings.spark_exchange), cluster_url(settings.spark_exchange), launch, where)
