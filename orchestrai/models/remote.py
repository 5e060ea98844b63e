"""Work that runs elsewhere: one port for training jobs, how to wait for one, and what it cost."""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, Protocol

from orchestrai.errors import ModelError
from orchestrai.ledger.manifest import canonical_json
from orchestrai.models.boosting import BoostedTrees
from orchestrai.models.rows import Rows
from orchestrai.models.spec import Task, XGBoostParams

Phase = Literal["running", "completed", "ended"]
Sleep = Callable[[float], None]
Monotonic = Callable[[], float]


@dataclass(frozen=True)
class RemoteJob:
    """A finished job and what it cost; `usd` is None without a declared price."""

    name: str
    seconds: int
    billable_seconds: int
    instance_type: str
    spot: bool
    usd: float | None

    def as_json(self) -> dict[str, Any]:
        """For receipts."""
        return dict(self.__dict__)


class Trainer(Protocol):
    """Trains boosted trees somewhere else."""

    def train(
        self, name: str, params: XGBoostParams, task: Task, rows: Rows, stop: Rows | None = None
    ) -> tuple[BoostedTrees, RemoteJob]:
        """Run a job to its end, or take up the one of the same data and parameters; raises ModelError, StorageError."""
        ...


@dataclass(frozen=True)
class Waiting:
    """How long a job may take, how often to look, and what to change when it takes longer."""

    limit: timedelta
    poll: timedelta
    remedy: str
    sleep: Sleep = time.sleep
    monotonic: Monotonic = time.monotonic

    def until_done(self, job: str, look: Callable[[], tuple[Phase, str]], stop: Callable[[], None]) -> None:
        """Return when `look` says completed; raises ModelError when the job ends otherwise.

        A job past its limit is stopped, and so is one whose run is interrupted while it waits: whoever ends a run does not
        want to go on paying. An error of `look` leaves the job alone, because the next try takes it up.
        """
        deadline = self.monotonic() + self.limit.total_seconds()
        while True:
            phase, said = look()
            if phase == "completed":
                return
            if phase == "ended":
                raise ModelError(f"expected job {job} to complete, found {said}; nothing was published")
            if self.monotonic() > deadline:
                stop()
                raise ModelError(
                    f"expected job {job} to end within {self.limit}, found it {said}: it was stopped; {self.remedy}"
                )
            slept = False
            try:
                self.sleep(self.poll.total_seconds())
                slept = True
            finally:
                if not slept:
                    stop()


def job_name(name: str, request: Mapping[str, Any], channels: Mapping[str, bytes]) -> str:
    """A name that the same data and parameters always get, so that a second call finds the first one's job."""
    digest = hashlib.sha256(canonical_json(dict(request)))
    for data in channels.values():
        digest.update(hashlib.sha256(data).digest())
    return f"{name.replace('_', '-')[:40]}-{digest.hexdigest()[:20]}"


def price(seconds: float, per_hour: float | None) -> float | None:
    """US dollars of billable seconds."""
    return None if per_hour is None else round(per_hour * seconds / 3600, 6)
