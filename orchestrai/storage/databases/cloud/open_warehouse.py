"""From a URL to the warehouse behind it."""

from datetime import timedelta

from orchestrai.errors import ConfigError
from orchestrai.storage.databases.cloud import bigquery_jobs, redshift_data, snowflake_session
from orchestrai.storage.databases.cloud.cloud_url import REDSHIFT, SNOWFLAKE
from orchestrai.storage.databases.cloud.cloud_warehouse import LIMIT, Warehouse


def open_warehouse(url: str, limit: timedelta | None = None) -> Warehouse:
    """The warehouse at a URL, not behind a reference; no statement takes longer than `limit`. Raises ConfigError, MissingExtra."""
    if url.startswith(REDSHIFT):
        return redshift_data.Redshift.at(url, limit or LIMIT)
    if url.startswith(SNOWFLAKE):
        return snowflake_session.Snowflake.at(url, limit or LIMIT)
    return bigquery_jobs.BigQuery.at(url, limit or LIMIT)


def check_warehouse(url: str) -> None:
    """Raise ConfigError, which shows no secret, for a URL that none of them has; nothing is asked."""
    if url.startswith(REDSHIFT):
        redshift_data.redshift_url(url)
    elif url.startswith(SNOWFLAKE):
        if snowflake_session.snowflake_url(url).secrets:
            raise ConfigError(
                "expected a URL without a password, found one with: write where the URL lies, such as env://NAME"
            )
    else:
        bigquery_jobs.bigquery_url(url)
