"""Arrival by event queue: one protocol (its services are in queue_services.py), drained into partitions to ingest.

A queue only tells where to look; the ledger says what was taken. Delivery is at least once: the caller acknowledges after
it has stored what was drained, and the ledger's identities drop what is told twice. What a queue loses, `missing` finds.
"""

import fnmatch
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from orchestrai.core.calendar import Grain, partition_of
from orchestrai.core.code_identity import Producer
from orchestrai.ingest.discovery.listing import places
from orchestrai.ingest.discovery.notifications import ObjectEvent, Parsed, Refusal
from orchestrai.ingest.discovery.passed_over import passed_over
from orchestrai.ingest.plan import LANDED, arrivals
from orchestrai.ingest.spec import SourceSpec
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import StageReport
from orchestrai.storage.base import ObjectInfo, Store

WAIT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a queue; `handle` acknowledges all of it at once."""

    handle: str
    parsed: Parsed


class ArrivalQueue(Protocol):
    """A queue of object events.

    Raises TransientStorageError for what a later try may cure and StorageError for the rest: an outage is never "nothing new".
    """

    def receive(self, limit: int, wait: float = WAIT_SECONDS) -> list[Message]:
        """Take at most `limit` messages, waiting `wait` seconds for the first; none is forgotten until acknowledged."""
        ...

    def acknowledge(self, handles: Sequence[str]) -> None:
        """Forget messages; one that is already gone is no error."""
        ...


@dataclass(frozen=True)
class Drained:
    """What a queue told: new objects by partition, and what to store before `handles` are acknowledged.

    `settled` are the handles of messages that tell of no object to take: once `refused` and `unplaced` are kept, they may go.
    `refused` are messages that are no event we know; `unplaced` are objects whose name tells no partition. `known` counts
    objects taken before, `foreign` events of other places; `more` when the limit or the time ended the drain.
    """

    partitions: Mapping[str, tuple[ObjectInfo, ...]]
    refused: tuple[Refusal, ...]
    unplaced: tuple[ObjectInfo, ...]
    handles: tuple[str, ...]
    settled: tuple[str, ...] = ()
    messages: int = 0
    known: int = 0
    foreign: int = 0
    more: bool = False


Known = Callable[[str, ObjectEvent], bool]


def published(ledger: Ledger, asset: str) -> Known:
    """Says of a partition and an event whether the published raw events already hold that object at that version, or a later one."""
    dataset = ledger.find(asset)
    seen: dict[str, dict[tuple[str, str], str]] = {}
    newest: dict[str, dict[str, str]] = {}

    def known(partition: str, event: ObjectEvent) -> bool:
        if partition not in seen:
            materials = arrivals(dataset, partition)
            seen[partition] = {(m.uri, m.etag.strip('"')): m.modified for m in materials}
            newest[partition] = {m.uri: m.modified for m in sorted(materials, key=lambda m: m.modified)}
        if any((event.uri, mark) in seen[partition] for mark in (event.version, event.etag) if mark):
            return True
        time = newest[partition].get(event.uri)
        # the service keeps whole seconds of a change, its events tell more
        return bool(time) and datetime.fromisoformat(str(time)) > event.time

    return known


def quarantined(ledger: Ledger, asset: str, landing: Store) -> Known:
    """Says of a partition and an event whether a refused run holds that object since: it was taken, and a replay finds it."""
    held: dict[tuple[str, str], str] = {}
    looked: list[bool] = []

    def known(partition: str, event: ObjectEvent) -> bool:
        if not looked:
            looked.append(True)
            for info in ledger.lake.list(f"quarantine/{asset}/"):
                record = json.loads(ledger.lake.read(info.key))
                for key, part in record["partitions"].items():
                    for file in part["files"]:
                        place = (key, file["path"])
                        held[place] = max(held.get(place, ""), record["time"])
        key = event.uri.removeprefix(landing.url.rstrip("/") + "/")
        time = held.get((partition, f"{LANDED}{key}"))
        return time is not None and datetime.fromisoformat(time) >= event.time

    return known


@dataclass(frozen=True)
class Zone:
    """Where objects are looked for, and what places them in partitions."""

    landing: Store
    source: SourceSpec
    grain: Grain


def drain(
    queue: ArrivalQueue,
    zone: Zone,
    *,
    known: Known,
    now: Callable[[], datetime],
    limit: int = 5_000,
    budget: timedelta = timedelta(seconds=30),
) -> Drained:
    """Take messages until the queue is empty, `limit` messages were taken or `budget` is spent; acknowledges nothing.

    Each object version is told once per drain however often the queue repeats it. Raises StorageError: what was received
    until then stays in the queue and comes again.
    """
    ends = now() + budget
    messages: dict[str, Message] = {}
    more = True
    while len(messages) < limit and now() < ends:
        got = [message for message in queue.receive(limit - len(messages)) if message.handle not in messages]
        if not got:
            more = False
            break
        messages |= {message.handle: message for message in got}
    return _sorted_out(messages, zone, known, more)


def _sorted_out(messages: Mapping[str, Message], zone: Zone, known: Known, more: bool) -> Drained:
    partitions: dict[str, list[ObjectInfo]] = {}
    unplaced: list[ObjectInfo] = []
    foreign = taken_before = 0
    open_: set[tuple[str, str]] = set()
    events = {event.identity: event for message in messages.values() for event in message.parsed.events}
    for event in sorted(events.values(), key=lambda e: (e.time, e.identity)):
        info = _relative(event, zone.landing, zone.source)
        if info is None:
            foreign += 1
            continue
        keys = places(zone.landing, zone.source, zone.grain, info)
        fresh = [key for key in keys if not known(key, event)]
        if not keys:
            unplaced.append(info)
        elif not fresh:
            taken_before += 1
        open_ |= {event.identity} if fresh else set()
        for key in fresh:
            partitions.setdefault(key, []).append(info)
    return Drained(
        {key: tuple(partitions[key]) for key in sorted(partitions)},
        tuple(refusal for message in messages.values() for refusal in message.parsed.refused),
        tuple(unplaced),
        tuple(messages),
        tuple(handle for handle, m in messages.items() if not any(event.identity in open_ for event in m.parsed.events)),
        len(messages),
        taken_before,
        foreign,
        more,
    )


def _relative(event: ObjectEvent, landing: Store, source: SourceSpec) -> ObjectInfo | None:
    """The object as a listing of the landing would give it; None for what such a listing would pass over."""
    base = landing.url.rstrip("/") + "/"
    key = event.uri.removeprefix(base)
    passed = passed_over(key, source.passed_over) is not None
    if not event.uri.startswith(base) or not key or passed or not fnmatch.fnmatchcase(key, source.pattern):
        return None
    return ObjectInfo(key, event.size, event.etag, event.time, event.version or None)


def store_refused(ledger: Ledger, asset: str, refused: Sequence[Refusal], now: datetime) -> StageReport | None:
    """Keep messages that are no event we know in `<dataset>/refused_messages`, one partition a day; None when there are none.

    A message that comes again (its acknowledgement was lost) is kept once.
    """
    if not refused:
        return None
    day = partition_of(now, "day")
    session = ledger.session(f"{asset.rpartition('/')[0]}/refused_messages", Producer("dead_letters", __name__))
    before = None if session.fence is None else ledger.dataset(session.fence)
    lines = {json.dumps({"reason": r.reason, "text": r.text}, sort_keys=True, ensure_ascii=True) for r in refused}
    if before and day in before.partitions:
        with before.fetched([day]) as files:
            lines |= {line for file in files[day] for line in file.path.read_text("utf-8").splitlines()}
    session.add_bytes(day, "messages.jsonl", ("\n".join(sorted(lines)) + "\n").encode(), rows=len(lines))
    return session.commit({day: ()})
