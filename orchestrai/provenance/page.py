"""A trace as one HTML page: graph, table and facts, with no resource from outside."""

from collections.abc import Iterable
from html import escape

from orchestrai.ledger.ledger import describe
from orchestrai.provenance.render import span
from orchestrai.provenance.trace import Trace, TraceNode

WIDTH, HEIGHT, GAP_X, GAP_Y, PAD = 270, 62, 32, 28, 12
DIM, PLAIN = ' class="dim"', ""
BULGE = 26
LISTED_OBJECTS = 2000
_STYLE = """
:root{color-scheme:light dark;--ink:#1d2733;--dim:#5f6b7a;--line:#b9c3cf;--card:#fff;--ground:#f4f6f9;--good:#137a4b;--warn:#a15c00}
@media(prefers-color-scheme:dark){:root{--ink:#e6ebf2;--dim:#9aa7b6;--line:#46525f;--card:#1b232d;--ground:#10161d;--good:#4cc38a;--warn:#f0b35b}}
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:1200px;padding:24px;color:var(--ink);background:var(--ground)}
h1{font-size:22px;margin:0 0 4px}h2{font-size:16px;margin:32px 0 8px}p{margin:4px 0;color:var(--dim)}
code,.mono{font-family:ui-monospace,monospace;font-size:13px;overflow-wrap:anywhere}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:8px;background:var(--card)}
table{border-collapse:collapse;width:100%;font-size:13px}th,td{text-align:left;padding:6px 10px;border-bottom:1px solid var(--line);
vertical-align:top}th{color:var(--dim);font-weight:600}td.n{text-align:right;font-variant-numeric:tabular-nums}
details{border:1px solid var(--line);border-radius:8px;background:var(--card);margin:8px 0;padding:8px 12px}summary{cursor:pointer}
.good{color:var(--good)}.warn{color:var(--warn)}
svg{display:block;margin:0 auto}svg text{fill:var(--ink);font:12px system-ui,sans-serif}svg .dim{fill:var(--dim);font-size:11px}
svg rect{fill:var(--card);stroke:var(--line)}svg a:hover rect{stroke:var(--ink)}svg path{fill:none;stroke:var(--line);stroke-width:1.5}
"""


def trace_html(trace: Trace) -> str:
    """One self-contained page; everything from data is escaped, no script, no outside resource."""
    root, cost = trace.root, trace.cost
    title = f"{root.asset}@{describe(root.version)}"
    return "".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(root.asset)}</h1><p class=mono>{escape(root.version)}</p>",
            f"<p>From {len(trace.objects):,} landed objects through {len(trace.nodes)} steps: {cost.wall_seconds:,.1f} s, "
            f"{cost.cpu_seconds:,.1f} CPU seconds, {cost.bytes_read:,} bytes read, {cost.bytes_written:,} written.</p>",
            '<h2>Graph</h2><div class="scroll">',
            graph_svg(trace),
            '</div><h2>Steps</h2><div class="scroll">',
            _table(trace.nodes),
            "</div><h2>Details</h2>",
            *(_details(node) for node in trace.nodes),
            "</body></html>",
        )
    )


def layers(trace: Trace) -> list[list[TraceNode]]:
    """Nodes in layers by longest distance from the root: every line goes up."""
    depth = {trace.root.id: 0}
    for _ in trace.nodes:
        before = dict(depth)
        for node in trace.nodes:
            for identity in node.inputs:
                depth[identity] = max(depth.get(identity, 0), depth.get(node.id, 0) + 1)
        if depth == before:
            break
    found: list[list[TraceNode]] = [[] for _ in range(max(depth.values()) + 1)]
    for node in trace.nodes:
        found[depth[node.id]].append(node)
    return found


def graph_svg(trace: Trace) -> str:
    """The graph as inline SVG: the model on top, what it came from below it, raw events at the bottom."""
    placed = layers(trace)
    widest = max(len(layer) for layer in placed)
    # room on both sides for lines that pass by a layer
    width = widest * (WIDTH + GAP_X) - GAP_X + 2 * (PAD + BULGE * len(placed))
    height = len(placed) * (HEIGHT + GAP_Y) - GAP_Y + 2 * PAD
    at: dict[str, tuple[int, int]] = {}
    for place, layer in enumerate(placed):
        left = (width - len(layer) * (WIDTH + GAP_X) + GAP_X) // 2
        for number, node in enumerate(layer):
            at[node.id] = (left + number * (WIDTH + GAP_X), PAD + place * (HEIGHT + GAP_Y))
    parts = [f'<svg role="img" aria-label="lineage graph" width="{width}" height="{height}" viewBox="0 0 {width} {height}">']
    for node in trace.nodes:
        parts += [_line(at[identity], at[node.id]) for identity in node.inputs]
    parts += [_box(node, *at[node.id]) for node in trace.nodes]
    return "".join(parts) + "</svg>"


