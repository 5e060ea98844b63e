"""The demo's streams: what its producers send, appended to the embedded log once however often the demo runs."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from orchestrai.errors import ConfigError
from orchestrai.ingest.sources.stream_log import StreamLog


class Topic:
    """One topic of the log, written by one producer in order."""

    def __init__(self, folder: Path, name: str, stack: ExitStack) -> None:
        self._log = StreamLog(folder, name)
        self._moment = datetime(1970, 1, 1, tzinfo=UTC)
        self._sent, self._there = 0, self._log.bounds()[0][1]
        self._writer = stack.enter_context(self._log.writer(lambda: self._moment))

    def send(self, values: Sequence[bytes], arrived: datetime) -> None:
        """Append what is not there yet; raises ConfigError when something else is there."""
        known = max(0, min(len(values), self._there - self._sent))
        if known:
            records = self._log.read({0: self._sent}, known, 1 << 40, 0)
            if [record.value for record in records] != list(values[:known]):
                raise ConfigError(
                    f"expected the records of this seed in {self._log.uri}, found others: use another ORCHESTRAI_HOME"
                )
        if len(values) > known:
            self._moment = arrived
            self._writer.append(values[known:])
        self._sent += len(values)


@contextmanager
def topics(folder: Path, *names: str) -> Iterator[dict[str, Topic]]:
    """Open topics for writing; raises StorageError when another writer has one."""
    with ExitStack() as stack:
        yield {name: Topic(folder, name, stack) for name in names}
