"""A few threads for tasks of one kind; what a command starts in a tenth of the time of an executor.

Tasks see what the thread that asks has set for a while (its context): who acts, what a run costs, through what stores are opened.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")
Asked = TypeVar("Asked")
# calls to a service of which one answers in milliseconds, most of them waiting
CALLS = 8


class _Outcome(Generic[T]):
    """What came of a task: its value, or what it raised, kept for the thread that asks."""

    value: T
    error: BaseException | None = None

    def __enter__(self) -> "_Outcome[T]":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        self.error = error
        return True

    def result(self) -> T:
        """The value, or raise what the task raised."""
        if self.error is not None:
            raise self.error
        return self.value


def in_order(tasks: Sequence[Callable[[], T]], workers: int) -> Iterator[T]:
    """Run tasks in `workers` threads, or in the calling one for fewer than two; yields what they return, in their order.

    Raises what the first that failed raised. Then, and when the caller stops asking, what has not begun is left, and what runs is
    waited for.
    """
    if workers < 2 or len(tasks) < 2:
        return (task() for task in tasks)
    return _Crew(tasks).results(min(workers, len(tasks)))


def map_calls(call: Callable[[Asked], T], items: Iterable[Asked], workers: int = CALLS) -> Iterator[T]:
    """What a call gives for each item, in their order, `workers` calls at once; raises as `in_order`."""
    return in_order([partial(call, item) for item in items], workers)


class _Crew(Generic[T]):
    """Threads that take tasks until there are none left."""

    def __init__(self, tasks: Sequence[Callable[[], T]]) -> None:
        import threading
        from contextvars import copy_context

        self.tasks = tasks
        self.waiting = deque(range(len(tasks)))
        self.outcomes: dict[int, _Outcome[T]] = {}
        self.changed = threading.Condition()
        self.new_thread = threading.Thread
        self.context = copy_context

    def results(self, workers: int) -> Iterator[T]:
        """What the tasks return, in their order."""
        threads = []
        try:
            for _ in range(workers):
                # one each: a context is entered by one thread at a time
                thread = self.new_thread(target=self.context().run, args=(self.work,))
                thread.start()
                threads.append(thread)
            for number in range(len(self.tasks)):
                with self.changed:
                    while number not in self.outcomes:
                        self.changed.wait()
                    outcome = self.outcomes.pop(number)
                yield outcome.result()
        finally:
            with self.changed:
                self.waiting.clear()
            for thread in threads:
                thread.join()

    def work(self) -> None:
        """Do tasks; the first that fails is the last that is begun."""
        while True:
            with self.changed:
                if not self.waiting:
                    return
                number = self.waiting.popleft()
            outcome = _Outcome[T]()
            with outcome:
                outcome.value = self.tasks[number]()
            with self.changed:
                self.outcomes[number] = outcome
                if outcome.error is not None:
                    self.waiting.clear()
                self.changed.notify_all()
