"""Which engine a view runs on, and where Spark is: read off the settings."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrai.errors import ConfigError
from orchestrai.features.engines.added_engine import AddedEngine
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.engines.engine import Engine
from orchestrai.features.engines.spark_engine import SparkEngine
from orchestrai.features.jobs.exchange import RemoteSparkEngine
from orchestrai.project.url_cover import named
from orchestrai.settings import Settings
from orchestrai.storage.base import Store
from orchestrai.storage.spread.spark_executors import SparkExecutors
from orchestrai.storage.url import open_store
from orchestrai.vault.spread.vault_spread import VaultSpread

if TYPE_CHECKING:
    from orchestrai.features.jobs.cluster_job import Size

Launch = Callable[[str], None]
SERVICES = ("databricks", "dataproc", "synapse", "emr", "emr-serverless")
JOBS = ("subprocess", *SERVICES)
MASTERS = ("local", "spark", "yarn", "k8s", "sc")


def session_settings(url: str) -> dict[str, str]:
    """The configuration of a session for a master (`local[2]`, `spark://host:port`, `yarn`) or a Connect server (`sc://`).

    Raises ConfigError for a URL of another kind.
    """
    if not url:
        return {}
    if re.split(r"[:\[]", url, maxsplit=1)[0] not in MASTERS:
        known = ", ".join(f"{service}:FILE" for service in SERVICES)
        raise ConfigError(
            f"expected a Spark master, sc://host:port, subprocess: or {known}, found {url!r}: correct ORCHESTRAI_SPARK_URL"
        )
    return {"spark.remote" if url.startswith("sc://") else "spark.master": url}


def cluster_url(exchange: str) -> str:
    """The exchange as Spark names it; raises ConfigError for a URL that only we understand.

    Without the name of a connection: a cluster reaches it as its own identity.
    """
    exchange, _ = named(exchange)
    scheme, separator, _ = exchange.partition("://")
    if scheme in ("az", "azure"):
        raise ConfigError(
            f"expected the exchange as Spark names it, found {scheme}://: write abfss://container@account.dfs.core.windows.net/folder"
        )
    if separator:
        return exchange.split("?", 1)[0]
    return Path(exchange).expanduser().resolve().as_uri()


def job_launcher(settings: Settings, tell: Callable[[str], None] | None = None, size: "Size | None" = None) -> Launch:
    """What starts jobs on the service that settings name; `tell` hears of each, `size` chooses workers. Raises ConfigError."""
    from orchestrai.features.jobs.exchange import sent_script
    from orchestrai.features.jobs.launchers import cluster_launcher

    where, _, file = settings.spark_url.partition(":")
    script = sent_script(open_store(settings.spark_exchange), cluster_url(settings.spark_exchange))
    return cluster_launcher(where, file, script, tell=tell, size=size)


def embedded(settings: Settings) -> DuckDbEngine:
    """DuckDB on this machine; files of an embedded lake are read where they lie."""
    return DuckDbEngine(memory_limit=settings.memory_limit, links=settings.home / "scratch")


def engine_for(
    settings: Settings,
    session: Callable[[], object],
    launch: Launch | None,
    wanted: str = "auto",
    choose: Callable[[], str] | None = None,
    workers: "Size | None" = None,
) -> Engine:
    """The engine by the settings, else as the view wants it, else as `choose` says, else DuckDB.

    Raises ConfigError where Spark jobs are chosen and nothing can start them, and for an engine that nobody has.
    """
    choice = settings.engine if settings.engine != "auto" else wanted
    if choice == "auto":
        choice = choose() if choose is not None else "duckdb"
    if choice == "spark":
        return _spark(settings, session, launch, workers)
    return embedded(settings) if choice == "duckdb" else AddedEngine(choice)


def open_session(settings: Settings) -> object:
    """The session of Spark that the settings name."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder
    for name, value in session_settings(settings.spark_url).items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def vault_spread(
    settings: Settings, session: Callable[[], object], store: Store, lake: Store | None = None
) -> VaultSpread | None:
    """The executors that a vault's bytes are stored, read back and restored by; None where it is this process.

    The settings choose them as they choose the engine of features: by `engine`, or by a size from which on. A service that only takes jobs
    has no executors for it, and no more has a Connect server.
    """
    if not executors_chosen(settings):
        return None
    by_size = settings.engine == "auto"
    return VaultSpread(SparkExecutors(session), store, settings.spark_threshold_bytes if by_size else 0, lake)


def executors_chosen(settings: Settings) -> bool:
    """Whether the settings may have Spark's workers read and write stores, by the connections that they are sent."""
    chosen = settings.engine == "spark" or (settings.engine == "auto" and settings.spark_threshold_bytes > 0)
    return chosen and settings.spark_url.partition(":")[0] not in (*JOBS, "sc")


def _spark(
    settings: Settings, session: Callable[[], object], launch: Launch | None, workers: "Size | None" = None
) -> Engine:
    where, _, _ = settings.spark_url.partition(":")
    if where not in JOBS:
        return SparkEngine(session)
    if where not in SERVICES and launch is None:
        raise ConfigError(f"expected a run in Dagster to start Spark jobs by {where}, found none: materialize it in Dagster")
    if not settings.spark_exchange:
        raise ConfigError(f"expected ORCHESTRAI_SPARK_EXCHANGE beside {where}, found none: name a store both sides reach")
    starter = launch or job_launcher(settings, size=workers)
    return RemoteSparkEngine(open_store(settings.spark_exchange), cluster_url(settings.spark_exchange), starter, where)
