"""Arrival by stream: micro-batches whose offsets are committed with the data, never with the broker.

What was read is recorded in the manifests that the batch publishes, in the same atomic commit; the next batch begins there.
So a crash at any moment, a rebalance or a second reader costs work, never a record and never a duplicate. A record that a
producer sends twice is two records: deduplicate by an idempotence key of the data.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from orchestrai.core.canonical import JsonValue
from orchestrai.errors import ConcurrentCommit, IntegrityError
from orchestrai.ingest.sources.stream_records import StreamRecord
from orchestrai.ingest.spec import StreamOptions
from orchestrai.ledger.heads import Head
from orchestrai.ledger.ledger import Ledger

STATS = "stream"


class StreamSource(Protocol):
    """A topic with numbered partitions of records at ascending offsets.

    Raises TransientStorageError for an outage, StorageError for a refusal, IntegrityError for damage: none is "nothing new".
    """

    @property
    def topic(self) -> str: ...

    @property
    def uri(self) -> str:
        """Where the stream is, without any secret."""
        ...

    def bounds(self) -> Mapping[int, tuple[int, int]]:
        """Of each partition the first offset kept and the next to be written."""
        ...

    def read(self, offsets: Mapping[int, int], limit_records: int, limit_bytes: int, wait: float) -> list[StreamRecord]:
        """At most `limit_records` records, and about `limit_bytes`, from `offsets` on; in order within a partition.

        Waits at most `wait` seconds for records that `bounds` says are there.
        """
        ...


@dataclass(frozen=True)
class MicroBatch:
    """Records of a topic with what they cover: partition -> (first offset, last offset + 1), read on from the offsets `begin`."""

    topic: str
    uri: str
    ranges: Mapping[int, tuple[int, int]]
    records: tuple[StreamRecord, ...]
    lag: int = 0
    begin: Mapping[int, int] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """True when there was nothing to read."""
        return not self.ranges

    @property
    def more(self) -> bool:
        """Whether records lay behind it when it was read."""
        return self.lag > 0

    @property
    def end(self) -> JsonValue:
        """The next offset of each partition."""
        return as_position({**self.begin, **{number: end for number, (_, end) in self.ranges.items()}})


@dataclass(frozen=True)
class StreamFeed:
    """A stream read on from offsets, as its declaration limits a batch."""

    stream: StreamSource
    options: StreamOptions

    @property
    def uri(self) -> str:
        """Where the stream is, without any secret."""
        return self.stream.uri

    def next_batch(self, after: JsonValue) -> MicroBatch:
        """The records behind offsets by partition; raises as the function `next_batch`."""
        options = self.options
        given = after if isinstance(after, Mapping) else {}
        return next_batch(
            self.stream,
            {int(number): offset for number, offset in given.items() if isinstance(offset, int)},
            limit_records=options.batch_records,
            limit_bytes=options.batch_bytes,
            wait=options.wait_seconds,
            accept_gaps=options.accept_gaps,
        )


def next_batch(
    source: StreamSource,
    offsets: Mapping[int, int],
    *,
    limit_records: int = 50_000,
    limit_bytes: int = 64 * 1024 * 1024,
    wait: float = 10.0,
    accept_gaps: bool = False,
) -> MicroBatch:
    """Read what follows `offsets`, a partition without one from its first record; memory is bounded by the limits.

    Raises IntegrityError when records were deleted before they were read (unless `accept_gaps`) or when the stream is shorter
    than what was already read: it was replaced.
    """
    bounds = source.bounds()
    start: dict[int, int] = {}
    for number, (low, high) in sorted(bounds.items()):
        at = offsets.get(number, low)
        if at > high:
            raise IntegrityError(
                f"expected {source.uri}/{number} to reach offset {at}, found it ends at {high}: the stream was replaced; "
                "publish the new one as a dataset of its own"
            )
        if at < low and not accept_gaps:
            raise IntegrityError(
                f"expected {source.uri}/{number} to begin at offset {at} or before, found {low}: {low - at} records were "
                "deleted unread; lengthen the stream's retention, then accept the gap"
            )
        if max(at, low) < high:
            start[number] = max(at, low)
    gone = sorted(set(offsets) - set(bounds))
    if gone:
        raise IntegrityError(f"expected the partitions {gone} of {source.uri}, found them gone: the stream was replaced")
    records = tuple(source.read(start, limit_records, limit_bytes, wait)) if start else ()
    ends = {record.partition: record.offset + 1 for record in records}
    ranges = {number: (start[number], end) for number, end in sorted(ends.items())}
    lag = sum(high - ends.get(number, start.get(number, high)) for number, (_, high) in bounds.items())
    return MicroBatch(source.topic, source.uri, ranges, records, lag, dict(offsets))


def as_position(offsets: Mapping[int, int]) -> JsonValue:
    """Offsets by partition as the position of a `StreamFeed`."""
    return {str(number): offset for number, offset in sorted(offsets.items())}


def published_offsets(ledger: Ledger, asset: str, topic: str) -> dict[int, int]:
    """The next offset of each partition of a topic, by what `asset` currently holds; empty before the first batch."""
    return offsets_at(ledger, ledger.head(asset), topic)


def offsets_at(ledger: Ledger, head: Head | None, topic: str) -> dict[int, int]:
    """As `published_offsets`, at one head.

    A batch notes the head it began from, all offsets known there, and its own ranges. Batches of other sessions may have come
    between: so the heads after the earliest base are read too. After a rollback the manifests then current decide.
    """
    if head is None:
        return {}
    dataset = ledger.dataset(head)
    offsets: dict[int, int] = {}
    base: int | None = None
    for entry in ledger.history(head.asset):
        if entry.seq > head.seq:
            continue
        if base is not None and entry.seq <= base:
            break
        for partition in entry.changed:
            if partition not in dataset.partitions:
                continue
            note = dataset.files(partition).stats.get(STATS, {}).get(topic)
            if note is None:
                continue
            for number, offset in _noted(note).items():
                offsets[number] = max(offsets.get(number, 0), offset)
            base = note["base"] if base is None else base
    return offsets


def _noted(note: Mapping[str, Any]) -> dict[int, int]:
    known = {int(number): offset for number, offset in note["known"].items()}
    return known | {int(number): end for number, (_, end) in note["ranges"].items()}


def stats_of(
    batch: MicroBatch, head: Head | None, known: Mapping[int, int], earlier: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What a partition's manifest notes of the batch that last added to it; `known` are the offsets at `head`."""
    note = {
        "base": head.seq if head else 0,
        "known": {str(number): offset for number, offset in sorted(known.items())},
        "ranges": {str(number): list(span) for number, span in sorted(batch.ranges.items())},
    }
    before = dict(earlier or {})
    return {**before, STATS: {**before.get(STATS, {}), batch.topic: note}}


def check_continues(batch: MicroBatch, known: Mapping[int, int], *, accept_gaps: bool = False) -> bool:
    """True when the batch begins where the published data ends, False when all of it was published before.

    Raises ConcurrentCommit when another session has published a part of it.
    """
    if all(end <= known.get(number, 0) for number, (_, end) in batch.ranges.items()):
        return False
    for number, (first, _) in batch.ranges.items():
        at = known.get(number, first)
        if first < at or (first > at and not accept_gaps):
            raise ConcurrentCommit(
                f"expected a batch of {batch.topic}/{number} from offset {at}, found one from {first}: read the next batch again"
            )
    return True
