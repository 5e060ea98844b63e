"""The embedded stream: an append-only log of segment files in one folder, so that a pipeline runs without a broker.

A topic is a folder, a partition of it a folder of segments `<first offset:020d>.segment`, each a row of frames (stream_records.py)
whose index is the record's offset. Offsets count from 0. A crash leaves at most a torn tail, which the next writer cuts off;
damage that has a whole record behind it is never cut but told. Beside each segment lies an index (offsets/segment_index.py), so that
reading on costs the records that are read.
"""

import contextlib
import fcntl
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO
from zlib import crc32

from orchestrai.errors import ConfigError, IntegrityError, StorageError
from orchestrai.ingest.sources.offsets.frame_walk import damaged, walk
from orchestrai.ingest.sources.offsets.segment_index import SegmentIndex
from orchestrai.ingest.sources.stream_records import MAX_RECORD_BYTES, StreamRecord, decode_record, encode_record, framed

SEGMENT_BYTES = 64 * 1024 * 1024
_SUFFIX = ".segment"


@dataclass
class LogPartition:
    """One partition's folder, for reading."""

    folder: Path
    # frames that were looked at: what reading cost
    walked: int = 0
    _indices: dict[int, SegmentIndex] = field(default_factory=dict, repr=False)

    def segments(self) -> list[int]:
        """The first offsets of the segments, ascending."""
        try:
            names = [path.name for path in self.folder.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise StorageError(f"expected to list {self.folder.name}, found {type(exc).__name__}: check the disk") from exc
        stems = [name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)]
        return sorted(int(stem) for stem in stems if len(stem) == 20 and stem.isdigit())

    def path(self, first: int) -> Path:
        """The file of a segment."""
        return self.folder / f"{first:020d}{_SUFFIX}"

    def bounds(self) -> tuple[int, int]:
        """The first offset kept and the next to be written."""
        segments = self.segments()
        if not segments:
            return 0, 0
        with self._opened(segments[-1]) as stream:
            return segments[0], self.to_end(stream, self.index(segments[-1]))[0]

    def index(self, first: int) -> SegmentIndex:
        """Where records of a segment begin."""
        if first not in self._indices:
            self._indices[first] = SegmentIndex(self.path(first), first)
        return self._indices[first]

    def to_end(self, stream: BinaryIO, index: SegmentIndex) -> tuple[int, int]:
        """The offset behind a segment's last whole record, and where that record ends."""
        following, end = index.last(stream)
        stream.seek(end)
        for frame in walk(stream, following):
            self.walked += 1
            index.learn(frame.offset, frame.start)
            following, end = frame.offset + 1, frame.end
        return following, end

    def read(self, offset: int) -> Iterator[StreamRecord]:
        """Yield the records from `offset` on that would survive a power loss; raises IntegrityError at damage."""
        segments = self.segments()
        at = max(0, bisect_right(segments, offset) - 1)
        for number, first in enumerate(segments[at:], start=at):
            with self._opened(first) as stream:
                # what is handed out must not be lost later, or its offset would be given to another record
                os.fsync(stream.fileno())
                index = self.index(first)
                expected, end = index.place(stream, offset)
                stream.seek(end)
                for frame in walk(stream, expected, skip_to=offset):
                    self.walked += 1
                    index.learn(frame.offset, frame.start)
                    expected, end = frame.offset + 1, frame.end
                    if frame.offset >= offset:
                        yield decode_record(frame.body)
                last = number == len(segments) - 1
                if damaged(stream, expected, end) if last else expected != segments[number + 1]:
                    raise self.damage(expected)

    def damage(self, offset: int) -> IntegrityError:
        """What to raise for a record that is not as it was written."""
        return IntegrityError(
            f"expected record {offset} of {self.folder.parent.name}/{self.folder.name} whole, found it damaged: "
            "restore the segment from a copy"
        )

    @contextlib.contextmanager
    def _opened(self, first: int) -> Iterator[BinaryIO]:
        try:
            with self.path(first).open("rb") as stream:
                yield stream
        except OSError as exc:
            name = self.path(first).name
            raise StorageError(f"expected to read {name}, found {type(exc).__name__}: check the disk") from exc


