"""Plots: they say in words what they show, keep within their frame, and mark what stands out by its shape."""

import re

from orchestrai.core.html.frame import PageSection, page
from orchestrai.core.html.markup import element
from orchestrai.core.html.svg_plot import HEIGHT, WIDTH, Plot, Series, ends_and_middle, figure, plots, short_number
from orchestrai_tests.accessibility import faults

DAYS = [f"2026-01-{day:02d}" for day in range(1, 29)]
ROWS = [100.0 + 7 * (day % 5) for day in range(28)]
VOLUME = Plot(
    "Rows a day",
    "28 days; 2026-01-09 is held.",
    (Series("rows", list(enumerate(ROWS)), "bars"), Series("held", [(8.0, 900.0)], "marks", "bad")),
    ends_and_middle(DAYS),
    band=[(float(place), 80.0, 1e6) for place in range(28)],
    band_name="expected",
    target=(50.0, "least"),
    columns=("day", "rows"),
    rows=list(zip(DAYS, ROWS, strict=True)),
)


def test_a_plot_says_what_it_shows_in_words_and_as_a_table() -> None:
    shown = figure(VOLUME)
    assert 'aria-label="Rows a day. 28 days; 2026-01-09 is held."' in shown
    assert all(day in shown for day in DAYS) and "<title>held: 900</title>" in shown
    assert faults(page("x", element("p", "y"), [PageSection("z", plots(shown, shown))])) == []


def test_nothing_is_drawn_outside_the_frame() -> None:
    for plot in (
        VOLUME,
        Plot("one", "a", (Series("a", [(5.0, 0.0)]),)),
        Plot("big", "a", (Series("a", [(0, 1e12), (1, 3)]),)),
    ):
        shown = figure(plot)
        places = [(float(x), float(y)) for x, y in re.findall(r"M(-?[\d.]+) (-?[\d.]+)", shown)]
        places += [(float(x), float(y)) for x, y in re.findall(r"[ \"](-?[\d.]+),(-?[\d.]+)", shown.partition("points")[2])]
        assert places and all(0 <= x <= WIDTH and -1 <= y <= HEIGHT for x, y in places), places
        assert "nan" not in shown and "inf" not in shown


def test_what_was_never_measured_is_said() -> None:
    assert "Nothing was measured yet" in figure(Plot("x", "y", (Series("a", ()),), target=(3.0, "t")))


def test_numbers_fit_an_axis() -> None:
    assert [short_number(v) for v in (0, 0.5, 12, 9999, 12000, 2.5e6, 3e9)] == [
        "0",
        "0.5",
        "12",
        "9,999",
        "12 k",
        "2.5 M",
        "3 G",
    ]
