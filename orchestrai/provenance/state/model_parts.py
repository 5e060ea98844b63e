"""Models on the page of the state: what serves, what was refused and why, how they moved."""

from collections.abc import Iterator, Mapping, Sequence

from orchestrai.contracts.population_stability import DRIFTED
from orchestrai.core.html.markup import Child, Markup, element, joined
from orchestrai.core.html.parts import command, counted, minute_of, note, paragraph, png_picture, table
from orchestrai.core.html.svg_plot import Plot, Series, figure, plots
from orchestrai.provenance.state.model_versions import ModelState, VersionState

COLUMNS = ("version", "state", "registered (UTC)", "metric", "value", "95 % interval", "why")
STATES: Mapping[str, str] = {"serves": "good", "refused": "bad", "withdrawn": "bad"}


def model_section(one: ModelState, pages: Mapping[str, str]) -> Markup:
    """A model with its versions; `pages` are addresses of the pages of versions, by version."""
    champion = next((v for v in one.versions if v.version == one.serves), None)
    lead = (
        paragraph(f"{champion.short} serves: {champion.reason}.", state="good")
        if champion is not None
        else note("No version of it serves.", state="warn" if one.versions else "")
    )
    typed = (
        [f"orchestrai model page {one.name}@{champion.short} --out {one.prefix.replace('/', '-')}.html"] if champion else []
    )
    if len([v for v in one.versions if v.state == "served"]):
        typed.append(f'orchestrai model rollback {one.name} --reason "WHY"')
    rows = (_row(version, pages) for version in one.versions)
    drawn = plots(*_plots(one)) if one.versions else None
    return joined(
        (
            element("h3", one.name),
            lead,
            table(f"Versions of {one.name}, newest first", COLUMNS, rows),
            drawn,
            *(command(text) for text in typed),
        )
    )


def _row(one: VersionState, pages: Mapping[str, str]) -> Sequence[Child]:
    name = element("code", one.short)
    linked = element("a", name, href=pages[one.version]) if one.version in pages else name
    span = "" if one.low is None or one.high is None else f"{one.low:.4f} to {one.high:.4f}"
    value = "" if one.value is None else f"{one.value:.4f}"
    state = element("span", one.state, class_=STATES.get(one.state))
    return linked, state, minute_of(one.registered), one.metric, value, span, one.reason


def _plots(one: ModelState) -> Iterator[Markup]:
    told = [version for version in reversed(one.versions) if version.value is not None]
    if len(told) > 1:
        yield _figures(one, told)
    if one.drift:
        points = [(float(place), told.largest) for place, told in enumerate(one.drift)]
        last = one.drift[-1]
        about = (
            f"The feature that moved most since training, as {counted(len(one.drift), 'prediction')} found; last {last.largest:.3f} on "
            f"{minute_of(last.time)}. Above {DRIFTED} counts as moved."
        )
        rows = [(minute_of(told.time), round(told.largest, 4)) for told in reversed(one.drift)]
        series = (Series("stability index", points, "line", "two"),)
        ticks = _ends([minute_of(told.time)[:10] for told in one.drift])
        columns = ("predicted (UTC)", "population stability index")
        yield figure(Plot("Drift", about, series, ticks, target=(DRIFTED, "limit"), columns=columns, rows=rows))
    for name, data in sorted(one.pictures.items()):
        what = name.removesuffix(".png").replace("_", " ")
        about = f"{what} of {one.name} on held-out rows, as its evaluation published it; its figures stand in the table of versions"
        yield png_picture(data, "ROC" if what == "roc" else what.capitalize(), about)


def _figures(one: ModelState, told: Sequence[VersionState]) -> Markup:
    metric = told[-1].metric
    kept, refused = (
        [(float(p), v.value or 0.0) for p, v in enumerate(told) if (v.state == "refused") == wanted]
        for wanted in (False, True)
    )
    about = f"{metric} of {len(told)} judged versions of {one.name}, oldest first; {len(refused)} of them refused."
    band = [(float(p), v.low, v.high) for p, v in enumerate(told) if v.low is not None and v.high is not None]
    series = (Series("promoted or waiting", kept), Series("refused", refused, "marks", "bad"))
    ticks = _ends([v.short for v in told])
    return figure(Plot(f"{metric} by version", about, series, ticks, band, "95 % interval"))


def _ends(labels: Sequence[str]) -> list[tuple[float, str]]:
    return [(float(place), labels[place]) for place in sorted({0, len(labels) - 1})] if labels else []
