"""Days of costs drawn on one page, when somebody looks."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from orchestrai.core.html.frame import PageSection, page
from orchestrai.core.html.markup import Markup, joined
from orchestrai.core.html.parts import counted, paragraph, table
from orchestrai.core.html.svg_plot import Plot, Series, ends_and_middle, figure, plots
from orchestrai.pipeline.costs.budgets import BudgetUse
from orchestrai.pipeline.costs.day_costs import DayCost, summed

Measure = Callable[[DayCost], float]


def cost_page(pipelines: Mapping[str, Sequence[DayCost]], budgets: Iterable[BudgetUse] = ()) -> str:
    """One HTML page: bars a day for CPU, bytes and money, and a table by asset, for each pipeline."""
    uses = list(budgets)
    sections = [
        PageSection(name, cost_parts(days, [use for use in uses if use.pipeline == name]))
        for name, days in pipelines.items()
    ]
    lead = paragraph("What the runs of each pipeline used, a bar a day (UTC).", state="dim")
    return page("What runs cost", lead if sections else paragraph("Nothing ran."), sections)


def cost_parts(days: Sequence[DayCost], uses: Sequence[BudgetUse]) -> Markup:
    """The days of one pipeline: budgets, bars, and what each asset took."""
    if not days:
        return paragraph("Nothing ran in these days.")
    told = [paragraph(f"Budget: {use.told} ({use.declared}).", state="bad" if use.share >= 1 else "") for use in uses]
    if not any(day.total.priced for day in days):
        told.append(paragraph("No price applies here, so nothing is said of money.", state="dim"))
    return joined((*told, plots(*cost_plots(days)), _assets(days)))


def cost_plots(days: Sequence[DayCost]) -> Iterator[Markup]:
    """CPU, bytes and, where prices apply, money by day."""
    yield _bars(days, "CPU seconds a day", "CPU s", lambda day: day.cpu_seconds)
    yield _bars(days, "MB read and written a day", "MB", _megabytes)
    if any(day.total.priced for day in days):
        yield _bars(days, "USD a day, by the prices that apply", "USD", lambda day: day.total.usd)


def _megabytes(day: DayCost) -> float:
    return (day.total.bytes_read + day.total.bytes_written) / 1e6


def _bars(days: Sequence[DayCost], title: str, unit: str, measure: Measure) -> Markup:
    values = [measure(day) for day in days]
    names = [day.day for day in days]
    most = max(range(len(days)), key=lambda place: values[place])
    about = f"{counted(len(days), 'day')}, {sum(values):,.4g} {unit} in all; the most on {names[most]}, {values[most]:,.4g} {unit}."
    series = Series(unit, list(enumerate(values)), "bars")
    rows = [(name, round(value, 6)) for name, value in zip(names, values, strict=True)]
    return figure(Plot(title, about, (series,), ends_and_middle(names), columns=("day", unit), rows=rows))


def _assets(days: Sequence[DayCost]) -> Markup:
    sums = summed(part for day in days for part in day.by_asset.items())
    rows = (
        (
            asset,
            one.runs,
            one.failed + one.refused,
            round(one.cpu_seconds, 2),
            round(one.wall_seconds, 2),
            one.objects_read,
            one.objects_written,
            f"{one.usd:,.6f}" if one.priced else "-",
        )
        for asset, one in sorted(sums.items(), key=lambda item: (-item[1].usd, -item[1].cpu_seconds, item[0]))
    )
    names = ("asset", "runs", "failed or refused", "CPU s", "wall s", "objects read", "objects written", "USD")
    return table("By asset, the dearest first", names, rows)
