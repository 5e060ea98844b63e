"""How to wait for a job that runs elsewhere: look, give up at a limit, and stop what nobody waits for any more."""

import random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from orchestrai.errors import OrchestraiError, StorageError, TransientStorageError

Phase = Literal["running", "completed", "ended"]
Sleep = Callable[[float], None]
Monotonic = Callable[[], float]
Look = Callable[[], tuple[Phase, str]]
JITTER = 0.2


def phase_of(state: str, completed: str, ended: Collection[str], reason: object = None) -> tuple[Phase, str]:
    """What a service's word for a job's state means; whatever it has no other word for is still running."""
    if state == completed:
        return "completed", state
    return ("ended", f"{state}: {reason or 'no reason given'}") if state in ended else ("running", state)


@dataclass(frozen=True)
class Clock:
    """How time passes while somebody waits."""

    sleep: Sleep = time.sleep
    monotonic: Monotonic = time.monotonic
    random: Callable[[], float] = random.random


@dataclass(frozen=True)
class Waiting:
    """How long a job may take, how often to look, and what to change when it takes longer; `failure` is what is raised.

    With `longest` the pauses double from `poll` up to it, each with a random fifth more. `patient` looks again, up to the limit, where
    a look failed with TransientStorageError: the job goes on whether or not it can be seen.
    """

    limit: timedelta
    poll: timedelta
    remedy: str
    clock: Clock = field(default_factory=Clock)
    failure: type[OrchestraiError] = StorageError
    after_failure: str = "nothing was published"
    longest: timedelta | None = None
    patient: bool = False

    def until_done(self, job: str, look: Look, stop: Callable[[], None] | None, *, what: str = "job") -> None:
        """Return when `look` says completed; raises `failure` when the job ends otherwise.

        A job past its limit is stopped, and so is one whose run is interrupted meanwhile: whoever ends a run does not want to go
        on paying. An error of `look` leaves the job alone, because the next try takes it up. Without `stop` the job is left alone
        in each case, and one past the limit is a TransientStorageError.
        """
        interrupted = True
        try:
            self._wait(job, look, stop, f"expected {what} {job}")
            interrupted = False
        except OrchestraiError:
            interrupted = False
            raise
        finally:
            if interrupted and stop is not None:
                stop()

    def _wait(self, job: str, look: Look, stop: Callable[[], None] | None, expected: str) -> None:
        deadline = self.clock.monotonic() + self.limit.total_seconds()
        pause = self.poll.total_seconds()
        while True:
            phase, state = self._look(look)
            if phase == "completed":
                return
            if phase == "ended":
                raise self.failure(f"{expected} to complete, found {state}: {self.after_failure}", job=job)
            if self.clock.monotonic() > deadline:
                late = f"{expected} to end within {self.limit}, found it {state}"
                if stop is None:
                    raise TransientStorageError(f"{late}: {self.remedy}", job=job)
                stop()
                raise self.failure(f"{late}: it was stopped; {self.remedy}", job=job)
            jitter = 0.0 if self.longest is None else JITTER * self.clock.random()
            self.clock.sleep(pause * (1 + jitter))
            if self.longest is not None:
                pause = min(self.longest.total_seconds(), pause * 2)

    def _look(self, look: Look) -> tuple[Phase, str]:
        try:
            return look()
        except TransientStorageError as exc:
            if not self.patient:
                raise
            return "running", f"unseen ({exc.message})"
