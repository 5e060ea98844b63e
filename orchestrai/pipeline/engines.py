"""Where Spark is: read off one URL of the settings."""

from collections.abc import Callable
from pathlib import Path

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
