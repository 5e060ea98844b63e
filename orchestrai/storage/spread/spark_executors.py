"""Tasks on Spark: one partition each, by a function that the executors have, since this release is installed there."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrai.errors import MissingExtra, StorageError
from orchestrai.project.in_force import connections, receive_connections
from orchestrai.storage.cloud.access.own_secrets import require_sendable
from orchestrai.storage.spread.executors import Work, answer_of

if TYPE_CHECKING:
    import pyarrow as pa

_SCHEMA = "number int, body string"


class SparkExecutors:
    """The executors of a Spark session whose driver is this process; a Connect server places rows itself, and is none.

    An executor that is lost in the middle of a task has it done by another, as Spark does. Connections go along as they are declared: by
    where their secrets lie.
    """

    def __init__(self, session: Callable[[], object]) -> None:
        self._open = session
        self._session: Any = None

    @property
    def session(self) -> Any:
        """The session; raises MissingExtra where there is no PySpark."""
        if self._session is None:
            try:
                self._session = self._open()
            except ImportError as exc:
                raise MissingExtra("expected PySpark for work on executors, found none: install orchestrai[spark]") from exc
        return self._session

    @property
    def name(self) -> str:
        """`spark` and its version."""
        return f"spark {self.session.version}"

    def answers(self, work: Work, tasks: Sequence[str]) -> list[str]:
        """As `Executors.answers`; raises ConfigError for a connection whose credentials cannot be sent."""
        declared = connections()
        # a worker would call by the chain of its machine, as somebody else
        require_sendable(declared)
        frame = self._frame([*enumerate(tasks)])
        from py4j.protocol import Py4JError  # type: ignore[import-untyped]
        from pyspark.errors import PySparkException

        try:
            rows = frame.mapInArrow(partial(_answered, work, declared.text()), _SCHEMA).collect()
        except (PySparkException, Py4JError) as exc:
            raise _failed(self.name, exc) from exc
        found = {row["number"]: row["body"] for row in rows}
        if len(found) != len(tasks):
            raise StorageError(f"expected {len(tasks)} answers of {self.name}, found {len(found)}: run it again")
        return [found[number] for number in range(len(tasks))]

    def _frame(self, rows: Sequence[tuple[int, str]]) -> Any:
        """The tasks, a partition each."""
        session = self.session
        return session.createDataFrame(session.sparkContext.parallelize(rows, len(rows)), _SCHEMA)


def _failed(name: str, exc: Exception) -> StorageError:
    lines = [line.strip() for line in str(exc).splitlines() if "Error: " in line or "Exception: " in line]
    cause = (lines or str(exc).splitlines() or [type(exc).__name__])[-1][:300]
    return StorageError(
        f"expected {name} to do its tasks, found: {cause}; nothing was published. Its executors need this release of orchestrai and "
        "the stores within reach: run it again, or unset ORCHESTRAI_ENGINE and ORCHESTRAI_SPARK_THRESHOLD_BYTES for one process"
    )


def _answered(work: Work, sent: str, batches: Iterator["pa.RecordBatch"]) -> Iterator["pa.RecordBatch"]:
    """On an executor: each task of a partition."""
    import pyarrow as pa

    receive_connections(sent)
    for batch in batches:
        for number, task in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
            answer = answer_of(work, task, _attempt())
            yield pa.RecordBatch.from_arrays(
                [pa.array([number], pa.int32()), pa.array([answer], pa.string())], ["number", "body"]
            )


def _attempt() -> int:
    """A number that no other try of any task in this application has; 0 where there is no Spark around it."""
    from pyspark import TaskContext

    context = TaskContext.get()
    return int(context.taskAttemptId()) + 1 if context is not None else 0
