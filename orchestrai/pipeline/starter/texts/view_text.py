"""The first feature view and label as SQL of the portable subset."""

import math
from collections.abc import Iterator

from orchestrai.core.yaml.yaml_text import one_line
from orchestrai.pipeline.starter.column_guess import Guess
from orchestrai.pipeline.starter.shape import DAY
from orchestrai.pipeline.starter.starter import Findings
from orchestrai.pipeline.starter.texts.contract_text import several

# the moment of rows that have none: any will do, as long as it is the same
NO_TIME = "CAST('2020-01-01 00:00:00' AS TIMESTAMP)"
_MOST = 9e18


def entity_of(findings: Findings) -> str:
    """The column of the view that says whose features they are."""
    shape = findings.shape
    if shape.numbered:
        return "row_id" if several(findings) else "row_no"
    if shape.series_of_file:
        return "object_name"
    return shape.entity.name if shape.entity is not None else "series"


def time_of(findings: Findings) -> str:
    """The column of the view that dates a row."""
    return findings.shape.time.name if findings.shape.time is not None else "ts"


def view_text(findings: Findings) -> str:
    """The view."""
    kinds = {"table": _table_view, "series": _series_view, "events": _events_view}
    return "\n".join(kinds[findings.shape.kind](findings)) + "\n"


def label_text(findings: Findings) -> str:
    """The label."""
    kinds = {"table": _table_label, "series": _series_label, "events": _events_label}
    return "\n".join(kinds[findings.shape.kind](findings)) + "\n"


def _clock(findings: Findings) -> str:
    return time_of(findings) if findings.shape.time is not None else f"{NO_TIME} AS ts"


def _table_view(findings: Findings) -> Iterator[str]:
    shape = findings.shape
    yield "-- Each row as the file says it." + (
        "" if shape.time is not None else " It has no clock, so every row is given the same moment."
    )
    yield from (f"-- left out: {name}, {one_line(why)}" for name, why in shape.left_out.items())
    columns = [entity_of(findings), _clock(findings), *(_feature(guess) for guess in shape.features)]
    yield "SELECT " + ",\n  ".join(columns)
    yield f"FROM {findings.dataset}"


def _feature(guess: Guess) -> str:
    return (
        f"CAST({guess.name} AS DOUBLE) AS {guess.name}" if guess.type not in ("DOUBLE", "STRING", "BOOLEAN") else guess.name
    )


def _table_label(findings: Findings) -> Iterator[str]:
    target = findings.shape.target
    assert target is not None
    yield f"-- {target.guess.name} is what is learnt: {one_line(target.why)}{'' if target.sure else ' (unsure: name another column here)'}."
    yield f"SELECT {entity_of(findings)}, {_clock(findings)}, {target.label} AS label"
    yield f"FROM {findings.dataset}"
    yield f"WHERE {target.guess.name} IS NOT NULL"


def _scale(guess: Guess) -> int:
    """What makes whole numbers of a column, so that sums are the same on every engine; 0 where they would not fit."""
    import pyarrow.compute as pc

    bounds = pc.min_max(guess.values).as_py()
    if bounds["min"] is None:
        return 0
    most = max(abs(float(bounds["min"])), abs(float(bounds["max"])), 1.0) * 100_000
    wanted = [1] if guess.type == "BIGINT" else [10_000, 1_000, 100, 10]
    if guess.type != "BIGINT" and float(bounds["max"]) < 0.01:
        wanted = [10_000_000, *wanted]
    return next((scale for scale in wanted if most * scale * scale < _MOST or (scale <= 10 and most * scale < _MOST)), 0)


def _moments_of(findings: Findings, guesses: list[tuple[Guess, int]]) -> Iterator[str]:
    """One row a moment, of whole numbers: a value that was delivered twice counts once."""
    entity, time = entity_of(findings), time_of(findings)
    inner = "'all' AS series" if entity == "series" else entity
    values = [f"{{{{ fixed({guess.name}, {scale}) }}}} AS v{number}" for number, (guess, scale) in enumerate(guesses)]
    most = ", ".join(f"MAX(v{number}) AS v{number}" for number in range(len(guesses)))
    yield f"  SELECT {entity}, {time}, {most}"
    yield f"  FROM (SELECT {inner}, {time}, {', '.join(values)} FROM {findings.dataset}) AS whole"
    yield f"  GROUP BY {entity}, {time}"


def series_values(findings: Findings) -> list[tuple[Guess, int]]:
    """The value that is forecast, then others beside it, each with what makes whole numbers of it."""
    shape = findings.shape
    assert shape.target is not None
    ordered = [shape.target.guess, *(g for g in shape.features if g is not shape.target.guess)]
    return [(guess, scale) for guess in ordered if (scale := _scale(guess))]


