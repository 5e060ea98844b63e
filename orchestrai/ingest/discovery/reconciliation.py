"""Where every landed object is: in the raw events, the dead letters, waiting, or passed over by a rule. The only judge of it.

Sensors, the check `accounted`, `orchestrai landing status` and `doctor` ask here. Nothing but the listing, the declaration and signed
records decide: no time of an object, no cursor and no record of a run.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from orchestrai.ingest.dead_letters import UNPLACED, Unplaced
from orchestrai.ingest.discovery.known_objects import Records, Refused, identify
from orchestrai.ingest.discovery.listing import unplaced_object
from orchestrai.ingest.discovery.opening import Span
from orchestrai.ingest.discovery.partitioning import Sighting, Zone, sight, uri_of
from orchestrai.storage.base import ObjectInfo

Place = Literal["raw_events", "dead_letters", "waiting", "passed_over"]
# why an object waits: for its run, for its partition's time, for a person or other objects, for its dead letter
Cause = Literal["run", "time", "refusal", "letter"]
PLACES: tuple[Place, ...] = ("raw_events", "dead_letters", "waiting", "passed_over")


@dataclass(frozen=True, slots=True)
class Judgement:
    """The place of one object and why; `cause` says what a waiting one waits for."""

    identity: int
    place: Place
    reason: str = ""
    cause: Cause | None = None


@dataclass(frozen=True)
class Judge:
    """Judges objects of one dataset by the records as they were when it was made.

    `release_after` is how long a held partition waits for a person before a run may publish it.
    """

    zone: Zone
    span: Span
    records: Records
    now: datetime
    release_after: timedelta | None = None

    def releasable(self, refused: Refused | None) -> bool:
        """Whether a run may take a refused partition as it is: nobody decided on a held one for as long as was declared, or what were
        events of the future, by a clock that was behind, are so no more.
        """
        if refused is not None and refused.passes_at:
            return self.now >= datetime.fromisoformat(refused.passes_at)
        if self.release_after is None or refused is None or not refused.held:
            return False
        return self.now - datetime.fromisoformat(refused.since) >= self.release_after

    def sight(self, info: ObjectInfo) -> Sighting:
        """What an object is by its name."""
        return sight(self.zone.source, self.zone.grain, info)

    def identity(self, info: ObjectInfo) -> int:
        """The identity of an arrival."""
        return identify(uri_of(self.zone.landing, info), info.version or info.etag)

    def told_identity(self, info: ObjectInfo) -> int:
        """The identity of an object that an event tells of, as a listing would give it: no listing names versions."""
        return self.identity(info._replace(version=None) if info.etag else info)

    def judge(self, sighting: Sighting) -> Judgement:
        """The place of one object, its partition's records read; costs what its partition holds."""
        key, identity = sighting.partition, self.identity(sighting.info)
        published = key is not None and identity in self.records.published(key)
        dead = identity in self.records.dead_in(UNPLACED if sighting.fault else key or UNPLACED)
        return self.judgement(sighting, identity, published=published, dead=dead)

    def judgement(self, sighting: Sighting, identity: int, *, published: bool, dead: bool) -> Judgement:
        """The place of one object of which it is known whether a receipt or a letter names it."""
        if dead:
            return Judgement(identity, "dead_letters", sighting.fault or "the object cannot be read")
        if published:
            return Judgement(identity, "raw_events")
        if sighting.rule is not None:
            return Judgement(identity, "passed_over", sighting.rule)
        if sighting.partition is None:
            return Judgement(identity, "waiting", sighting.fault or "", "letter")
        return self._unpublished(sighting.partition, identity)

    def _unpublished(self, partition: str, identity: int) -> Judgement:
        opening = self.span.opening(partition, self.now)
        if opening == "outside":
            return Judgement(identity, "passed_over", "a partition outside the declared span")
        if opening == "early":
            return Judgement(identity, "waiting", "its partition is not over yet", "time")
        refused = self.records.refused(partition)
        if refused is None or identity not in refused.arrivals:
            return Judgement(identity, "waiting", "no run has taken it yet", "run")
        note = self.records.left_out(partition, refused)
        if note is not None:
            return Judgement(identity, "passed_over", f"its partition was {note}")
        if refused.held:
            return Judgement(identity, "waiting", "held with its partition, which is unlike those before it", "refusal")
        return Judgement(identity, "waiting", f"refused with its partition by {', '.join(refused.checks)}", "refusal")

    def still_waiting(self, partition: str, identities: Iterable[int]) -> set[int]:
        """Of arrivals known by their identities alone, those that a run has to take: neither published, dead nor refused as they are.

        A refusal stands for just the arrivals that went in. One that is new, or gone, asks for the partition anew.
        """
        refused = self.records.refused(partition)
        settled = {*self.records.published(partition), *self.records.dead_in(partition), *self.records.dead_in(UNPLACED)}
        left = set(identities) - settled
        return left if refused is None or not left <= refused.arrivals or self.releasable(refused) else set()


@dataclass(frozen=True, slots=True)
class Reason:
    """Why some objects are where they are: how many, and one of them."""

    place: Place
    reason: str
    count: int
    example: str


