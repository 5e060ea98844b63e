"""Waiting for a job elsewhere, by a clock of the test's own."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from orchestrai.errors import ModelError, StorageError, TransientStorageError
from orchestrai.storage.cloud.job_wait import Clock, Phase, Waiting


@dataclass
class Time:
    now: float = 0.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@dataclass
class Job:
    """A job that goes through some states, the last one for ever."""

    states: list[tuple[Phase, str] | Exception]
    stopped: int = 0

    def look(self) -> tuple[Phase, str]:
        state = self.states[0] if len(self.states) == 1 else self.states.pop(0)
        if isinstance(state, Exception):
            raise state
        return state

    def stop(self) -> None:
        self.stopped += 1


RUNNING: tuple[Phase, str] = ("running", "Running")
DONE: tuple[Phase, str] = ("completed", "Done")
OUTAGE = TransientStorageError("nobody answers")


def waiting(time: Time, random: Callable[[], float] = lambda: 1.0) -> Waiting:
    clock = Clock(time.sleep, lambda: time.now, random)
    return Waiting(timedelta(minutes=10), timedelta(seconds=15), "raise the limit", clock, ModelError)


def test_a_job_is_looked_at_until_it_completes_at_equal_pauses() -> None:
    time, job = Time(), Job([RUNNING, RUNNING, DONE])
    waiting(time).until_done("j", job.look, job.stop)
    assert time.slept == [15, 15] and job.stopped == 0


def test_a_job_that_ended_otherwise_is_told_in_its_own_words() -> None:
    time, job = Time(), Job([("ended", "Failed: no rows")])
    with pytest.raises(ModelError, match="expected job j to complete, found Failed: no rows: nothing was published"):
        waiting(time).until_done("j", job.look, job.stop)
    assert job.stopped == 0


def test_a_job_past_its_limit_is_stopped() -> None:
    time, job = Time(), Job([RUNNING])
    with pytest.raises(ModelError, match=r"within 0:10:00, found it Running: it was stopped; raise the limit") as caught:
        waiting(time).until_done("j", job.look, job.stop)
    assert job.stopped == 1 and 600 < time.now <= 615 and not caught.value.retryable


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_job_whose_run_is_interrupted_is_stopped(ending: type[BaseException]) -> None:
    def interrupted(_: float) -> None:
        raise ending

    job, time = Job([RUNNING]), Time()
    once = replace(waiting(time), clock=Clock(interrupted, lambda: 0.0))
    with pytest.raises(ending):
        once.until_done("j", job.look, job.stop)
    assert job.stopped == 1


def test_an_outage_leaves_the_job_to_the_next_try() -> None:
    job = Job([RUNNING, OUTAGE])
    with pytest.raises(TransientStorageError):
        waiting(Time()).until_done("j", job.look, job.stop)
    assert job.stopped == 0


def test_who_is_patient_looks_again_until_the_limit() -> None:
    time, job = Time(), Job([OUTAGE, OUTAGE, DONE])
    patient = replace(waiting(time), patient=True)
    patient.until_done("j", job.look, job.stop)
    blind = Job([OUTAGE])
    with pytest.raises(ModelError, match=r"unseen \(nobody answers\)"):
        patient.until_done("j", blind.look, blind.stop)


def test_a_job_that_nobody_stops_is_worth_waiting_for_again() -> None:
    job = Job([RUNNING])
    with pytest.raises(TransientStorageError, match="expected backup job j to end within") as caught:
        waiting(Time()).until_done("j", job.look, None, what="backup job")
    assert caught.value.fields["job"] == "j"


def test_pauses_double_up_to_the_longest_with_a_random_part() -> None:
    time, job = Time(), Job([RUNNING] * 5 + [DONE])
    doubling = replace(waiting(time), longest=timedelta(seconds=60))
    doubling.until_done("j", job.look, job.stop)
    assert time.slept == [18.0, 36.0, 72.0, 72.0, 72.0]


def test_an_error_of_another_kind_is_not_waited_through() -> None:
    job = Job([StorageError("no right")])
    with pytest.raises(StorageError, match="no right"):
        replace(waiting(Time()), patient=True).until_done("j", job.look, job.stop)
