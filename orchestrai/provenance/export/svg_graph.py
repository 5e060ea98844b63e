"""A trace as an inline SVG: one column per stage from landed objects to what was asked for, one lane per dataset.

The bars of a card are the rows of its partitions over time; a green = stands where one version goes from stage to stage unchanged.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from orchestrai.core.html.markup import Markup, element
from orchestrai.core.html.parts import minute_of, size_of
from orchestrai.core.identity import describe
from orchestrai.provenance.lineage import VERBATIM
from orchestrai.provenance.trace import Trace, TraceNode

CARD_W, CARD_H, GAP_X, GAP_Y = 148, 92, 28, 22
HEAD, PAD, ARC = 26, 10, 16
BARS = 40
LANDED = "landing"
STAGES = (
    LANDED, "raw_events", "snapshot", "restored", "features", "training_set", "candidate", "evaluation", "champion", "predictions",
)  # fmt: skip
Place = tuple[int, float]


def graph_svg(trace: Trace) -> Markup:
    """The graph; every card of a node links to its details."""
    columns = columns_of(trace)
    places = placed(trace, columns)
    lanes = 1 + max((row for _, row in places.values()), default=0.0)
    arcs = [pair for pair in _edges(trace) if _is_arc(places, *pair)]
    # room above the first lane for lines that pass over a column
    top = HEAD + ARC * max((places[high][0] - places[low][0] for low, high in arcs), default=0)
    width = round(2 * PAD + len(columns) * (CARD_W + GAP_X) - GAP_X)
    height = round(top + lanes * (CARD_H + GAP_Y) - GAP_Y + PAD)

    def at(identity: str) -> tuple[float, float]:
        column, row = places[identity]
        return PAD + column * (CARD_W + GAP_X), top + row * (CARD_H + GAP_Y)

    nodes = {node.id: node for node in trace.nodes}
    parts = [
        element("text", stage.replace("_", " "), class_="head", x=PAD + n * (CARD_W + GAP_X), y=14)
        for n, stage in enumerate(columns)
    ]
    for low, high in _edges(trace):
        parts.append(_arc(at(low), at(high)) if (low, high) in arcs else _line(at(low), at(high)))
    for low, high in _edges(trace):
        if high in nodes and low in nodes and nodes[high].stage in VERBATIM and nodes[high].version == nodes[low].version:
            parts.append(_equal(at(low), at(high)))
    for node in trace.nodes:
        if node.objects:
            parts.append(_landed(node, *at(f"{node.id}-landed")))
        parts.append(_card(node, *at(node.id)))
    told = f"Lineage graph: {len(trace.objects):,} landed objects and {len(trace.nodes)} steps; the table below has each."
    style = f"min-width:{width * 0.72:.0f}px"
    # a group, not a picture: the cards in it are links
    return element(
        "svg", *parts, role="group", aria_label=told, viewBox=f"0 0 {width} {height}", style=style, class_="graph"
    )


def columns_of(trace: Trace) -> list[str]:
    """The stages there are, in the order of the data's path; stages unknown here come last."""
    stages = {node.stage for node in trace.nodes} | ({LANDED} if trace.objects else set())
    return [stage for stage in STAGES if stage in stages] + sorted(stages - set(STAGES))


def placed(trace: Trace, columns: Sequence[str]) -> dict[str, Place]:
    """Column and row of every node and of its landed objects. Backups and restores share their source's row; others stand in the
    middle of what they came from."""
    rows: dict[str, float] = {}
    nodes = sorted(trace.nodes, key=lambda node: columns.index(node.stage))
    for column in columns:
        here = [node for node in nodes if node.stage == column]
        wanted = {node.id: _wanted(node, rows) for node in here}
        next_row = 0.0
        for node in sorted(here, key=lambda node: (wanted[node.id] is None, wanted[node.id] or 0.0, node.asset)):
            row = max(next_row, wanted[node.id] or 0.0)
            rows[node.id], next_row = row, row + 1
    places = {node.id: (columns.index(node.stage), rows[node.id]) for node in trace.nodes}
    return places | {f"{node.id}-landed": (columns.index(LANDED), rows[node.id]) for node in trace.nodes if node.objects}


def _wanted(node: TraceNode, rows: Mapping[str, float]) -> float | None:
    known = [rows[identity] for identity in node.inputs if identity in rows]
    if not known:
        return None
    return known[0] if node.stage in VERBATIM else (min(known) + max(known)) / 2


def _edges(trace: Trace) -> Iterator[tuple[str, str]]:
    for node in trace.nodes:
        if node.objects:
            yield f"{node.id}-landed", node.id
        for identity in node.inputs:
            yield identity, node.id


def _is_arc(places: Mapping[str, Place], low: str, high: str) -> bool:
    """A line along one row past the cards between; lines between rows go behind the cards."""
    return places[high][0] - places[low][0] > 1 and places[low][1] == places[high][1]


