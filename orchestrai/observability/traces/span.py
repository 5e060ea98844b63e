"""Spans, and OTLP's JSON for them. What they say is names, counts and times: no value of data, and no text of an error.

Ids follow from the run's id, so that processes that know nothing of each other, and a second look, make one trace.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Value = str | int | bool
SCOPE = "orchestrai"


def trace_id(run_id: str) -> str:
    """The trace of a run: 32 hex digits."""
    return hashlib.sha256(f"trace {run_id}".encode()).hexdigest()[:32]


def span_id(*parts: str) -> str:
    """The id of a span by what it is of: 16 hex digits."""
    return hashlib.sha256("\0".join(("span", *parts)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Span:
    """One span; times in nanoseconds since 1970, `parent` an id or empty for the run itself."""

    trace: str
    id: str
    parent: str
    name: str
    begin: int
    end: int
    attributes: Mapping[str, Value] = field(default_factory=dict)
    status: Literal["ok", "error"] = "ok"

    def as_otlp(self) -> dict[str, Any]:
        """OTLP's JSON: ids in hex, 64-bit numbers as text."""
        body: dict[str, Any] = {
            "traceId": self.trace,
            "spanId": self.id,
            "name": self.name,
            "kind": 1,
            "startTimeUnixNano": str(self.begin),
            "endTimeUnixNano": str(max(self.begin, self.end)),
            "attributes": [_attribute(name, value) for name, value in sorted(self.attributes.items())],
            "status": {"code": 2 if self.status == "error" else 1},
        }
        return body | ({"parentSpanId": self.parent} if self.parent else {})


def request_of(spans: Sequence[Span], resource: Mapping[str, Value]) -> dict[str, Any]:
    """The body of an export request."""
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": [_attribute(name, value) for name, value in sorted(resource.items())]},
                "scopeSpans": [{"scope": {"name": SCOPE}, "spans": [span.as_otlp() for span in spans]}],
            }
        ]
    }


def _attribute(name: str, value: Value) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"key": name, "value": {"boolValue": value}}
    if isinstance(value, int):
        return {"key": name, "value": {"intValue": str(value)}}
    return {"key": name, "value": {"stringValue": value}}
