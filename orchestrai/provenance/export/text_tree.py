"""A trace as a text tree."""

from orchestrai.core.identity import describe
from orchestrai.ledger.receipt import Material
from orchestrai.provenance.job_cost import dollars, job_text
from orchestrai.provenance.trace import Trace, TraceNode

SHOWN_OBJECTS = 5


def trace_text(trace: Trace) -> str:
    """The trace as an indented tree; a node that was shown already is named again without what is behind it."""
    lines: list[str] = []
    shown: set[str] = set()

    def show(node: TraceNode, lead: str, branch: str) -> None:
        repeated = node.id in shown
        shown.add(node.id)
        lines.append(lead + branch + headline(node) + ("  (see above)" if repeated else ""))
        if repeated:
            return
        below = lead + {"": "", "├─ ": "│  ", "└─ ": "   "}[branch]
        lines.extend(f"{below}   ! {warning}" for warning in (*node.outdated, *node.warned))
        if job := job_text(node):
            lines.append(f"{below}   ran on {job}")
        children = [trace.node(identity) for identity in node.inputs]
        objects = [_object_text(material) for material in node.objects[:SHOWN_OBJECTS]]
        if len(node.objects) > SHOWN_OBJECTS:
            objects.append(f"and {len(node.objects) - SHOWN_OBJECTS:,} more landed objects")
        rest = len(children) + len(objects)
        for child in children:
            rest -= 1
            show(child, below, "├─ " if rest else "└─ ")
        for text in objects:
            rest -= 1
            lines.append(below + ("├─ " if rest else "└─ ") + text)

    show(trace.root, "", "")
    cost = trace.cost
    lines.append(
        f"in all: {len(trace.objects):,} landed objects, {cost.wall_seconds:.1f} s, {cost.cpu_seconds:.1f} CPU s, "
        f"{cost.bytes_read:,} bytes read, {cost.bytes_written:,} written"
        + (f", USD {usd:g} elsewhere" if (usd := dollars(trace.nodes)) is not None else "")
    )
    return "\n".join(lines)


def headline(node: TraceNode) -> str:
    """One line on a node."""
    checks = sum(node.checks.values())
    parts = [
        f"{node.asset}@{describe(node.version)}",
        span(node),
        f"task {node.facts['task']}" if node.facts.get("task") else "",
        f"{node.rows:,} rows",
        f"{checks:,} checks passed" if checks else "",
        f"{len(node.warned)} warnings" if node.warned else "",
        node.finished[:19],
        f"{node.cost.wall_seconds:.2f} s",
    ]
    return "  ".join(part for part in parts if part)


def span(node: TraceNode) -> str:
    """The partitions of a node in few words."""
    keys = node.partitions
    if keys in ((), ("all",)):
        return ""
    return keys[0] if len(keys) == 1 else f"{keys[0]}..{keys[-1]} ({len(keys):,})"


def _object_text(material: Material) -> str:
    repeats = f"  the same as {material.same_as}" if material.same_as else ""
    return f"{material.uri}  {material.sha256[:12]}  {material.size:,} bytes  {material.modified}".rstrip() + repeats
