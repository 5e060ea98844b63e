"""A trace as one HTML page: graph, table and facts, with no script and no resource from outside."""

from collections.abc import Iterable, Iterator
from html import escape

from orchestrai.core.identity import describe
from orchestrai.provenance.export.svg_graph import graph_svg, moment, size_of
from orchestrai.provenance.export.text_tree import span
from orchestrai.provenance.job_cost import job_text
from orchestrai.provenance.lineage import VERBATIM
from orchestrai.provenance.trace import Trace, TraceNode

LISTED_OBJECTS = 2000
_STYLE = """
:root{color-scheme:light dark;--ink:#16202c;--dim:#5b6878;--line:#cdd6e0;--edge:#a9b6c5;--card:#fff;--ground:#f3f5f8;
--good:#11734a;--goodbg:#e3f5ec;--warn:#9a5600;--warnbg:#fdf1de;--link:#1a56b0;
--c-landing:#7a8796;--c-raw_events:#2f74c9;--c-snapshot:#7a52c7;--c-restored:#15845a;--c-features:#b7791f;--c-training_set:#0f7f8c;
--c-candidate:#b5487a;--c-evaluation:#6a7a1e;--c-champion:#c2571a;--c-predictions:#4b5fc4}
@media(prefers-color-scheme:dark){:root{--ink:#e7edf4;--dim:#9daab9;--line:#33404d;--edge:#566677;--card:#18212b;--ground:#0f151c;
--good:#57cf99;--goodbg:#12301f;--warn:#f2b866;--warnbg:#33240d;--link:#86b4f5;
--c-landing:#8f9dac;--c-raw_events:#6aa5ee;--c-snapshot:#ad8df0;--c-restored:#4cc38a;--c-features:#e0a94f;--c-training_set:#45bccb;
--c-candidate:#e585b2;--c-evaluation:#b2c554;--c-champion:#f08a4b;--c-predictions:#8d9df2}}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:1640px;padding:28px 24px 64px;color:var(--ink);background:var(--ground)}
h1{font-size:24px;letter-spacing:-.01em;margin:0}h2{font-size:16px;margin:36px 0 10px}p{margin:4px 0;color:var(--dim)}a{color:var(--link)}
code,.mono{font-family:ui-monospace,monospace;font-size:13px;overflow-wrap:anywhere}
.chips{display:flex;flex-wrap:wrap;gap:10px;margin:18px 0 0;padding:0;list-style:none}
.chips li{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:7px 14px;min-width:96px}
.chips strong{display:block;font-size:17px;font-variant-numeric:tabular-nums;line-height:1.3}.chips span{font-size:12px;color:var(--dim)}
.chips .good{background:var(--goodbg);border-color:transparent}.chips .warn{background:var(--warnbg);border-color:transparent}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:12px;background:var(--card);padding:8px}
table{border-collapse:collapse;width:100%;font-size:13px}th,td{text-align:left;padding:7px 10px;border-bottom:1px solid var(--line);
vertical-align:top}tr:last-child>*{border-bottom:0}th{color:var(--dim);font-weight:600;white-space:nowrap}
.scroll td{white-space:nowrap}td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}th.n{text-align:right}
.dot{display:inline-block;width:9px;height:9px;border-radius:3px;margin-right:8px}
.share{display:inline-block;height:6px;border-radius:3px;background:var(--edge);margin-left:8px;vertical-align:middle}
details{border:1px solid var(--line);border-radius:10px;background:var(--card);margin:8px 0;padding:9px 14px}summary{cursor:pointer}
details:target{border-color:var(--link);box-shadow:0 0 0 2px color-mix(in srgb,var(--link) 25%,transparent)}
.good{color:var(--good)}.warn{color:var(--warn)}
svg{display:block;width:100%;height:auto}svg text{fill:var(--ink);font:11.5px system-ui,sans-serif}
svg .head{fill:var(--dim);font-size:11px;font-weight:600;text-transform:uppercase;letter-spacing:.05em}
svg .name{font-weight:600;font-size:12px}svg .dim{fill:var(--dim);font-size:10.5px}svg .mono{font:11px ui-monospace,monospace}
svg rect{fill:var(--card);stroke:var(--line)}svg a{text-decoration:none}svg a:hover rect{stroke:var(--link);stroke-width:1.5}
svg .edge{fill:none;stroke:var(--edge);stroke-width:1.4}svg .stripe{stroke:var(--c);stroke-width:4;stroke-linecap:round}
svg .bars{fill:none;stroke:var(--c);opacity:.55}svg .warned rect{stroke:var(--warn);stroke-width:1.5}
svg .s-landing rect{stroke-dasharray:4 3}svg .equal circle{fill:var(--goodbg);stroke:var(--good)}
svg .equal text{fill:var(--good);font-weight:700}
@media print{body{background:#fff;padding:0}.scroll{overflow:visible}}
"""
_STAGES = (
    "landing", "raw_events", "snapshot", "restored", "features", "training_set", "candidate", "evaluation", "champion", "predictions",
)  # fmt: skip
_COLOURS = "".join(f".s-{stage}{{--c:var(--c-{stage})}}" for stage in _STAGES)


