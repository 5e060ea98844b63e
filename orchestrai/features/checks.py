"""How much of what is known has features, and how old the newest are: two warnings of the features stage."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from orchestrai.core.canonical import JsonValue
from orchestrai.core.sql.quoting import all_quoted, quoted
from orchestrai.core.verdict import Verdict
from orchestrai.features.engines.duckdb_engine import DuckDbEngine, moment_sql, source_sql
from orchestrai.features.engines.engine import Source
from orchestrai.features.views.input_table import Table
from orchestrai.features.views.view import FeatureView
from orchestrai.features.views.view_inputs import time_bounds


def coverage(
    engine: DuckDbEngine,
    view: FeatureView,
    source: Source,
    files: Sequence[Path],
    keep: tuple[datetime, datetime] | None,
    least: float,
) -> Verdict:
    """`coverage`: entities with features over entities in the input, those of the span to keep where there is one."""
    if (known := known_entity(source.table, view.entity, keep)) is None:
        return coverage_verdict(source.table.name, None, 0, least)
    names = all_quoted(view.entity)
    with engine.connect() as workspace:
        seen = f"SELECT count(*) FROM (SELECT DISTINCT {names} FROM ({source_sql(source, workspace.paths)}) WHERE {known})"
        have = f"SELECT count(*) FROM (SELECT DISTINCT {names} FROM read_parquet({workspace.paths(files)}))"
        wanted, with_features = (int(workspace.connection.execute(sql).fetchall()[0][0]) for sql in (seen, have))
    return coverage_verdict(source.table.name, wanted, with_features, least)


def known_entity(table: Table, entity: Sequence[str], keep: tuple[datetime, datetime] | None) -> str | None:
    """The SQL test of the rows whose entities are to have features; None where the table does not name the entity."""
    if not set(entity) <= set(table.schema.names):
        return None
    known = " AND ".join(f"{quoted(name)} IS NOT NULL" for name in entity)
    if keep is not None and table.event_time is not None:
        low, high = (moment_sql(moment) for moment in keep)
        time = quoted(table.event_time)
        known += f" AND {time} >= {low} AND {time} < {high}"
    return known


def coverage_verdict(table: str, wanted: int | None, with_features: int, least: float) -> Verdict:
    """`coverage` of so many entities of a table, of which so many have features; None where the table does not name them."""
    if wanted is None:
        return Verdict("coverage", True, f"{table} does not name the entity: not counted", "warn")
    share = with_features / wanted if wanted else 1.0
    message = (
        f"expected features of at least {least:.0%} of {wanted} entities in {table}, found {with_features}: "
        "look at what the view filters away"
    )
    details: dict[str, JsonValue] = {"entities": wanted, "with_features": with_features, "share": round(share, 6)}
    return Verdict("coverage", share >= least, "" if share >= least else message, "warn", details)


def freshness(view: FeatureView, files: Sequence[Path], now: datetime, most: timedelta) -> Verdict:
    """`freshness`: the age of the newest row."""
    bounds = time_bounds(files, view.time)
    if bounds is None:
        return Verdict("freshness", False, "expected rows in the newest partition, found none: look at its input", "warn")
    return _aged(bounds[1], now, most)


def aged(verdict: Verdict, now: datetime, most: timedelta) -> Verdict:
    """A verdict as of now: `freshness` of features that did not change since it was given is another one today."""
    newest = verdict.details.get("newest")
    if verdict.check != "freshness" or not isinstance(newest, str):
        return verdict
    return _aged(datetime.fromisoformat(newest), now, most)


def _aged(newest: datetime, now: datetime, most: timedelta) -> Verdict:
    age = now - newest
    message = (
        f"expected features at most {most} old, found {newest:%Y-%m-%d %H:%M:%S} ({age} ago): look at the stages before"
    )
    details: dict[str, JsonValue] = {"newest": newest.isoformat(), "age_seconds": round(age.total_seconds())}
    return Verdict("freshness", age <= most, "" if age <= most else message, "warn", details)
