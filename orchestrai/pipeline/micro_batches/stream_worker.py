"""The long-lived worker of a stream: a micro-batch after another in one process, until it is told to stop.

Its state is the ledger's. Killed at any moment, the next process goes on from the position that was published with the data, and first
carries on what the other left half way.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from orchestrai.errors import ConfigError, OrchestraiError
from orchestrai.pipeline.micro_batches.batch_run import Batch, BatchRun
from orchestrai.pipeline.micro_batches.worker_lock import as_only_worker
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.runtime import Runtime

# a batch that its gate refused is judged again after this long, as a sensor asks for it again
AGAIN = timedelta(minutes=10)


@dataclass
class Worked:
    """What a worker did until it stopped."""

    batches: int = 0
    records: int = 0
    retried: int = 0
    refused: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Pace:
    """How a worker goes: a batch each `every`, at most `batches` of them (None: until it is stopped)."""

    every: timedelta = timedelta(minutes=1)
    batches: int | None = None


class StreamWorker:
    """Runs micro-batches of one dataset. `wait` sleeps for seconds, and says whether to stop; it is asked before each batch."""

    def __init__(
        self,
        runtime: Runtime,
        dataset: DatasetNode,
        wait: Callable[[float], bool],
        told: Callable[[str], None] = lambda line: None,
    ) -> None:
        if dataset.spec.source.kind != "stream":
            raise ConfigError(
                f"expected a dataset that is read from a stream, found {dataset.shown}, which is read from a "
                f"{dataset.spec.source.kind} source: its sensor or schedule runs it"
            )
        self._runtime, self._dataset, self._wait, self._told = runtime, dataset, wait, told

    def run(self, pace: Pace) -> Worked:
        """Work until told to stop, always between two batches; raises ConcurrentCommit where another worker is, and OrchestraiError.

        An error that may pass is tried again as the dataset declares; another one ends the worker.
        """
        with as_only_worker(self._runtime.settings.home, self._dataset):
            return self._work(pace)

    def _work(self, pace: Pace) -> Worked:
        done, batch = Worked(), BatchRun(self._runtime, self._dataset)
        policy, attempt, pause = self._dataset.spec.retries, 0, 0.0
        while (pace.batches is None or done.batches < pace.batches) and not self._wait(pause):
            begun = self._runtime.clock()
            try:
                result = batch.run()
            except OrchestraiError as error:
                if not error.retryable or attempt >= policy.max:
                    raise
                pause, attempt, done.retried = policy.wait(attempt), attempt + 1, done.retried + 1
                self._told(f"{type(error).__name__}: {error.message}; again in {pause:.0f} s")
                continue
            attempt = 0
            self._count(done, result)
            again = max(AGAIN, pace.every) if result.stuck else pace.every
            pause = max(0.0, (begun + again - self._runtime.clock()).total_seconds())
        return done

    def _count(self, done: Worked, result: Batch) -> None:
        done.batches += 1
        done.records += result.records
        done.refused = result.refused
        if not result.idle:
            at: datetime = self._runtime.clock()
            line = f"{at:%H:%M:%S} {result.records:,} records, {', '.join(result.partitions) or 'none carried on'}"
            self._told(line + "".join(f"; refused {place}: {why}" for place, why in sorted(result.refused.items())))