def _line(low: tuple[int, int], high: tuple[int, int]) -> str:
    """From the top of one box to the bottom of another; past layers in between it swings out to the right."""
    passed = (low[1] - high[1]) // (HEIGHT + GAP_Y) - 1
    if passed <= 0:
        x1, y1, x2, y2 = low[0] + WIDTH // 2, low[1], high[0] + WIDTH // 2, high[1] + HEIGHT
        middle = (y1 + y2) // 2
        return f'<path d="M{x1} {y1}C{x1} {middle} {x2} {middle} {x2} {y2}"/>'
    x1, y1, x2, y2 = low[0] + WIDTH, low[1] + HEIGHT // 2, high[0] + WIDTH, high[1] + HEIGHT // 2
    out = max(x1, x2) + BULGE * (passed + 1)
    return f'<path d="M{x1} {y1}C{out} {y1} {out} {y2} {x2} {y2}"/>'


def _box(node: TraceNode, x: int, y: int) -> str:
    count = len(node.partitions)
    facts = (
        f"{count:,} partitions" if count > 1 else "",
        f"{node.rows:,} rows" if node.rows else "",
        f"{len(node.objects):,} objects" if node.objects else "",
    )
    about = ", ".join(fact for fact in facts if fact) or node.stage
    lines = (short(node.asset, 40), f"{describe(node.version)}  {node.finished[:16]}", about)
    text = "".join(
        f'<text x="{x + 10}" y="{y + 19 + 16 * number}"{DIM if number else ""}>{escape(line)}</text>'
        for number, line in enumerate(lines)
    )
    return (
        f'<a href="#{node.id}"><title>{escape(node.asset)} {escape(node.version)}</title>'
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="8"/>{text}</a>'
    )


def short(text: str, limit: int) -> str:
    """The end of a text that is too long: keys differ at their ends."""
    return text if len(text) <= limit else "…" + text[1 - limit :]


def _row(cells: Iterable[str]) -> str:
    return "<tr>" + "".join(cells) + "</tr>"


def _table(nodes: Iterable[TraceNode]) -> str:
    head = "".join(
        f"<th>{name}" for name in ("asset", "version", "partitions", "rows", "bytes", "finished", "checks", "seconds")
    )
    rows = (
        _row(
            (
                f'<td><a href="#{node.id}">{escape(node.asset)}</a>',
                f"<td><code>{describe(node.version)}</code>",
                f"<td>{escape(span(node) or '1')}",
                f"<td class=n>{node.rows:,}",
                f"<td class=n>{node.size:,}",
                f"<td>{escape(node.finished[:19])}",
                f"<td>{_checks(node)}",
                f"<td class=n>{node.cost.wall_seconds:,.2f}",
            )
        )
        for node in nodes
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _checks(node: TraceNode) -> str:
    passed = sum(node.checks.values())
    good = f'<span class="good">{passed:,} passed</span>' if passed else ""
    warned = f' <span class="warn">{len(node.warned)} warned</span>' if node.warned else ""
    return good + warned or "none"


def _details(node: TraceNode) -> str:
    facts = [
        ("version", node.version),
        ("stage", node.stage),
        ("code", ", ".join(node.code_versions)),
        ("began", node.started),
        ("finished", node.finished),
        ("checks passed", ", ".join(f"{name} ({count:,})" for name, count in node.checks.items())),
        ("warnings", "; ".join(node.warned)),
        ("partitions", ", ".join(node.partitions)),
        (
            "receipts",
            " ".join(node.receipts[:50]) + (f" and {len(node.receipts) - 50} more" if len(node.receipts) > 50 else ""),
        ),
    ]
    rows = "".join(f"<tr><th>{name}<td class=mono>{escape(value)}</tr>" for name, value in facts if value)
    rows += "".join(
        f"<tr><th>landed<td class=mono>{escape(m.uri)}<br>{escape(m.sha256)}, {m.size:,} bytes {escape(m.modified)}</tr>"
        for m in node.objects[:LISTED_OBJECTS]
    )
    if len(node.objects) > LISTED_OBJECTS:
        rows += f"<tr><th>landed<td>and {len(node.objects) - LISTED_OBJECTS:,} more; see --json</tr>"
    return f'<details id="{node.id}"><summary>{escape(node.asset)}</summary><table>{rows}</table></details>'
