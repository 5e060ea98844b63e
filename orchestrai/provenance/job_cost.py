"""Work that ran elsewhere, as a trace tells of it: where, how long, within which limit, at what price."""

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrai.provenance.trace import TraceNode


def job_text(node: TraceNode) -> str:
    """One line on the training or transform job behind a node; empty where it ran in the step itself."""
    job = node.facts.get("job")
    if not isinstance(job, Mapping):
        return ""
    parts = [
        " ".join(
            str(word) for word in (job.get("place"), job.get("instance_type"), "spot" if job.get("spot") else None) if word
        ),
        _seconds(job),
        _price(job),
        str(job["name"]),
    ]
    return ", ".join(part for part in parts if part)


def dollars(nodes: Iterable[TraceNode]) -> float | None:
    """What jobs elsewhere cost together, each counted once; None where none has a price."""
    jobs = [node.facts["job"] for node in nodes if isinstance(node.facts.get("job"), Mapping)]
    priced = {str(job["name"]): float(job["usd"]) for job in jobs if job.get("usd") is not None}
    return round(sum(priced.values()), 6) if priced else None


def _seconds(job: Mapping[str, Any]) -> str:
    ran, billed, limit = job.get("seconds"), job.get("billable_seconds"), job.get("limit_seconds")
    text = f"{ran:,} s" if isinstance(ran, int) else ""
    if isinstance(billed, int) and billed != ran:
        text += f" ({billed:,} s billed)"
    return text + (f" of at most {limit:,} s" if isinstance(limit, int) else "")


def _price(job: Mapping[str, Any]) -> str:
    usd, hour = job.get("usd"), job.get("per_hour")
    if usd is None:
        return "no price declared"
    return f"USD {usd:.6f}".rstrip("0").rstrip(".") + (f" at {hour:g} an hour" if hour is not None else "")