def _series_view(findings: Findings) -> Iterator[str]:
    shape = findings.shape
    entity, time = entity_of(findings), time_of(findings)
    season, long = shape.window, max(shape.window, 6 * shape.step)
    yield f"-- Per moment: the value, its last six steps, its last {long} seconds, and where in the day and week it lies."
    yield "WITH moments AS ("
    values = series_values(findings)
    yield from _moments_of(findings, values)
    yield ")"
    yield f"SELECT {entity}, {time},"
    for number, (guess, scale) in enumerate(values):
        yield f"  CAST(v{number} AS DOUBLE) / CAST({scale} AS DOUBLE) AS {guess.name}_now,"
    scale = values[0][1]
    yield f"  {{{{ rolling_avg(v0, {scale}, last6) }}}} AS avg_6,"
    yield f"  {{{{ rolling_std(v0, {scale}, last6) }}}} AS std_6,"
    yield f"  {{{{ rolling_avg(v0, {scale}, longer) }}}} AS avg_long,"
    yield f"  CAST(MIN(v0) OVER longer AS DOUBLE) / CAST({scale} AS DOUBLE) AS min_long,"
    yield f"  CAST(MAX(v0) OVER longer AS DOUBLE) / CAST({scale} AS DOUBLE) AS max_long,"
    if season > shape.step:
        yield f"  CAST(MAX(v0) OVER before AS DOUBLE) / CAST({scale} AS DOUBLE) AS season_before,"
    days = f"CAST(FLOOR(UNIX_MICROS({time}) / 86400000000) AS BIGINT)"
    yield f"  CAST(UNIX_MICROS({time}) - {days} * 86400000000 AS DOUBLE) / CAST(3600000000 AS DOUBLE) AS hour_of_day,"
    yield f"  {days} + 3 - CAST(FLOOR(({days} + 3) / 7) AS BIGINT) * 7 AS day_of_week"
    yield "FROM moments"
    frame = f"PARTITION BY {entity} ORDER BY {time} RANGE BETWEEN INTERVAL"
    windows = [
        f"last6 AS ({frame} {5 * shape.step} SECONDS PRECEDING AND CURRENT ROW)",
        f"longer AS ({frame} {long} SECONDS PRECEDING AND CURRENT ROW)",
    ]
    if season > shape.step:
        ago = season - shape.step
        windows.append(f"before AS ({frame} {ago} SECONDS PRECEDING AND INTERVAL {ago} SECONDS PRECEDING)")
    yield "WINDOW " + ",\n  ".join(windows)


def _series_label(findings: Findings) -> Iterator[str]:
    shape, target = findings.shape, findings.shape.target
    assert target is not None
    entity, time = entity_of(findings), time_of(findings)
    first = series_values(findings)[:1]
    yield f"-- The next {target.guess.name}, at most {shape.horizon} seconds later."
    yield "WITH moments AS ("
    yield from _moments_of(findings, first)
    yield "), later AS ("
    yield f"  SELECT {entity}, {time}, MAX(v0) OVER ahead AS v FROM moments"
    yield f"  WINDOW ahead AS (PARTITION BY {entity} ORDER BY {time}"
    yield f"    RANGE BETWEEN INTERVAL 1 MICROSECOND FOLLOWING AND INTERVAL {shape.horizon} SECONDS FOLLOWING)"
    yield ")"
    yield f"SELECT {entity}, {time}, CAST(v AS DOUBLE) / CAST({first[0][1]} AS DOUBLE) AS label"
    yield "FROM later"
    yield "WHERE v IS NOT NULL"


def _name_of_span(seconds: int) -> str:
    return f"{seconds // DAY}d" if seconds % DAY == 0 else f"{math.ceil(seconds / 3600)}h"


def _events_view(findings: Findings) -> Iterator[str]:
    shape, table = findings.shape, findings.dataset
    entity, time = entity_of(findings), time_of(findings)
    span, short = _name_of_span(shape.window), shape.window // 4
    yield f"-- Per {entity} and as-of moment: what happened in the last {span}."
    yield f"SELECT s.{entity}, s.as_of,"
    yield f"  COUNT(e.{time}) AS events_{span},"
    yield f"  COUNT(CASE WHEN e.{time} >= s.as_of - INTERVAL {short} SECONDS THEN 1 END) AS events_{_name_of_span(short)},"
    for guess in shape.features:
        scale = _scale(guess)
        if scale:
            whole = f"CAST(COALESCE(CAST(SUM({{{{ fixed(e.{guess.name}, {scale}) }}}}) AS BIGINT), 0) AS DOUBLE)"
            yield f"  {whole} / CAST({scale} AS DOUBLE) AS {guess.name}_{span},"
    yield f"  CAST(FLOOR((UNIX_MICROS(s.as_of) - MAX(UNIX_MICROS(e.{time}))) / 3600000000) AS BIGINT) AS hours_since_last,"
    yield f"  CAST(FLOOR((UNIX_MICROS(s.as_of) - MIN(UNIX_MICROS(e.{time}))) / 3600000000) AS BIGINT) AS hours_since_first"
    yield f"FROM spine AS s JOIN {table} AS e ON e.{entity} = s.{entity} AND e.{time} < s.as_of"
    yield f"GROUP BY s.{entity}, s.as_of"


def _events_label(findings: Findings) -> Iterator[str]:
    shape, table = findings.shape, findings.dataset
    entity, time = entity_of(findings), time_of(findings)
    counted = f"COUNT(e.{time})" if shape.count else f"CASE WHEN COUNT(e.{time}) > 0 THEN 1 ELSE 0 END"
    what = "How often" if shape.count else "1 where"
    yield f"-- {what} the {entity} is seen in [as_of, as_of + {_name_of_span(shape.horizon)}) (unsure: ask what you want to know)."
    yield f"SELECT s.{entity}, s.as_of, {counted} AS label"
    yield "FROM spine AS s"
    yield f"LEFT JOIN {table} AS e ON e.{entity} = s.{entity}"
    yield f"  AND e.{time} >= s.as_of AND e.{time} < s.as_of + INTERVAL {shape.horizon} SECONDS"
    yield f"GROUP BY s.{entity}, s.as_of"
