"""Plots as SVG without a library or a script; each has its figures in words and, where asked, as a table."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrai.core.html.markup import Markup, element
from orchestrai.core.html.parts import folded, table

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 560, 210, 54, 10, 26, 24
Colour = Literal["one", "two", "three", "four", "bad", "warn"]
Point = tuple[float, float]
# the widest that a bar is drawn
WIDEST = 42.0


@dataclass(frozen=True)
class Series:
    """Points (x, y) under a name, drawn as a line, as bars from zero, or as marks that stand out."""

    name: str
    points: Sequence[Point]
    drawn: Literal["line", "bars", "marks"] = "line"
    colour: Colour = "one"


@dataclass(frozen=True)
class Plot:
    """What a plot shows. `about` says it in words; `band` are (x, low, high); `target` is a line with its name; `ticks` name places of x.

    `rows` are its figures as a table under `columns`, where a person asks for them.
    """

    title: str
    about: str
    series: Sequence[Series]
    ticks: Sequence[tuple[float, str]] = ()
    band: Sequence[tuple[float, float, float]] = ()
    band_name: str = ""
    target: tuple[float, str] | None = None
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str | int | float]] = ()


def figure(plot: Plot) -> Markup:
    """The plot with its title, its words and its table."""
    drawn = _svg(plot) if any(one.points for one in plot.series) else element("p", "Nothing was measured yet.")
    listed = folded("As a table", table(plot.title, plot.columns, plot.rows)) if plot.rows else None
    return element("figure", element("figcaption", plot.title), drawn, element("p", plot.about), listed)


def plots(*figures: Markup) -> Markup:
    """Figures side by side where there is room."""
    return element("div", *figures, class_="plots")


def ends_and_middle(labels: Sequence[str]) -> list[tuple[float, str]]:
    """Ticks for points that are named one by one: the first, the middle, the last."""
    places = sorted({0, len(labels) // 2, len(labels) - 1}) if len(labels) > 4 else range(len(labels))
    return [(float(place), labels[place]) for place in places]


@dataclass(frozen=True)
class _Scale:
    """From data to places in the picture; `pad` is left free on both sides, for bars."""

    first: float
    last: float
    top: float
    pad: float

    def x(self, value: float) -> float:
        width = WIDTH - LEFT - RIGHT - 2 * self.pad
        share = (value - self.first) / (self.last - self.first) if self.last > self.first else 0.5
        return LEFT + self.pad + share * width

    def y(self, value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - min(value, self.top) / self.top)


def _scale(plot: Plot) -> _Scale:
    points = [point for one in plot.series for point in one.points]
    xs = [x for x, _ in points]
    values = [y for _, y in points] + ([plot.target[0]] if plot.target else [])
    most = max(values)
    # a band far above all that was seen is cut off rather than flattening the rest
    most = max([most, *(min(high, 1.6 * most) for _, _, high in plot.band)])
    pad = _bar_width(plot) / 2 + 2 if any(one.drawn == "bars" for one in plot.series) else 4.0
    return _Scale(min(xs), max(xs), _round_up(most * 1.04), pad)


def _bar_width(plot: Plot) -> float:
    most = max((len(one.points) for one in plot.series if one.drawn == "bars"), default=1)
    return max(1.5, min(WIDEST, (WIDTH - LEFT - RIGHT) / max(most, 1) * 0.78))


def _round_up(value: float) -> float:
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= value * 0.9999)


def _svg(plot: Plot) -> Markup:
    scale = _scale(plot)
    parts = [*_grid(scale), *_ticks(plot, scale)]
    if plot.band:
        above = [f"{scale.x(x):.1f},{scale.y(high):.1f}" for x, _, high in plot.band]
        below = [f"{scale.x(x):.1f},{scale.y(low):.1f}" for x, low, _ in reversed(plot.band)]
        parts.append(element("polygon", points=" ".join((*above, *below)), class_="band"))
    for one in plot.series:
        parts += _drawn(one, scale, _bar_width(plot))
    if plot.target is not None:
        y = scale.y(plot.target[0])
        parts.append(element("path", d=f"M{LEFT} {y:.1f}H{WIDTH - RIGHT}", class_="target"))
    parts += _legend(plot)
    return element("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=f"{plot.title}. {plot.about}")


def _grid(scale: _Scale) -> Iterator[Markup]:
    for share in (0.0, 0.5, 1.0):
        value = scale.top * share
        y = scale.y(value)
        yield element("path", d=f"M{LEFT} {y:.1f}H{WIDTH - RIGHT}", class_="axis" if share == 0 else "grid")
        yield element("text", short_number(value), x=LEFT - 6, y=f"{y + 4:.1f}", text_anchor="end")


def _ticks(plot: Plot, scale: _Scale) -> Iterator[Markup]:
    for place, label in plot.ticks:
        x = scale.x(place)
        anchor = "start" if x < LEFT + 45 else "end" if x > WIDTH - RIGHT - 45 else "middle"
        at = {"start": max(LEFT, x - 20), "end": min(WIDTH - RIGHT, x + 20), "middle": x}[anchor]
        yield element("text", label, x=f"{at:.1f}", y=HEIGHT - 7, text_anchor=anchor)


def _drawn(one: Series, scale: _Scale, width: float) -> Iterator[Markup]:
    places = [(scale.x(x), scale.y(y), y) for x, y in one.points]
    base = scale.y(0)
    if one.drawn == "bars":
        # one path for all: a year of days is some hundred bars
        path = "".join(f"M{x - width / 2:.1f} {base:.1f}V{y:.1f}h{width:.1f}V{base:.1f}z" for x, y, _ in places)
        yield element("path", d=path, class_=f"fill {one.colour}")
    elif one.drawn == "marks":
        yield from (_mark(x, y, one, value) for x, y, value in places)
    elif len(places) == 1:
        yield element("circle", cx=f"{places[0][0]:.1f}", cy=f"{places[0][1]:.1f}", r=3.5, class_=f"fill {one.colour}")
    elif places:
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y, _ in places)
        yield element("path", d=f"M{path}", class_=f"l {one.colour}")
        if len(places) <= 40:
            yield from (
                element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=2.4, class_=f"fill {one.colour}") for x, y, _ in places
            )


def _mark(x: float, y: float, one: Series, value: float) -> Markup:
    """A diamond: another shape, so that it is not told by its colour alone."""
    told = element("title", f"{one.name}: {short_number(value)}")
    return element("path", told, d=f"M{x:.1f} {y - 7:.1f}l6 7l-6 7l-6 -7z", class_=f"fill {one.colour}")


def _legend(plot: Plot) -> Iterator[Markup]:
    """What is what, above the picture; a series alone needs none."""
    entries: list[tuple[Markup, str]] = []
    drawn = [one for one in plot.series if one.points]
    if len(drawn) > 1 or plot.band or plot.target is not None:
        entries += [(_sample(one), one.name) for one in drawn]
    if plot.band:
        entries.append((element("rect", x=0, y=3, width=14, height=9, class_="band"), plot.band_name))
    if plot.target is not None:
        entries.append((element("path", d="M0 8H16", class_="target"), plot.target[1]))
    x = float(LEFT)
    for sample, name in entries:
        text = element("text", name, x=20, y=12)
        yield element("g", sample, text, transform=f"translate({x:.0f} 0)")
        x += 34 + 6.1 * len(name)


def _sample(one: Series) -> Markup:
    if one.drawn == "marks":
        return element("path", d="M7 2l5 6l-5 6l-5 -6z", class_=f"fill {one.colour}")
    if one.drawn == "bars":
        return element("rect", x=2, y=3, width=10, height=10, class_=f"fill {one.colour}")
    return element("path", d="M0 8H16", class_=f"l {one.colour}")


def short_number(value: float) -> str:
    """A number that fits an axis."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if abs(value) >= limit:
            return f"{value / (1e3 if unit == ' k' else limit):,.4g}{unit}"
    return f"{value:,.0f}" if value == int(value) and abs(value) >= 1 else f"{value:.3g}"
