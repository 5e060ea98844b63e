"""Arrival by event queue: one protocol (its services are in queue_services.py), drained into partitions to ingest.

A queue only tells where to look; the ledger says what was taken. Delivery is at least once: the caller acknowledges after
it has stored what was drained, and the ledger's identities drop what is told twice. What a queue loses, reconciliation.py finds.
"""

import json
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

from orchestrai.core.code_identity import Producer
from orchestrai.core.time.calendar import partition_of
from orchestrai.ingest.dead_letters import Unplaced
from orchestrai.ingest.discovery.partitioning import Sighting, Zone, sight
from orchestrai.ingest.discovery.queues.notifications import ObjectEvent, Parsed, Refusal
from orchestrai.ingest.discovery.reconciliation import Judge
from orchestrai.ingest.originals.published_originals import arrivals
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import StageReport
from orchestrai.storage.base import ObjectInfo

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
    `refused` are messages that are no event we know; `unplaced` are objects that no partition can take. `known` counts objects that
    have their place, `foreign` events of other places; `more` when the limit or the time ended the drain. `open` are the URIs of what
    is to be taken, by the message that tells of it.
    """

    partitions: Mapping[str, tuple[ObjectInfo, ...]]
    refused: tuple[Refusal, ...]
    unplaced: tuple[Unplaced, ...]
    handles: tuple[str, ...]
    settled: tuple[str, ...] = ()
    messages: int = 0
    known: int = 0
    foreign: int = 0
    more: bool = False
    open: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def over(self, gone: Set[str]) -> tuple[str, ...]:
        """The handles of messages that are settled, and of those that tell of nothing but objects that are gone."""
        return (*self.settled, *(handle for handle, uris in self.open.items() if uris <= gone))


Known = Callable[[Sighting, ObjectEvent], bool]


def settled(judge: Judge) -> Known:
    """Says of an object that an event tells of whether a run has nothing to do for it any more: it has a place that is no waiting,
    its partition was refused with just it, or a later version of it was published.
    """
    records = judge.records
    times: dict[str, dict[str, str]] = {}

    def known(sighting: Sighting, event: ObjectEvent) -> bool:
        partition = sighting.partition
        marks = [sighting.info._replace(version=None, etag=mark) for mark in (event.version, event.etag) if mark]
        judgements = [judge.judge(replace(sighting, info=info)) for info in marks]
        if any(judgement.place != "waiting" or judgement.cause == "refusal" for judgement in judgements):
            return True
        if partition is None:
            return False
        if partition not in times:
            materials = sorted(arrivals(records.raw, partition), key=lambda m: m.modified)
            times[partition] = {material.uri: material.modified for material in materials}
        time = times[partition].get(event.uri)
        # the service keeps whole seconds of a change, its events tell more
        return bool(time) and datetime.fromisoformat(str(time)) > event.time

    return known


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
    unplaced: list[Unplaced] = []
    foreign = taken_before = 0
    open_: set[tuple[str, str]] = set()
    events = {event.identity: event for message in messages.values() for event in message.parsed.events}
    for event in sorted(events.values(), key=lambda e: (e.time, e.identity)):
        sighting = _sighted(event, zone)
        if sighting is None:
            foreign += 1
        elif known(sighting, event):
            taken_before += 1
        elif sighting.partition is None:
            unplaced.append(Unplaced(event.uri, event.version or event.etag, sighting.fault or ""))
        else:
            open_.add(event.identity)
            partitions.setdefault(sighting.partition, []).append(sighting.info)
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
        {handle: uris for handle, m in messages.items() if (uris := _open(m, open_))},
    )


def _open(message: Message, identities: Set[tuple[str, str]]) -> frozenset[str]:
    return frozenset(event.uri for event in message.parsed.events if event.identity in identities)


def _sighted(event: ObjectEvent, zone: Zone) -> Sighting | None:
    """The object as a listing of the landing would give it; None for what lies elsewhere or is passed over there."""
    base = zone.landing.url.rstrip("/") + "/"
    key = event.uri.removeprefix(base)
    if not event.uri.startswith(base) or not key:
        return None
    sighting = sight(zone.source, zone.grain, ObjectInfo(key, event.size, event.etag, event.time, event.version or None))
    return None if sighting.rule is not None else sighting


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
