"""What one run of a stage used: seconds, bytes, calls to stores, memory, and jobs elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrai.storage.traffic import Traffic


@dataclass(frozen=True)
class JobUsage:
    """A job that ran elsewhere, as its service tells of it.

    `units` are what the service bills by, such as `vcpu_hour` or `dcu_hour`. `usd` is its price where that was declared with the job.
    """

    name: str
    place: str
    seconds: float = 0.0
    instance_type: str = ""
    instances: int = 1
    spot: bool = False
    units: Mapping[str, float] = field(default_factory=dict)
    usd: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The form that is kept."""
        return {**self.__dict__, "units": dict(self.units)}


@dataclass(frozen=True)
class Usage:
    """Seconds, bytes of data as the stage counts them, traffic by kind of store, jobs.

    `child_cpu_seconds` are those of programs that the run started and waited for. `peak_rss_bytes` is the most that the process ever
    had: where `peak_raised` is false another run before it had as much, and this one had at most that.
    """

    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    child_cpu_seconds: float = 0.0
    bytes_read: int = 0
    bytes_written: int = 0
    peak_rss_bytes: int = 0
    peak_raised: bool = False
    stores: Mapping[str, Traffic] = field(default_factory=dict)
    jobs: tuple[JobUsage, ...] = ()

    @property
    def all_cpu_seconds(self) -> float:
        """CPU seconds here, programs that were started included."""
        return self.cpu_seconds + self.child_cpu_seconds

    @property
    def traffic(self) -> Traffic:
        """Calls to all stores together."""
        total = Traffic()
        for one in self.stores.values():
            total = total.plus(one)
        return total

    def plus(self, other: "Usage") -> "Usage":
        """Both together; of the peaks the larger."""
        higher = max(self, other, key=lambda one: one.peak_rss_bytes)
        kinds = {*self.stores, *other.stores}
        return Usage(
            self.wall_seconds + other.wall_seconds,
            self.cpu_seconds + other.cpu_seconds,
            self.child_cpu_seconds + other.child_cpu_seconds,
            self.bytes_read + other.bytes_read,
            self.bytes_written + other.bytes_written,
            higher.peak_rss_bytes,
            higher.peak_raised,
            {kind: self.stores.get(kind, Traffic()).plus(other.stores.get(kind, Traffic())) for kind in sorted(kinds)},
            (*self.jobs, *other.jobs),
        )

    def as_json(self) -> dict[str, Any]:
        """The form that is kept; seconds to the millisecond."""
        return {
            "wall_seconds": round(self.wall_seconds, 3),
            "cpu_seconds": round(self.cpu_seconds, 3),
            "child_cpu_seconds": round(self.child_cpu_seconds, 3),
            "bytes_read": self.bytes_read,
            "bytes_written": self.bytes_written,
            "peak_rss_bytes": self.peak_rss_bytes,
            "peak_raised": self.peak_raised,
            "stores": {kind: traffic.as_json() for kind, traffic in sorted(self.stores.items())},
            "jobs": [job.as_json() for job in self.jobs],
        }


def read_usage(body: Mapping[str, Any]) -> Usage:
    """From the form that is kept."""
    stores = {kind: Traffic(**traffic) for kind, traffic in body["stores"].items()}
    return Usage(**{**body, "stores": stores, "jobs": tuple(JobUsage(**job) for job in body["jobs"])})
