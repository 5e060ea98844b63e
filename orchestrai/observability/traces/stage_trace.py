"""What a stage did, as spans: one of the stage, and one of each partition that it told of or that came of it.

A partition's span runs from when the stage says that it begins with it to when it says the next; where a stage works on all at once,
from its begin to its end, and `orchestrai.timed` says `together`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock

from orchestrai.ledger.report import StageReport
from orchestrai.observability.traces.span import Span, Value, span_id, trace_id

# more of one stage would drown a viewer; how many were left out is told
MOST_PARTITIONS = 500


@dataclass
class StageTrace:
    """Listens to the progress of one stage; `attempt` tells a step that was tried again from the try before."""

    run_id: str
    asset: str
    stage: str
    partitions: Sequence[str]
    clock: Callable[[], int]
    attempt: int = 0
    begin: int = 0
    times: dict[str, list[int]] = field(default_factory=dict)
    _open: str = ""
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self.begin = self.clock()
        self._known = frozenset(self.partitions)

    def told(self, what: str, done: int, total: int) -> None:
        """The stage says how far it is."""
        del done, total
        key = what.replace("@", " ").rpartition(" ")[2]
        with self._lock:
            if key == self._open:
                return
            now = self.clock()
            if self._open:
                self.times[self._open][1] = now
            self._open = key if key in self._known else ""
            if self._open:
                self.times.setdefault(self._open, [now, now])

    def spans(self, report: StageReport | None) -> list[Span]:
        """Those of the stage and its partitions; `report` is None where it failed."""
        end = self.clock()
        with self._lock:
            if self._open:
                self.times[self._open][1] = end
                self._open = ""
        trace, own = trace_id(self.run_id), span_id(self.run_id, self.asset, str(self.attempt))
        outcomes = {outcome.partition: outcome for outcome in report.outcomes} if report is not None else {}
        keys = sorted({*self.times, *outcomes})
        shown = keys[-MOST_PARTITIONS:]
        attributes: dict[str, Value] = {
            "orchestrai.asset": self.asset,
            "orchestrai.stage": self.stage,
            "orchestrai.partitions": len(self.partitions),
            "orchestrai.attempt": self.attempt,
        }
        if len(keys) > len(shown):
            attributes["orchestrai.partitions_left_out"] = len(keys) - len(shown)
        if report is not None:
            attributes |= {
                "orchestrai.cpu_milliseconds": round(report.cost.cpu_seconds * 1000),
                "orchestrai.bytes_read": report.cost.bytes_read,
                "orchestrai.bytes_written": report.cost.bytes_written,
                "orchestrai.refused": len(report.refused),
            }
        failed = report is None or bool(report.refused)
        spans = [
            Span(trace, own, span_id(self.run_id), self.asset, self.begin, end, attributes, "error" if failed else "ok")
        ]
        for key in shown:
            begin, until = self.times.get(key, (self.begin, end))
            told: dict[str, Value] = {
                "orchestrai.asset": self.asset,
                "orchestrai.partition": key,
                "orchestrai.timed": "alone" if key in self.times else "together",
            }
            outcome = outcomes.get(key)
            if outcome is not None:
                told |= {
                    "orchestrai.rows": outcome.rows,
                    "orchestrai.bytes": outcome.size,
                    "orchestrai.published": outcome.published,
                }
            refused = report is not None and outcome is not None and outcome in report.refused
            name = f"{self.asset}@{key}"
            spans.append(
                Span(trace, span_id(own, key), own, name, begin, until, told, "error" if refused or report is None else "ok")
            )
        return spans


def run_span(run_id: str, job: str, begin: float, end: float, succeeded: bool) -> Span:
    """The span of a whole run; times in seconds since 1970, as Dagster's records have them."""
    status = "ok" if succeeded else "error"
    times = round(begin * 1e9), round(end * 1e9)
    return Span(trace_id(run_id), span_id(run_id), "", job, *times, {"dagster.run_id": run_id, "dagster.job": job}, status)  # type: ignore[arg-type]