class _Tail:
    """The end of a partition, open for appending under a lock."""

    def __init__(self, partition: LogPartition, number: int, segment_bytes: int) -> None:
        self.partition, self.number, self.segment_bytes = partition, number, segment_bytes
        partition.folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(partition.folder / "writer.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise StorageError(f"expected to be the one writer of {partition.folder}, found another: end it first") from None
        segments = partition.segments()
        self.next = segments[-1] if segments else 0
        self._open(self.next)
        self._cut_torn_tail()

    def append(self, bodies: Sequence[tuple[datetime, bytes | None, bytes | None]]) -> tuple[int, int]:
        first = self.next
        for moment, key, value in bodies:
            if self._file.tell() >= self.segment_bytes:
                self._flush()
                self._file.close()
                self._open(self.next)
            body = encode_record(StreamRecord(self.number, self.next, moment, value, key))
            if len(body) > MAX_RECORD_BYTES:
                raise ConfigError(f"expected records of at most {MAX_RECORD_BYTES} bytes, found {len(body)}: split it")
            self._index.learn(self.next, self._file.tell())
            self._file.write(framed(self.next, body))
            self.next += 1
        self._flush()
        return first, self.next

    def close(self) -> None:
        self._file.close()
        os.close(self._lock)

    def _flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        # after the records: what a crash takes from them no index has named
        self._index.write()

    def _open(self, first: int) -> None:
        path = self.partition.path(first)
        fresh = not path.exists()
        self._file, self._index = path.open("r+b" if not fresh else "x+b"), self.partition.index(first)
        if fresh:
            for folder in (path.parent, path.parent.parent):
                descriptor = os.open(folder, os.O_RDONLY)
                os.fsync(descriptor)
                os.close(descriptor)

    def _cut_torn_tail(self) -> None:
        self.next, end = self.partition.to_end(self._file, self._index)
        if self._file.seek(0, os.SEEK_END) > end:
            if damaged(self._file, self.next, end):
                raise self.partition.damage(self.next)
            # rows of what is torn went as the end was looked for; from the file they go first, for other records will lie there
            self._index.write()
            self._file.truncate(end)
            self._flush()
        self._index.write()
        self._file.seek(end)


class StreamLog:
    """A topic in a folder: read by anybody, written by one process per partition at a time."""

    def __init__(self, folder: Path, topic: str, *, partitions: int = 1, segment_bytes: int = SEGMENT_BYTES) -> None:
        if not topic or "/" in topic or topic.startswith("."):
            raise ConfigError(f"expected a plain topic name, found {topic!r}: rename it")
        self.topic, self.segment_bytes = topic, segment_bytes
        self.folder = folder / topic
        # a reader that is told of fewer partitions than there are would pass over data
        present = [int(path.name) for path in self.folder.glob("[0-9]" * 5)] if self.folder.is_dir() else []
        count = max([partitions, *(number + 1 for number in present)])
        self.parts = {n: LogPartition(self.folder / f"{n:05d}") for n in range(count)}

    @property
    def uri(self) -> str:
        """Where the stream is, without any secret."""
        return f"log://{self.topic}"

    def __enter__(self) -> "StreamLog":
        return self

    def __exit__(self, *raised: object) -> None:
        return None

    def bounds(self) -> Mapping[int, tuple[int, int]]:
        """Of each partition the first offset kept and the next to be written."""
        return {number: part.bounds() for number, part in self.parts.items()}

    def read(self, offsets: Mapping[int, int], limit_records: int, limit_bytes: int, wait: float) -> list[StreamRecord]:
        """Records from `offsets` on, partition by partition, each partition having its share of the limits."""
        batch: list[StreamRecord] = []
        size, waiting = 0, sorted(offsets)
        while waiting:
            number = waiting.pop(0)
            records = max(1, (limit_records - len(batch)) // (len(waiting) + 1))
            room = max(1, (limit_bytes - size) // (len(waiting) + 1))
            taken = taken_bytes = 0
            for record in self.parts[number].read(offsets[number]):
                if taken >= records or (taken and taken_bytes + record.size > room):
                    break
                batch.append(record)
                taken, taken_bytes = taken + 1, taken_bytes + record.size
            size += taken_bytes
            if len(batch) >= limit_records or size >= limit_bytes:
                break
        return batch

    def writer(self, clock: Callable[[], datetime]) -> "LogWriter":
        """Open all partitions for appending; raises StorageError when another writer has one."""
        return LogWriter(self, clock)


class LogWriter:
    """Appends to a topic. `append` returns once its records survive a power loss.

    A record that is sent again after a lost answer is a second record: producers make themselves idempotent by a key.
    """

    def __init__(self, log: StreamLog, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._tails: list[_Tail] = []
        try:
            for number, part in log.parts.items():
                self._tails.append(_Tail(part, number, log.segment_bytes))
        except (StorageError, IntegrityError):
            self.close()
            raise

    def __enter__(self) -> "LogWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def append(self, values: Sequence[bytes | None], *, key: bytes | None = None) -> tuple[int, int, int]:
        """Append values to the partition of `key` (0 without one); returns partition, first offset and the next."""
        number = crc32(key) % len(self._tails) if key is not None else 0
        moment = self._clock()
        first, following = self._tails[number].append([(moment, key, value) for value in values])
        return number, first, following

    def close(self) -> None:
        """Let go of the files and locks."""
        for tail in self._tails:
            tail.close()
        self._tails = []
