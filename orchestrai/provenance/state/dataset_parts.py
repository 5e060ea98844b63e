"""Datasets on the page of the state: what each holds, and its days drawn."""

from collections.abc import Iterator, Mapping, Sequence

from orchestrai.core.html.markup import Markup, element, joined
from orchestrai.core.html.parts import size_of, table
from orchestrai.core.html.svg_plot import Plot, Series, ends_and_middle, figure, plots
from orchestrai.core.identity import describe
from orchestrai.pipeline.reports.overview import Overview
from orchestrai.provenance.state.dataset_days import DatasetDay

COLUMNS = ("dataset", "state", "partitions", "rows", "size", "version", "RPO now", "last restore, s", "dead letters")


def dataset_table(told: Overview) -> Markup:
    """Every dataset with its state in words."""
    points = {point.dataset: point for point in told.all_points}
    rows = []
    for pipeline in told.summaries:
        for one in pipeline.datasets:
            name = f"{pipeline.name}/{one.name}"
            point = points.get(name)
            waiting = len(one.refused) + len(one.held_back)
            state = "proven" if one.proven else "not restored as it is now" if one.partitions else "nothing yet"
            told_state = state if not waiting else f"{state}; {waiting} at the gate"
            rows.append(
                (
                    name,
                    element("span", told_state, class_="good" if one.proven and not waiting else "warn"),
                    one.partitions,
                    one.rows,
                    size_of(one.bytes),
                    element("code", describe(one.raw_version)) if one.raw_version else "",
                    "-" if point is None else point.message if not point.passed else "kept",
                    one.restore_seconds,
                    one.dead_letters,
                )
            )
    caption = "Proven: raw events, snapshot and restored data are one version, byte for byte"
    return table(caption, COLUMNS, rows)


def dataset_plots(days: Mapping[str, Sequence[DatasetDay]]) -> Markup:
    """Volume and freshness of each dataset that is cut by time."""
    return joined(
        joined((element("h3", name), plots(*_plots(name, some)))) if some else joined(()) for name, some in days.items()
    )


def _plots(name: str, days: Sequence[DatasetDay]) -> Iterator[Markup]:
    yield figure(_volume(name, days))
    fresh = [(place, day) for place, day in enumerate(days) if day.behind_seconds is not None]
    if fresh:
        yield figure(_freshness(name, days, fresh))


def _volume(name: str, days: Sequence[DatasetDay]) -> Plot:
    published = [(float(place), float(day.rows)) for place, day in enumerate(days) if day.state == "published"]
    held, refused = (
        [(float(place), float(day.rows)) for place, day in enumerate(days) if day.state == state]
        for state in ("held", "refused")
    )
    waiting = [f"{day.partition} ({day.state})" for day in days if day.state != "published"]
    band = [(float(place), d.low, d.high) for place, d in enumerate(days) if d.low is not None and d.high is not None]
    about = f"{name}, {len(days)} partitions, {sum(day.rows for day in days if day.state == 'published'):,} rows published."
    about += f" At the gate: {', '.join(waiting[:6])}{' and more' if len(waiting) > 6 else ''}." if waiting else ""
    about += "" if band else " Its history is too short for a band of what is expected."
    rows = [(day.partition, day.state, day.rows, _bound(day.low), _bound(day.high)) for day in reversed(days)]
    series = (
        Series("rows", published),
        Series("held", held, "marks", "warn"),
        Series("refused", refused, "marks", "bad"),
    )
    ticks = ends_and_middle([day.partition for day in days])
    columns = ("partition", "state", "rows", "at least", "at most")
    return Plot("Volume: rows by partition", about, series, ticks, band, "expected", columns=columns, rows=rows)


def _bound(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _freshness(name: str, days: Sequence[DatasetDay], fresh: Sequence[tuple[int, DatasetDay]]) -> Plot:
    hours = [(float(place), (day.behind_seconds or 0.0) / 3600) for place, day in fresh]
    worst = max(fresh, key=lambda pair: pair[1].behind_seconds or 0.0)[1]
    unit, scale = ("hours", 1.0) if max(value for _, value in hours) >= 1 else ("minutes", 60.0)
    about = (
        f"{unit.capitalize()} from the newest event of a partition of {name} to its end, or to the run that took it; the longest on "
        f"{worst.partition}, {(worst.behind_seconds or 0.0) / 3600 * scale:,.1f} {unit}."
    )
    ticks = ends_and_middle([day.partition for day in days])
    series = (Series(unit, [(x, y * scale) for x, y in hours], "line", "three"),)
    rows = [(days[int(x)].partition, round(y * scale, 2)) for x, y in reversed(hours)]
    return Plot(f"Freshness: {unit} without an event", about, series, ticks, columns=("partition", unit), rows=rows)
