"""A trace as one HTML page: graph, table and facts, with no script and no resource from outside."""

from collections.abc import Iterator

from orchestrai.core.html.frame import Extras, PageSection, page
from orchestrai.core.html.markup import Child, Markup, element, joined
from orchestrai.core.html.parts import State, chips, minute_of, number_of, paragraph, size_of
from orchestrai.core.identity import describe
from orchestrai.provenance.export.svg_graph import STAGES, graph_svg
from orchestrai.provenance.export.text_tree import span
from orchestrai.provenance.job_cost import job_text
from orchestrai.provenance.lineage import VERBATIM
from orchestrai.provenance.trace import Trace, TraceNode

LISTED_OBJECTS = 2000
_LIGHT = {
    "landing": "#7a8796", "raw_events": "#2f74c9", "snapshot": "#7a52c7", "restored": "#15845a", "features": "#a56a12",
    "training_set": "#0f7f8c", "candidate": "#b5487a", "evaluation": "#6a7a1e", "champion": "#c2571a", "predictions": "#4b5fc4",
}  # fmt: skip
_DARK = {
    "landing": "#8f9dac", "raw_events": "#6aa5ee", "snapshot": "#ad8df0", "restored": "#4cc38a", "features": "#e0a94f",
    "training_set": "#45bccb", "candidate": "#e585b2", "evaluation": "#b2c554", "champion": "#f08a4b", "predictions": "#8d9df2",
}  # fmt: skip


def _colours() -> str:
    light, dark = (";".join(f"--c-{stage}:{colour}" for stage, colour in some.items()) for some in (_LIGHT, _DARK))
    night = f"@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    return f":root{{{light}}}{night}.card,.dot{{--c:var(--edge)}}" + "".join(f".s-{s}{{--c:var(--c-{s})}}" for s in STAGES)


GRAPH_STYLE = """
.scroll{padding:8px}.steps td{white-space:nowrap}
.dot{display:inline-block;width:9px;height:9px;border-radius:3px;margin-right:8px;background:var(--c)}
.share{display:inline-block;height:6px;border-radius:3px;background:var(--edge);margin-left:8px;vertical-align:middle}
details.step{border:1px solid var(--line);border-radius:10px;background:var(--card);padding:9px 14px}.step summary{color:inherit}
details:target{border-color:var(--link);box-shadow:0 0 0 2px var(--link)}
.graph text{fill:var(--ink);font:11.5px system-ui,sans-serif}
.graph .head{fill:var(--dim);font-size:11px;font-weight:600;text-transform:uppercase;letter-spacing:.05em}
.graph .name{font-weight:600;font-size:12px}.graph .dim{fill:var(--dim);font-size:10.5px}.graph .mono{font:11px ui-monospace,monospace}
.graph rect{fill:var(--card);stroke:var(--line)}.graph a{text-decoration:none}.graph a:hover rect{stroke:var(--link);stroke-width:1.5}
.graph .edge{fill:none;stroke:var(--edge);stroke-width:1.4}.graph .stripe{stroke:var(--c);stroke-width:4;stroke-linecap:round}
.graph .bars{fill:none;stroke:var(--c);opacity:.55}.graph .warned rect{stroke:var(--warn);stroke-width:1.5}
.graph .s-landing rect{stroke-dasharray:4 3}.graph .equal circle{fill:var(--goodbg);stroke:var(--good)}
.graph .equal text{fill:var(--good);font-weight:700}
""" + _colours()


def trace_html(trace: Trace) -> str:
    """One self-contained page; everything from data is escaped, no script, no outside resource."""
    lead = joined((paragraph(element("code", trace.root.version)), chips(trace_chips(trace))))
    sections = (
        PageSection("From landed objects to here", graph(trace)),
        PageSection("Steps", steps_table(trace)),
        PageSection("Details", steps_details(trace)),
    )
    return page(trace.root.asset, lead, sections, Extras(GRAPH_STYLE, wide=True))


def graph(trace: Trace) -> Markup:
    """The picture of a trace, in a region that a keyboard scrolls."""
    return element("div", graph_svg(trace), class_="scroll", tabindex=0, role="region", aria_label="Lineage graph")


