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

    def __init__(self, asset: str = "") -> None:
        self.asset = asset
        self.receipts: list[str] = []
        self.jobs: dict[str, JobUsage] = {}
        self.choices: list[str] = []
        self.sized = 0
        self._wall = time.perf_counter()
        self._cpu = time.process_time()
        self._children = _children()
        self._peak = _peak()
        self._stores = traffic.counted()

    def usage(self, stage: Cost | None) -> Usage:
        """What was used up to now; of bytes the larger of what the stage counted and what went through stores, which differ: a stage
        may read files where they lie, and not every stage counts what it writes.
        """
        stores = traffic.since(self._stores)
        peak = _peak()
        measured = Usage(stores=stores)
        through, told = measured.traffic, stage or Cost()
        read, written = max(told.bytes_read, through.bytes_read), max(told.bytes_written, through.bytes_written)
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
def metering(asset: str = "") -> Iterator[RunMeter | None]:
    """Measure a run of an asset; None within a run that is measured already."""
    if _METER.get() is not None:
        yield None
        return
    meter = RunMeter(asset)
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


def measured_asset() -> str:
    """The asset whose run is measured; empty outside of one."""
    meter = _METER.get()
    return meter.asset if meter is not None else ""


def measured_size() -> int:
    """The bytes of input by which the run is sized; 0 where nobody noted them."""
    meter = _METER.get()
    return meter.sized if meter is not None else 0


def note_size(size: int) -> None:
    """The bytes of input by which a run is sized."""
    meter = _METER.get()
    if meter is not None:
        meter.sized = max(meter.sized, size)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
