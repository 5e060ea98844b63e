"""One look of a sensor: what a run has to take, by hints in between and by a whole reconciliation when one is due.

A cursor holds hints and what was not settled yet. Whoever loses it loses nothing: the next look reconciles.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from orchestrai.core.code_identity import Producer
from orchestrai.ingest.dead_letters import Unplaced
from orchestrai.ingest.discovery.known_objects import pack, unpack
from orchestrai.ingest.discovery.listing import Remembered, discover
from orchestrai.ingest.discovery.partitioning import uri_of
from orchestrai.ingest.discovery.reconciliation import Judge, Reconciliation, reconcile
from orchestrai.storage.base import ObjectInfo

LETTERS = Producer("dead_letters", __name__)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FORMAT = 2
# what is kept of a backlog; behind it the next whole look goes on
MAX_WAITING = 20_000
# a day's file may land before midnight; what opens later than this is found when it does
AHEAD = timedelta(days=1)

Waiting = Mapping[str, frozenset[int]]


@dataclass(frozen=True)
class ArrivalCursor:
    """What the next look gets: the listing's hints, when the landing was last reconciled, and the arrivals not settled by then.

    `rest` says that more waited than is kept here. `exposed_until` is when something that no snapshot protects will be older than the
    declared RPO: no tick before it has to ask. Releases that do not know it read the rest.
    """

    hints: str | None = None
    reconciled: datetime = EPOCH
    waiting: Waiting = field(default_factory=dict)
    rest: bool = False
    exposed_until: datetime | None = None

    @classmethod
    def decode(cls, text: str | None) -> "ArrivalCursor":
        """A cursor of another kind or release counts as none: the next look reconciles instead."""
        try:
            document = json.loads(text or "{}")
            if document.get("v") != FORMAT or "reconciled" not in document:
                return cls()
            waiting = {key: frozenset(unpack(names)) for key, names in document["waiting"].items()}
            until = document.get("exposed_until")
            exposed = datetime.fromisoformat(until) if until else None
            return cls(document["hints"], datetime.fromisoformat(document["reconciled"]), waiting, document["rest"], exposed)
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls()

    def encode(self) -> str:
        """The same cursor gives the same text."""
        waiting = {key: pack(identities) for key, identities in sorted(self.waiting.items())}
        body = {"v": FORMAT, "hints": self.hints, "reconciled": self.reconciled.isoformat(), "waiting": waiting}
        until = {"exposed_until": self.exposed_until.isoformat()} if self.exposed_until else {}
        return json.dumps({**body, "rest": self.rest, **until}, separators=(",", ":"))

    def is_due(self, now: datetime, every: timedelta) -> bool:
        """Whether the whole landing is to be held against the ledger now."""
        exposed = self.exposed_until is not None and now > self.exposed_until
        return self.reconciled == EPOCH or now - self.reconciled >= every or (self.rest and not self.waiting) or exposed


@dataclass(frozen=True)
class Look:
    """What a look found: the arrivals that runs have to take, by partition; objects that are to become dead letters; the next cursor.

    `early` are partitions that open soon. `whole` is the reconciliation, where one was due; it names in `gone` what a queue told of and
    the landing holds no more.
    """

    due: Waiting
    early: tuple[str, ...]
    unplaced: tuple[Unplaced, ...]
    cursor: ArrivalCursor
    whole: Reconciliation | None = None
    gone: frozenset[str] = frozenset()


def look(
    judge: Judge,
    cursor: ArrivalCursor,
    every: timedelta,
    *,
    limit: int,
    queued: Mapping[str, Sequence[ObjectInfo]] | None = None,
) -> Look:
    """Look at a landing, whole where `every` has passed since it was; raises StorageError in an outage.

    `queued` are objects that a queue named, by partition; where there is one the landing is listed for a whole look only.
    """
    if cursor.is_due(judge.now, every):
        return _whole(judge, queued or {})
    waiting = {key: set(identities) for key, identities in cursor.waiting.items()}
    hints, unplaced = cursor.hints, tuple[Unplaced, ...]()
    if queued is None:
        zone = judge.zone
        discovery = discover(zone.landing, zone.source, zone.grain, hints, now=judge.now, limit=limit)
        hints, unplaced, queued = discovery.cursor, discovery.unplaced, discovery.partitions
    for key, infos in queued.items():
        waiting.setdefault(key, set()).update(map(judge.told_identity, infos))
    due, early = dict[str, frozenset[int]](), dict[str, frozenset[int]]()
    for key in sorted(waiting):
        opening = judge.span.opening(key, judge.now)
        left = frozenset(judge.still_waiting(key, waiting[key]) if opening == "open" else waiting[key])
        if opening == "early":
            early[key] = left
        elif opening == "open" and left:
            due[key] = left
    kept, rest = _kept(judge, due, early)
    following = ArrivalCursor(hints, cursor.reconciled, kept, cursor.rest or rest, cursor.exposed_until)
    return Look(due, tuple(early), unplaced, following)


def _whole(judge: Judge, queued: Mapping[str, Sequence[ObjectInfo]]) -> Look:
    landing = judge.zone.landing
    gone = {uri_of(landing, info) for infos in queued.values() for info in infos}

    def listed() -> Iterator[ObjectInfo]:
        for info in landing.list(""):
            if gone:
                gone.discard(uri_of(landing, info))
            yield info

    remembered = Remembered(judge.now)
    whole = reconcile(judge, remembered.through(listed()))
    judge.records.forget_old()
    kept, rest = _kept(judge, whole.due, whole.early)
    cursor = ArrivalCursor(remembered.cursor, judge.now, kept, rest)
    return Look(whole.due, tuple(whole.early), whole.unplaced, cursor, whole, frozenset(gone))


def _kept(judge: Judge, due: Waiting, early: Waiting) -> tuple[dict[str, frozenset[int]], bool]:
    """What a cursor holds of what waits, and whether there was more; what opens later than soon is left to whole looks."""
    kept: dict[str, frozenset[int]] = {}
    soon = {key: ids for key, ids in early.items() if judge.span.opening(key, judge.now + AHEAD) == "open"}
    room = MAX_WAITING
    for key, identities in {**due, **soon}.items():
        if kept and len(identities) > room:
            return kept, True
        kept[key] = identities
        room -= len(identities)
    return kept, False
