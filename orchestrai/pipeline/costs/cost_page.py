"""Days of costs drawn on one page, when somebody looks: SVG without a library, everything in the file."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape

from orchestrai.pipeline.costs.budgets import BudgetUse
from orchestrai.pipeline.costs.day_costs import DayCost, summed

WIDTH, HEIGHT, LEFT, GAP = 720, 140, 70, 3
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}"
    "table{border-collapse:collapse;margin:.5rem 0 2rem}td,th{padding:.2rem .8rem .2rem 0;text-align:left}"
    "td.n{text-align:right;font-variant-numeric:tabular-nums}svg{display:block;max-width:100%}"
    "rect.bar{fill:#3b6ea8}text{font:11px system-ui,sans-serif;fill:#57606a}.over{color:#a40e26}"
)
Measure = Callable[[DayCost], float]


def cost_page(pipelines: Mapping[str, Sequence[DayCost]], budgets: Iterable[BudgetUse] = ()) -> str:
    """One HTML page: bars a day for CPU, bytes and money, and a table by asset, for each pipeline."""
    uses = list(budgets)
    parts = [_pipeline(name, days, [use for use in uses if use.pipeline == name]) for name, days in pipelines.items()]
    body = "".join(parts) or "<p>Nothing ran.</p>"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Costs</title><style>{STYLE}</style>'
        f"<h1>What runs cost</h1>{body}</html>\n"
    )


def _pipeline(name: str, days: Sequence[DayCost], uses: Sequence[BudgetUse]) -> str:
    if not days:
        return f"<h2>{escape(name)}</h2><p>Nothing ran in these days.</p>"
    told = "".join(
        f"<p{' class=over' if use.share >= 1 else ''}>Budget: {escape(use.told)} ({escape(use.declared)}).</p>"
        for use in uses
    )
    charts = [("CPU seconds", lambda day: day.cpu_seconds), ("MB read and written", _megabytes)]
    if any(day.total.priced for day in days):
        charts.append(("USD, by the prices that apply", lambda day: day.total.usd))
    else:
        told += "<p>No price applies here, so nothing is said of money.</p>"
    drawn = "".join(f"<h3>{escape(title)}</h3>{_bars(days, measure)}" for title, measure in charts)
    return f"<h2>{escape(name)}</h2>{told}{drawn}<h3>By asset</h3>{_assets(days)}"


def _megabytes(day: DayCost) -> float:
    return (day.total.bytes_read + day.total.bytes_written) / 1e6


def _bars(days: Sequence[DayCost], measure: Measure) -> str:
    most = max((measure(day) for day in days), default=0.0) or 1.0
    step = (WIDTH - LEFT) / len(days)
    bars = []
    for number, day in enumerate(days):
        height = HEIGHT * measure(day) / most
        at = LEFT + number * step
        bars.append(
            f'<rect class="bar" x="{at:.1f}" y="{HEIGHT - height:.1f}" width="{max(1.0, step - GAP):.1f}" height="{height:.1f}">'
            f"<title>{escape(day.day)}: {measure(day):,.4g}</title></rect>"
        )
    ends = f'<text x="{LEFT}" y="{HEIGHT + 14}">{escape(days[0].day)}</text>'
    if len(days) > 1:
        ends += f'<text x="{WIDTH}" y="{HEIGHT + 14}" text-anchor="end">{escape(days[-1].day)}</text>'
    scale = f'<text x="{LEFT - 6}" y="11" text-anchor="end">{most:,.4g}</text>'
    size = f'width="{WIDTH}" height="{HEIGHT + 20}" viewBox="0 0 {WIDTH} {HEIGHT + 20}"'
    return f'<svg {size} role="img">{"".join(bars)}{scale}{ends}</svg>'


def _assets(days: Sequence[DayCost]) -> str:
    sums = summed(part for day in days for part in day.by_asset.items())
    rows = "".join(
        f"<tr><td>{escape(asset)}</td><td class=n>{one.runs:,}</td><td class=n>{one.failed + one.refused:,}</td>"
        f"<td class=n>{one.cpu_seconds:,.2f}</td><td class=n>{one.wall_seconds:,.2f}</td>"
        f"<td class=n>{one.objects_read:,}</td><td class=n>{one.objects_written:,}</td>"
        f"<td class=n>{f'{one.usd:,.6f}' if one.priced else '-'}</td></tr>"
        for asset, one in sorted(sums.items(), key=lambda item: (-item[1].usd, -item[1].cpu_seconds, item[0]))
    )
    names = ("asset", "runs", "failed or refused", "CPU s", "wall s", "objects read", "objects written", "USD")
    return f"<table><tr>{''.join(f'<th>{name}</th>' for name in names)}</tr>{rows}</table>"
