"""The port to executors: a function and a list of tasks, each done by whoever is free, from store to store.

A task and its answer are JSON text, so that nothing is pickled and nothing but text passes through the driver. A task names stores by URL
and secrets by where they lie; no task holds the value of one. It may be done more than once, where an executor is lost in the middle of
it or a slow one is raced: what it writes must be the same again, or lie under another key.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from orchestrai import errors
from orchestrai.errors import OrchestraiError, StorageError

# a task and the number of this try, which no other try of any task has; its answer
Work = Callable[[Mapping[str, Any], int], Mapping[str, Any]]


class Executors(Protocol):
    """Whoever does tasks elsewhere."""

    @property
    def name(self) -> str:
        """What does them, with its version."""
        ...

    def answers(self, work: Work, tasks: Sequence[str]) -> list[str]:
        """`answer_of` each task, in their order; raises StorageError where the executors themselves fail."""
        ...


class _Failure(NamedTuple):
    """An error of ours as it comes back from an executor."""

    error: str
    message: str
    fields: Mapping[str, Any]


def answer_of(work: Work, task: str, attempt: int) -> str:
    """Do one task; an error of ours is an answer, as trying again would come to the same. A transient one is raised."""
    try:
        return json.dumps({"done": work(json.loads(task), attempt)})
    except OrchestraiError as exc:
        if exc.retryable:
            raise
        fields = {name: value for name, value in exc.fields.items() if isinstance(value, str | int | float)}
        return json.dumps({"failed": _Failure(type(exc).__name__, exc.message, fields)})


def spread_over(executors: Executors, work: Work, tasks: Sequence[Mapping[str, Any]]) -> list[Any]:
    """What came of each task, in their order; raises what the first that failed raised there."""
    texts = executors.answers(work, [json.dumps(task) for task in tasks]) if tasks else []
    answers = [json.loads(text) for text in texts]
    for answer in answers:
        if "failed" in answer:
            failure = _Failure(*answer["failed"])
            kind = getattr(errors, failure.error, StorageError)
            raise kind(failure.message, **failure.fields)
    return [answer["done"] for answer in answers]