def _line(low: tuple[float, float], high: tuple[float, float]) -> Markup:
    x1, y1, x2, y2 = low[0] + CARD_W, low[1] + CARD_H / 2, high[0], high[1] + CARD_H / 2
    bend = max(GAP_X / 2, (x2 - x1) / 3)
    return element(
        "path", class_="edge", d=f"M{x1:.0f} {y1:.0f}C{x1 + bend:.0f} {y1:.0f} {x2 - bend:.0f} {y2:.0f} {x2:.0f} {y2:.0f}"
    )


def _arc(low: tuple[float, float], high: tuple[float, float]) -> Markup:
    x1, x2, y = low[0] + CARD_W * 0.75, high[0] + CARD_W * 0.25, low[1]
    rise = ARC * round((high[0] - low[0]) / (CARD_W + GAP_X))
    return element(
        "path", class_="edge", d=f"M{x1:.0f} {y:.0f}C{x1:.0f} {y - rise:.0f} {x2:.0f} {y - rise:.0f} {x2:.0f} {y:.0f}"
    )


def _equal(low: tuple[float, float], high: tuple[float, float]) -> Markup:
    x, y = (low[0] + CARD_W + high[0]) / 2, (low[1] + high[1] + CARD_H) / 2
    return element(
        "g",
        element("title", "one version, byte for byte"),
        element("circle", cx=f"{x:.0f}", cy=f"{y:.0f}", r=9),
        element("text", "=", x=f"{x:.0f}", y=f"{y + 4:.0f}", text_anchor="middle"),
        class_="equal",
    )


def _lines(lines: Sequence[tuple[str, str]], x: float, y: float, step: int) -> list[Markup]:
    return [
        element("text", line, class_=kind, x=f"{x + 11:.0f}", y=f"{y + step * number:.0f}")
        for number, (kind, line) in enumerate(lines)
        if line
    ]


def _box(x: float, y: float) -> Markup:
    return element("rect", x=f"{x:.0f}", y=f"{y:.0f}", width=CARD_W, height=CARD_H, rx=9)


def _card(node: TraceNode, x: float, y: float) -> Markup:
    count = len(node.partitions)
    name = node.asset.split("/")[-2] if node.asset.count("/") else node.asset
    # a reused dataset names the pipeline it comes from in its title
    facts = f"{count_of(node.rows)} rows" if node.rows else size_of(node.size)
    lines = (
        ("name", short(name, 20)),
        ("mono", describe(node.version)),
        ("dim", f"{facts} · {count:,} parts" if count > 1 else facts),
        ("dim", minute_of(node.finished)),
    )
    return element(
        "a",
        element("title", f"{node.asset} {node.version}, finished {node.finished}, {node.cost.wall_seconds:.2f} s"),
        _box(x, y),
        element("path", class_="stripe", d=f"M{x + 2:.0f} {y + 10:.0f}v{CARD_H - 20}"),
        *_lines(lines, x, y + 18, 15),
        _bars(node, x + 11, y + CARD_H - 6),
        href=f"#{node.id}",
        class_=f"card s-{node.stage}" + (" warned" if node.warned else ""),
    )


def _landed(node: TraceNode, x: float, y: float) -> Markup:
    first, last = node.objects[0].uri.rsplit("/", 1)[-1], node.objects[-1].uri.rsplit("/", 1)[-1]
    one = len(node.objects) == 1
    lines = (
        ("name", f"{len(node.objects):,} object{'' if one else 's'}"),
        ("dim", size_of(sum(material.size for material in node.objects))),
        ("dim", short(first, 22)),
        ("dim", "" if one else f"to {short(last, 19)}"),
    )
    title = element("title", node.objects[0].uri.rsplit("/", 1)[0])
    return element("a", title, _box(x, y), *_lines(lines, x, y + 20, 16), href=f"#{node.id}", class_="card s-landing")


def _bars(node: TraceNode, x: float, y: float) -> Markup | None:
    """Rows per partition as bars, at most BARS of them, the highest first among those that share one."""
    rows = node.rows_by_partition
    if len(rows) < 2 or not any(rows):
        return None
    count = min(BARS, len(rows))
    cuts = [round(number * len(rows) / count) for number in range(count + 1)]
    highest, step = max(rows), min(9.0, (CARD_W - 22) / count)
    bars = (
        f"M{x + (number + 0.5) * step:.1f} {y:.1f}v{-(1 + 12 * max(rows[first:last]) / highest):.1f}"
        for number, (first, last) in enumerate(pairwise(cuts))
    )
    return element("path", class_="bars", style=f"stroke-width:{max(0.8, step - 1):.1f}", d="".join(bars))


def short(text: str, limit: int) -> str:
    """The end of a text that is too long: keys differ at their ends."""
    return text if len(text) <= limit else "…" + text[1 - limit :]


def count_of(number: int) -> str:
    """A count that fits a card."""
    return f"{number:,}" if number < 100_000 else f"{number / 1e6:,.2f} M"