@dataclass(frozen=True)
class Reconciliation:
    """A landing held against the ledger: each listed object counted in one place.

    `due` are the arrivals that a run has to take, by partition; `early` those whose partition opens later; `unplaced` those that are to
    become dead letters; `held_up` counts objects that wait for a person, `oldest` is the waiting one with the earliest time, as its
    store tells it.
    """

    counts: Mapping[Place, int]
    reasons: tuple[Reason, ...]
    due: Mapping[str, frozenset[int]]
    early: Mapping[str, frozenset[int]]
    unplaced: tuple[Unplaced, ...]
    held_up: int = 0
    oldest: ObjectInfo | None = None

    @property
    def listed(self) -> int:
        """The objects in the landing: what the four places sum to."""
        return sum(self.counts.values())

    def lettered(self) -> "Reconciliation":
        """The same after its unplaced objects became dead letters."""
        moved = len(self.unplaced)
        counts = {**self.counts, "waiting": self.counts["waiting"] - moved}
        counts["dead_letters"] += moved
        return replace(self, counts=counts, unplaced=())


@dataclass
class _Tally:
    counts: dict[Place, int] = field(default_factory=lambda: dict.fromkeys(PLACES, 0))
    reasons: dict[tuple[Place, str], tuple[int, str]] = field(default_factory=dict)
    oldest: ObjectInfo | None = None
    held_up: int = 0

    def count(self, judgement: Judgement, info: ObjectInfo) -> None:
        self.counts[judgement.place] += 1
        if judgement.reason:
            # what differs from object to object is in the example
            place = judgement.place, judgement.reason.partition(", found ")[0]
            number, example = self.reasons.get(place, (0, info.key))
            self.reasons[place] = number + 1, example
        if judgement.place == "waiting":
            self.held_up += judgement.cause == "refusal"
            if self.oldest is None or info.modified < self.oldest.modified:
                self.oldest = info

    def told(self) -> tuple[Reason, ...]:
        ranked = sorted(self.reasons.items(), key=lambda item: (-item[1][0], item[0]))
        return tuple(Reason(place, reason, count, example) for (place, reason), (count, example) in ranked)


def reconcile(judge: Judge, infos: Iterable[ObjectInfo] | None = None) -> Reconciliation:
    """Hold a whole landing against the ledger; raises StorageError in an outage, which is never an empty landing.

    Costs one listing, and the receipts that this process has not read yet. `infos` is a listing that the caller has begun.
    """
    sorting = _Sorting(judge)
    for info in judge.zone.landing.list("") if infos is None else infos:
        sorting.add(info)
    tally, due, early = sorting.tally, dict[str, frozenset[int]](), dict[str, frozenset[int]]()
    for partition, waiting in sorted(sorting.partitions.items()):
        judged = list(_judged(judge, waiting))
        for sighting, judgement in judged:
            tally.count(judgement, sighting.info)
        by_run = {judgement.identity for _, judgement in judged if judgement.cause in ("run", "refusal")}
        if _changed(judge, partition, by_run, sorting.still_dead.get(partition, set())):
            due[partition] = frozenset(by_run)
        later = frozenset(judgement.identity for _, judgement in judged if judgement.cause == "time")
        if later:
            early[partition] = later
    unplaced = tuple(sorting.unplaced)
    return Reconciliation(tally.counts, tally.told(), due, early, unplaced, tally.held_up, tally.oldest)


class _Sorting:
    """Sorts a listing: what has its place is counted, what may wait is put by with its partition."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.tally = _Tally()
        self.partitions: dict[str, list[Sighting]] = {}
        self.still_dead: dict[str, set[int]] = {}
        self.unplaced: list[Unplaced] = []
        self._published, self._dead = judge.records.all_published(), judge.records.all_dead()
        self._letters = judge.records.dead_in(UNPLACED)
        # of objects that each replace the one before, the partition decides
        self._newest_only = judge.zone.source.objects == "newest"

    def add(self, info: ObjectInfo) -> None:
        identity = self.judge.identity(info)
        published, dead = identity in self._published, identity in self._dead
        if published and not dead and not self._newest_only:
            self.tally.counts["raw_events"] += 1  # nearly all of a landing: nothing more is asked of it
            return
        sighting = self.judge.sight(info)
        dead = dead or (sighting.fault is not None and identity in self._letters)
        if dead and sighting.partition is not None:
            self.still_dead.setdefault(sighting.partition, set()).add(identity)
        if sighting.partition is not None and (self._newest_only or not (published or dead)):
            self.partitions.setdefault(sighting.partition, []).append(sighting)
            return
        judgement = self.judge.judgement(sighting, identity, published=published, dead=dead)
        self.tally.count(judgement, info)
        if judgement.cause == "letter":
            self.unplaced.append(unplaced_object(self.judge.zone.landing, sighting))


def _judged(judge: Judge, waiting: Sequence[Sighting]) -> Iterator[tuple[Sighting, Judgement]]:
    """The objects of one partition; of those that replace each other all but the newest are passed over."""
    newest = None
    if judge.zone.source.objects == "newest":
        newest = max(waiting, key=lambda sighting: (sighting.info.modified, sighting.info.key))
    for sighting in waiting:
        if newest is None or sighting is newest:
            yield sighting, judge.judge(sighting)
        else:
            reason = "a newer object of its partition replaces it"
            yield sighting, Judgement(judge.identity(sighting.info), "passed_over", reason)


def _changed(judge: Judge, partition: str, waiting: set[int], dead: set[int]) -> bool:
    """Whether a run has to look at a partition: something waits, and the landing does not hold just what was refused before."""
    refused = judge.records.refused(partition)
    if refused is None or not waiting or judge.releasable(refused):
        return bool(waiting)
    before = refused.arrivals | judge.records.dead_in(partition)
    return waiting | dead != before - judge.records.published(partition)
