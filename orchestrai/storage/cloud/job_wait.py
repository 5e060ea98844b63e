"""How to wait for a job that runs elsewhere: look, give up at a limit, and stop what nobody waits for any more."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from orchestrai.errors import OrchestraiError, StorageError

Phase = Literal["running", "completed", "ended"]
Sleep = Callable[[float], None]
Monotonic = Callable[[], float]


@dataclass(frozen=True)
class Waiting:
    """How long a job may take, how often to look, and what to change when it takes longer; `failure` is what is raised."""

    limit: timedelta
    poll: timedelta
    remedy: str
    sleep: Sleep = time.sleep
    monotonic: Monotonic = time.monotonic
    failure: type[OrchestraiError] = StorageError

    def until_done(self, job: str, look: Callable[[], tuple[Phase, str]], stop: Callable[[], None]) -> None:
        """Return when `look` says completed; raises `failure` when the job ends otherwise.

        A job past its limit is stopped, and so is one whose run is interrupted meanwhile: whoever ends a run does not want to go
        on paying. An error of `look` leaves the job alone, because the next try takes it up.
        """
        deadline = self.monotonic() + self.limit.total_seconds()
        interrupted = True
        try:
            while not self._done(job, look, stop, deadline):
                self.sleep(self.poll.total_seconds())
            interrupted = False
        except OrchestraiError:
            interrupted = False
            raise
        finally:
            if interrupted:
                stop()

    def _done(self, job: str, look: Callable[[], tuple[Phase, str]], stop: Callable[[], None], deadline: float) -> bool:
        phase, said = look()
        if phase == "ended":
            raise self.failure(f"expected job {job} to complete, found {said}; nothing was published")
        if phase == "running" and self.monotonic() > deadline:
            stop()
            raise self.failure(
                f"expected job {job} to end within {self.limit}, found it {said}: it was stopped; {self.remedy}"
            )
        return phase == "completed"