def trace_chips(trace: Trace) -> Iterator[tuple[str, str, State]]:
    """The figures a person asks for first."""
    nodes, cost = trace.nodes, trace.cost
    verbatim = [node for node in nodes if node.stage in VERBATIM]
    versions = {node.id: node.version for node in nodes}
    equal = sum(all(versions[above] == node.version for above in node.inputs) for node in verbatim)
    passed, warned = sum(sum(node.checks.values()) for node in nodes), sum(len(node.warned) for node in nodes)
    snapshots = sum(len(node.receipts) for node in nodes if node.stage == "snapshot")
    yield f"{len(trace.objects):,}", "landed objects", ""
    if snapshots:
        yield f"{snapshots:,}", "snapshots" if snapshots > 1 else "snapshot", ""
    if verbatim:
        whole = equal == len(verbatim)
        yield "raw = snapshot = restored" if whole else "not equal", "byte for byte", "good" if whole else "warn"
    yield f"{passed:,}", "checks passed", "good" if passed else ""
    if warned:
        yield f"{warned:,}", "warnings", "warn"
    yield f"{cost.wall_seconds:,.1f} s", f"{cost.cpu_seconds:,.1f} CPU seconds", ""
    yield size_of(cost.bytes_read), f"read, {size_of(cost.bytes_written)} written", ""
    if isinstance(trace.root.facts.get("task"), str):
        yield trace.root.facts["task"], "task", ""
    metrics = trace.root.facts.get("metrics")
    for name, metric in sorted(metrics.items()) if isinstance(metrics, dict) else ():
        if isinstance(metric, dict) and isinstance(metric.get("value"), int | float):
            yield f"{metric['value']:.4g}", f"{name} ({metric.get('low', 0):.3g} to {metric.get('high', 0):.3g})", ""


def steps_table(trace: Trace) -> Markup:
    """Every step with its version, figures and checks."""
    names = ("asset", "version", "partitions", "rows", "bytes", "finished (UTC)", "checks", "CPU s", "seconds")
    numbers = ("rows", "bytes", "CPU s", "seconds")
    head = (element("th", name, scope="col", class_="n" if name in numbers else None) for name in names)
    longest = max((node.cost.wall_seconds for node in trace.nodes), default=0.0) or 1.0
    rows = (_step(node, longest) for node in trace.nodes)
    inner = element(
        "table",
        element("caption", "Upstream of it, newest first"),
        element("thead", element("tr", *head)),
        element("tbody", *rows),
    )
    return element("div", inner, class_="scroll steps", tabindex=0, role="region", aria_label="Steps")


def _dot(node: TraceNode) -> Markup:
    return element("i", class_=f"dot s-{node.stage}")


def _step(node: TraceNode, longest: float) -> Markup:
    share = element("i", class_="share", style=f"width:{1 + 60 * node.cost.wall_seconds / longest:.0f}px")
    cells: tuple[tuple[Child, bool], ...] = (
        (element("code", describe(node.version)), False),
        (span(node) or "1", False),
        (number_of(node.rows), True),
        (number_of(node.size), True),
        (minute_of(node.finished), False),
        (_checks(node), False),
        (f"{node.cost.cpu_seconds:,.2f}", True),
        (joined((f"{node.cost.wall_seconds:,.2f}", share)), True),
    )
    first = element("th", _dot(node), element("a", node.asset, href=f"#{node.id}"), scope="row", class_="tight")
    return element("tr", first, *(element("td", cell, class_="n" if number else None) for cell, number in cells))


def _checks(node: TraceNode) -> Markup:
    passed = sum(node.checks.values())
    good = element("span", f"{passed:,} passed", class_="good") if passed else None
    warned = element("span", f"{len(node.warned)} warned", class_="warn") if node.warned else None
    return joined((good, " " if good and warned else None, warned, None if good or warned else "none"))


def steps_details(trace: Trace) -> Markup:
    """Everything that is recorded of each step, folded."""
    return joined(_details(node) for node in trace.nodes)


def _details(node: TraceNode) -> Markup:
    cost = node.cost
    receipts = " ".join(node.receipts[:50])
    more = len(node.receipts) - 50
    told = [
        ("version", node.version),
        ("stage", node.stage),
        ("code", ", ".join(node.code_versions)),
        ("began", node.started),
        ("finished", node.finished),
        (
            "cost",
            f"{cost.wall_seconds:,.2f} s, {cost.cpu_seconds:,.2f} CPU s, {cost.bytes_read:,} bytes read, "
            f"{cost.bytes_written:,} written, {size_of(cost.peak_rss_bytes)} of memory at most",
        ),
        ("ran on", job_text(node)),
        ("checks passed", ", ".join(f"{name} ({count:,})" for name, count in node.checks.items())),
        ("warnings", "; ".join(node.warned)),
        ("partitions", ", ".join(_with_rows(node))),
        ("receipts", receipts + (f" and {more} more" if more > 0 else "")),
    ]
    rows = [(name, joined((value,))) for name, value in told if value]
    rows += [
        ("landed", joined((m.uri, element("br"), f"{m.sha256}, {m.size:,} bytes {m.modified}")))
        for m in node.objects[:LISTED_OBJECTS]
    ]
    if len(node.objects) > LISTED_OBJECTS:
        rows.append(("landed", joined((f"and {len(node.objects) - LISTED_OBJECTS:,} more; see --json",))))
    listed = (element("tr", element("th", name, scope="row"), element("td", value, class_="mono")) for name, value in rows)
    title = element("summary", _dot(node), f"{node.asset} ", element("code", describe(node.version)))
    return element("details", title, element("table", element("tbody", *listed)), id=node.id, class_="step")


def _with_rows(node: TraceNode) -> Iterator[str]:
    for key, rows in zip(node.partitions, node.rows_by_partition, strict=False):
        yield f"{key} ({rows:,})" if rows else key