def trace_html(trace: Trace) -> str:
    """One self-contained page; everything from data is escaped, no script, no outside resource."""
    root = trace.root
    title = f"{root.asset}@{describe(root.version)}"
    return "".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            f"<title>{escape(title)}</title><style>{_STYLE}.card,.dot{{--c:var(--edge)}}{_COLOURS}</style></head><body>",
            f'<h1>{escape(root.asset)}</h1><p class="mono">{escape(root.version)}</p>',
            f'<ul class="chips">{"".join(_chips(trace))}</ul>',
            '<h2>From landed objects to here</h2><div class="scroll">',
            graph_svg(trace),
            '</div><h2>Steps</h2><div class="scroll">',
            _table(trace),
            "</div><h2>Details</h2>",
            *(_details(node) for node in trace.nodes),
            "</body></html>",
        )
    )


def _chips(trace: Trace) -> Iterator[str]:
    """The figures a person asks for first."""
    nodes, cost = trace.nodes, trace.cost
    verbatim = [node for node in nodes if node.stage in VERBATIM]
    versions = {node.id: node.version for node in nodes}
    equal = sum(all(versions[above] == node.version for above in node.inputs) for node in verbatim)
    passed, warned = sum(sum(node.checks.values()) for node in nodes), sum(len(node.warned) for node in nodes)
    snapshots = sum(len(node.receipts) for node in nodes if node.stage == "snapshot")

    def chip(value: str, about: str, state: str = "") -> str:
        return f'<li class="{state}"><strong>{escape(value)}</strong><span>{escape(about)}</span></li>'

    yield chip(f"{len(trace.objects):,}", "landed objects")
    if snapshots:
        yield chip(f"{snapshots:,}", "snapshots" if snapshots > 1 else "snapshot")
    if verbatim:
        whole = equal == len(verbatim)
        yield chip("raw = snapshot = restored" if whole else "not equal", "byte for byte", "good" if whole else "warn")
    yield chip(f"{passed:,}", "checks passed", "good" if passed else "")
    if warned:
        yield chip(f"{warned:,}", "warnings", "warn")
    yield chip(f"{cost.wall_seconds:,.1f} s", f"{cost.cpu_seconds:,.1f} CPU seconds")
    yield chip(size_of(cost.bytes_read), f"read, {size_of(cost.bytes_written)} written")
    if isinstance(trace.root.facts.get("task"), str):
        yield chip(trace.root.facts["task"], "task")
    metrics = trace.root.facts.get("metrics")
    for name, metric in sorted(metrics.items()) if isinstance(metrics, dict) else ():
        if isinstance(metric, dict) and isinstance(metric.get("value"), int | float):
            yield chip(f"{metric['value']:.4g}", f"{name} ({metric.get('low', 0):.3g} to {metric.get('high', 0):.3g})")


def _row(cells: Iterable[str]) -> str:
    return "<tr>" + "".join(cells) + "</tr>"


def _table(trace: Trace) -> str:
    names = ("asset", "version", "partitions", "rows", "bytes", "finished (UTC)", "checks", "CPU s", "seconds")
    numbers = ("rows", "bytes", "CPU s", "seconds")
    head = "".join(f"<th{' class=n' if name in numbers else ''}>{name}" for name in names)
    longest = max((node.cost.wall_seconds for node in trace.nodes), default=0.0) or 1.0
    rows = (
        _row(
            (
                f'<td><i class="dot s-{escape(node.stage)}" style="background:var(--c)"></i>',
                f'<a href="#{node.id}">{escape(node.asset)}</a>',
                f"<td><code>{describe(node.version)}</code>",
                f"<td>{escape(span(node) or '1')}",
                f"<td class=n>{node.rows:,}",
                f"<td class=n>{node.size:,}",
                f"<td>{escape(moment(node.finished))}",
                f"<td>{_checks(node)}",
                f"<td class=n>{node.cost.cpu_seconds:,.2f}",
                f"<td class=n>{node.cost.wall_seconds:,.2f}",
                f'<i class="share" style="width:{1 + 60 * node.cost.wall_seconds / longest:.0f}px"></i>',
            )
        )
        for node in trace.nodes
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _checks(node: TraceNode) -> str:
    passed = sum(node.checks.values())
    good = f'<span class="good">{passed:,} passed</span>' if passed else ""
    warned = f' <span class="warn">{len(node.warned)} warned</span>' if node.warned else ""
    return good + warned or "none"


def _details(node: TraceNode) -> str:
    cost = node.cost
    facts = [
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
    return (
        f'<details id="{node.id}"><summary><i class="dot s-{escape(node.stage)}" style="background:var(--c)"></i>'
        f"{escape(node.asset)} <code>{describe(node.version)}</code></summary><table>{rows}</table></details>"
    )


def _with_rows(node: TraceNode) -> Iterator[str]:
    for key, rows in zip(node.partitions, node.rows_by_partition, strict=False):
        yield f"{key} ({rows:,})" if rows else key
