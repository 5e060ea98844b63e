"""Measures one run of a stage, from outside of it; what happens within can be noted from anywhere below.

The figures are those of the process: of two runs at once in one process each would have what both used.
"""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from orchestrai.ledger.costs.usage import JobUsage, Usage
from orchestrai.ledger.report import Cost
from orchestrai.storage import traffic


class RunMeter:
    """What a run uses from `begin` on; `receipts`, `jobs` and `choices` are noted while it goes."""

    def __init__(self) -> None:
        self.receipts: list[str] = []
        self.jobs: dict[str, JobUsage] = {}
        self.choices: list[str] = []
        self._wall = time.perf_counter()
        self._cpu = time.process_time()
        self._children = _children()
        self._peak = _peak()
        self._stores = traffic.counted()

    def usage(self, stage: Cost | None) -> Usage:
        """What was used up to now; bytes of data are those that the stage counted, or of all stores where it did not end."""
        stores = traffic.since(self._stores)
        peak = _peak()
        measured = Usage(stores=stores)
        read, written = (
            (stage.bytes_read, stage.bytes_written)
            if stage is not None
            else (measured.traffic.bytes_read, measured.traffic.bytes_written)
        )
        return Usage(
            time.perf_counter() - self._wall,
            time.process_time() - self._cpu,
            _children() - self._children,
            read,
            written,
            peak,
            peak > self._peak,
            stores,
            tuple(self.jobs.values()),
        )


_METER: ContextVar[RunMeter | None] = ContextVar("_METER", default=None)


@contextmanager
def metering() -> Iterator[RunMeter | None]:
    """Measure what is run within; None within a run that is measured already."""
    if _METER.get() is not None:
        yield None
        return
    meter = RunMeter()
    token = _METER.set(meter)
    try:
        yield meter
    finally:
        _METER.reset(token)


def note_receipt(digest: str) -> None:
    """A version was published under this receipt."""
    meter = _METER.get()
    if meter is not None and digest not in meter.receipts:
        meter.receipts.append(digest)


def note_job(job: JobUsage) -> None:
    """A job ran elsewhere; one of a name counts once."""
    meter = _METER.get()
    if meter is not None:
        meter.jobs[job.name] = job


def note_choice(choice: str) -> None:
    """Something was chosen, and why."""
    meter = _METER.get()
    if meter is not None and choice not in meter.choices:
        meter.choices.append(choice)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
