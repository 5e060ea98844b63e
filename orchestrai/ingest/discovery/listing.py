"""What is new in a landing: a listing against a composite cursor of time and identities.

Identity of an arrival = key and etag (or version). The cursor keeps the identities seen since its floor, which lies an
overlap window behind the newest time seen, so that neither same-second writes nor deleted or overwritten keys are lost.
Producers that keep old times (copies with their mtime) fall behind the floor: `missing` finds them by the ledger.
"""

import json
from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

from orchestrai.core.calendar import Grain
from orchestrai.errors import ConfigError
from orchestrai.ingest.discovery.partitioning import listed, listed_for, place, uri_of
from orchestrai.ingest.plan import arrivals
from orchestrai.ingest.spec import SourceSpec
from orchestrai.ledger.ledger import Ledger
from orchestrai.storage.base import ObjectInfo, Store

OVERLAP = timedelta(minutes=10)
MAX_SEEN = 40_000
ID_LENGTH = 11
_URLSAFE = bytes.maketrans(b"+/", b"-_")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Discovery:
    """New objects by partition and the cursor that remembers them; `more` when a limit left some for the next tick.

    `unplaced` are new objects whose name tells no partition.
    """

    partitions: Mapping[str, tuple[ObjectInfo, ...]]
    cursor: str
    more: bool = False
    listed: int = 0
    unplaced: tuple[ObjectInfo, ...] = ()


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
    unplaced: list[ObjectInfo] = []
    for info in taken:
        for key in places(landing, source, grain, info) or [""]:
            (partitions.setdefault(key, []) if key else unplaced).append(info)
    after = state.advance(taken, left[0].modified if left else None, now)
    objects = {key: tuple(partitions[key]) for key in sorted(partitions)}
    return Discovery(objects, after.encode(), bool(left), count, tuple(unplaced))


def places(landing: Store, source: SourceSpec, grain: Grain, info: ObjectInfo) -> list[str]:
    """The partitions an object feeds: one by its name, none when that tells none."""
    key = place(source, grain, info)
    return [] if key is None else [key]


def landed(landing: Store, source: SourceSpec, grain: Grain, partitions: Sequence[str]) -> dict[str, list[ObjectInfo]]:
    """All landed objects of some partitions, sorted by key; a partition without any has an empty list."""
    objects: dict[str, list[ObjectInfo]] = {key: [] for key in partitions}
    for info in listed_for(landing, source, grain, partitions):
        for key in places(landing, source, grain, info):
            if key in objects:
                objects[key].append(info)
    return objects


def missing(ledger: Ledger, asset: str, landing: Store, source: SourceSpec, grain: Grain) -> dict[str, list[ObjectInfo]]:
    """Reconcile: landed objects that no published version of `asset` holds and no dead letter names, by partition.

    Finds what queues lost and what cursors cannot see; costs one listing and the receipts of the partitions listed.
    """
    objects: dict[str, list[ObjectInfo]] = {}
    known: dict[str, set[tuple[str, str]]] = {}
    dataset = ledger.find(asset)
    for info in listed(landing, source):
        for key in places(landing, source, grain, info):
            if key not in known:
                known[key] = {(material.uri, material.etag) for material in arrivals(dataset, key)}
            if (uri_of(landing, info), info.version or info.etag) not in known[key]:
                objects.setdefault(key, []).append(info)
    return objects
