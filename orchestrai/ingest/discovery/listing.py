"""What is likely new in a landing: a listing against a composite cursor of time and identities. A hint, and never the truth.

Identity of an arrival = key and etag (or version). The cursor keeps the identities seen since its floor, which lies an
overlap window behind the newest time seen, so that neither same-second writes nor deleted or overwritten keys are missed.
What keeps an old time (mv, cp -p, a replica) falls behind the floor: reconciliation.py finds it, and whatever else this misses.
"""

import json
from binascii import b2a_base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

from orchestrai.core.time.calendar import Grain
from orchestrai.errors import ConfigError
from orchestrai.ingest.dead_letters import Unplaced
from orchestrai.ingest.discovery.partitioning import Sighting, listed, sight, sightings_for, uri_of
from orchestrai.ingest.spec import SourceSpec
from orchestrai.storage.base import ObjectInfo, Store

OVERLAP = timedelta(minutes=10)
MAX_SEEN = 40_000
ID_LENGTH = 11
_URLSAFE = bytes.maketrans(b"+/", b"-_")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Discovery:
    """New objects by partition and the cursor that remembers them; `more` when a limit left some for the next tick.

    `unplaced` are new objects that no partition can take.
    """

    partitions: Mapping[str, tuple[ObjectInfo, ...]]
    cursor: str
    more: bool = False
    listed: int = 0
    unplaced: tuple[Unplaced, ...] = ()


@dataclass
class _Cursor:
    """Everything modified before `floor` was seen; of what is later, `seen` was."""

    floor: datetime = EPOCH
    seen: dict[str, datetime] = field(default_factory=dict)

    @classmethod
    def decode(cls, text: str | None) -> "_Cursor":
        if not text:
            return cls()
        try:
            document = json.loads(text)
            if document["v"] != 1:
                raise ValueError(f"version {document['v']}")
            floor = datetime.fromisoformat(document["floor"])
            seen = {
                names[at : at + ID_LENGTH]: floor + timedelta(microseconds=later)
                for later, names in document["seen"]
                for at in range(0, len(names), ID_LENGTH)
            }
        except (ValueError, KeyError, TypeError) as exc:
            raise ConfigError(f"expected a landing cursor, found {text[:40]!r} ({exc}): reset the sensor's cursor") from exc
        return cls(floor, seen)

    def encode(self) -> str:
        at_once: dict[int, list[str]] = {}
        for name, at in sorted(self.seen.items()):
            at_once.setdefault((at - self.floor) // timedelta(microseconds=1), []).append(name)
        seen = [[later, "".join(names)] for later, names in sorted(at_once.items())]
        return json.dumps({"v": 1, "floor": self.floor.isoformat(), "seen": seen}, separators=(",", ":"))

    def advance(self, taken: Sequence[ObjectInfo], untaken: datetime | None, now: datetime) -> "_Cursor":
        """The cursor after some objects were taken; `untaken` is the earliest time among those left behind."""
        seen = self.seen | {identity(info): info.modified for info in taken}
        if not seen:
            return self
        # a clock ahead of ours must not push the floor beyond what is still to come
        newest = min(max(seen.values()), now)
        floor = max(self.floor, newest - OVERLAP)
        if len(seen) > MAX_SEEN:
            floor = max(floor, sorted(seen.values())[-MAX_SEEN])
        if untaken is not None:
            floor = min(floor, untaken)
        floor = max(floor, self.floor)
        return _Cursor(floor, {name: at for name, at in seen.items() if at >= floor})


def identity(info: ObjectInfo) -> str:
    """A short name for one arrival: 64 bits over key and version or etag, as ID_LENGTH characters."""
    digest = blake2b(f"{info.key}\n{info.version or info.etag}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return b2a_base64(digest).translate(_URLSAFE)[:ID_LENGTH].decode()


class Remembered:
    """Remembers a whole listing while somebody else goes through it, so that the next hints begin behind it."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._newest = EPOCH
        self._late: list[ObjectInfo] = []

    def through(self, infos: Iterable[ObjectInfo]) -> Iterator[ObjectInfo]:
        """The same objects, noted on the way."""
        for info in infos:
            if info.modified > self._newest:
                # a clock ahead of ours must not push the floor beyond what is still to come
                self._newest = max(self._newest, min(info.modified, self._now))
            if info.modified >= self._newest - OVERLAP:
                self._late.append(info)
                if len(self._late) > 4 * MAX_SEEN:
                    self._late = [late for late in self._late if late.modified >= self._newest - OVERLAP]
            yield info

    @property
    def cursor(self) -> str:
        """The cursor by which nothing that was listed is new."""
        floor = self._newest - OVERLAP if self._newest > EPOCH else EPOCH
        return _Cursor().advance([info for info in self._late if info.modified >= floor], None, self._now).encode()


def discover(
    landing: Store, source: SourceSpec, grain: Grain, cursor: str | None, *, now: datetime, limit: int = 5_000
) -> Discovery:
    """List a landing and tell what arrived since `cursor`, at most `limit` objects, the earliest first.

    Raises StorageError when the landing cannot be listed: an outage is never "nothing new". Each arrival is told once
    as long as the returned cursor is passed to the next call.
    """
    state = _Cursor.decode(cursor)
    count = 0
    fresh: list[ObjectInfo] = []
    floor, seen = state.floor, state.seen
    since = floor - source.late if source.key_prefix and floor > EPOCH else None
    for info in listed(landing, source, since=since, grain=grain):
        count += 1
        if info.modified >= floor and identity(info) not in seen:
            fresh.append(info)
    fresh.sort(key=lambda info: (info.modified, info.key))
    taken, left = fresh[:limit], fresh[limit:]
    partitions: dict[str, list[ObjectInfo]] = {}
    unplaced: list[Unplaced] = []
    for sighting in (sight(source, grain, info) for info in taken):
        if sighting.partition is not None:
            partitions.setdefault(sighting.partition, []).append(sighting.info)
        elif sighting.fault is not None:
            unplaced.append(unplaced_object(landing, sighting))
    after = state.advance(taken, left[0].modified if left else None, now)
    objects = {key: tuple(partitions[key]) for key in sorted(partitions)}
    return Discovery(objects, after.encode(), bool(left), count, tuple(unplaced))


@dataclass(frozen=True)
class Landed:
    """What a landing holds for some partitions, in order of key, and what it holds for none."""

    objects: Mapping[str, tuple[ObjectInfo, ...]]
    unplaced: tuple[Unplaced, ...]


def landed(landing: Store, source: SourceSpec, grain: Grain, partitions: Sequence[str]) -> Landed:
    """All landed objects of some partitions; one without any has an empty list. An object that no partition can take ends nothing."""
    objects: dict[str, list[ObjectInfo]] = {key: [] for key in partitions}
    unplaced: list[Unplaced] = []
    for sighting in sightings_for(landing, source, grain, partitions):
        if sighting.partition in objects:
            objects[sighting.partition].append(sighting.info)
        elif sighting.fault is not None:
            unplaced.append(unplaced_object(landing, sighting))
    return Landed({key: tuple(infos) for key, infos in objects.items()}, tuple(unplaced))


def unplaced_object(landing: Store, sighting: Sighting) -> Unplaced:
    """What is to be told of an object that no partition can take."""
    info = sighting.info
    return Unplaced(uri_of(landing, info), info.version or info.etag, sighting.fault or "")
