"""Tasks in threads: order, failure, giving up, and what the asking thread has set."""

import re
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path

import pytest

import orchestrai
from orchestrai.core.parallel import in_order, map_calls

ROOT = Path(orchestrai.__file__).parent


def numbered(done: list[int], number: int) -> Callable[[], int]:
    def task() -> int:
        done.append(number)
        return number

    return task


@pytest.mark.parametrize("workers", [0, 1, 2, 9])
def test_results_come_in_the_order_of_the_tasks(workers: int) -> None:
    done: list[int] = []
    assert list(in_order([numbered(done, n) for n in range(50)], workers)) == list(range(50))
    assert sorted(done) == list(range(50))


def test_two_tasks_run_at_once() -> None:
    both = threading.Barrier(2, timeout=120)
    assert len(list(in_order([both.wait, both.wait], 2))) == 2


class Odd(BaseException):
    """Nothing that code would catch."""


@pytest.mark.parametrize("workers", [0, 2])
def test_what_a_task_raises_reaches_the_caller_after_the_results_before_it(workers: int) -> None:
    def fail() -> int:
        raise Odd("third")

    done: list[int] = []
    found = []
    with pytest.raises(Odd, match="third"):
        for value in in_order([numbered(done, 0), numbered(done, 1), fail], workers):
            found.append(value)
    assert found == [0, 1]


def test_after_a_failure_what_has_not_begun_is_left_and_no_thread_stays() -> None:
    before = threading.active_count()
    done: list[int] = []
    both = threading.Barrier(2, timeout=120)

    def fail() -> int:
        both.wait()
        raise Odd("first")

    def hold() -> int:
        both.wait()
        deadline = time.monotonic() + 120
        # until the thread that failed has ended, so that whatever it left behind would be taken by this one
        while threading.active_count() > before + 1 and time.monotonic() < deadline:
            time.sleep(0.001)
        return 0

    with pytest.raises(Odd):
        next(in_order([fail, hold, *(numbered(done, n) for n in range(2, 1000))], 2))
    assert threading.active_count() == before
    assert done == []


def test_a_caller_that_stops_asking_leaves_no_thread() -> None:
    before = threading.active_count()
    results = in_order([numbered([], n) for n in range(1000)], 2)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_a_task_sees_what_the_asking_thread_has_set_and_what_it_sets_nobody_else_sees() -> None:
    acting: ContextVar[str] = ContextVar("acting", default="nobody")
    both = threading.Barrier(2, timeout=120)

    def seen(number: int) -> str:
        before = acting.get()
        acting.set(f"task {number}")
        both.wait()
        return f"{before}, then {acting.get()}"

    acting.set("ada")
    assert list(map_calls(seen, range(2))) == ["ada, then task 0", "ada, then task 1"]
    assert acting.get() == "ada"


def test_threads_are_started_where_the_context_goes_with_them_alone() -> None:
    # a thread of one's own sees no actor, no run's cost and no proof against writing
    starters = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*.py")
        if re.search(r"ThreadPoolExecutor\(|threading\.Thread\b|to_thread\(|run_in_executor\(", path.read_text())
    }
    assert starters == {
        "core/parallel.py",
        "provenance/verify/read_ahead.py",
        # a metrics endpoint's look and a demo's server serve no caller
        "cli/reports/metrics_commands.py",
        "demo/items_api.py",
    }
