"""What a partition already holds: the arrivals its receipt names, and their bytes kept beside the raw events."""

import json
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from orchestrai.core.time.calendar import Grain, dimension_of, grain_stats, zone_of
from orchestrai.core.time.partition_key import segment, values_of
from orchestrai.errors import (
    ConfigError,
    DigestMismatch,
    InvalidKey,
    MissingObject,
    ObjectNotFound,
    PreconditionFailed,
    StorageError,
)
from orchestrai.ingest.dead_letters import Unplaced
from orchestrai.ingest.discovery.partitioning import uri_of
from orchestrai.ingest.discovery.same_content import content_digest, first_arrival, precedence
from orchestrai.ingest.spec import DatasetTask
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.manifest import FileEntry, PartitionManifest
from orchestrai.ledger.receipt import Material
from orchestrai.ledger.session import Session
from orchestrai.privacy.ingest_guard import STATS
from orchestrai.stage.context import RunContext
from orchestrai.storage.base import ObjectInfo, Store

LANDED = "landed/"
MAX_READS = 3


@dataclass(frozen=True)
class Arrival:
    """One object that goes into a partition: what is said of it, the name of its original and a local file with its bytes.

    `part` stands for an object of which only the published part is left; `path` is then that part, tokenised by `columns`. `original`
    is the kept copy of any other, None where none is kept.
    """

    material: Material
    name: str
    path: Path
    part: FileEntry | None = None
    columns: tuple[str, ...] = ()
    original: FileEntry | None = None


@dataclass(frozen=True)
class Gathered:
    """What a partition is made from: its arrivals in the order of their names, and the objects that only repeat one of them."""

    arrivals: tuple[Arrival, ...] = ()
    repeats: tuple[Material, ...] = ()


def landed_key(name: str) -> str:
    """The key in the landing of an original, by its name beside the raw events."""
    return name.removeprefix(LANDED)


def arrivals(dataset: Dataset | None, partition: str) -> list[Material]:
    """The landed objects that a published partition was made from."""
    if dataset is None or partition not in dataset.partitions:
        return []
    return [m for m in dataset.receipt(partition).materials if m.partition == partition]


def require_same_cut(dataset: Dataset | None, grain: Grain) -> None:
    """Raises ConfigError where a dataset is published in partitions of another zone, grain or dimension, of which a key would mean two
    things, and where partitions of a value that is declared no more are published.
    """
    if dataset is None or not dataset.partitions:
        return
    known = dataset.cut()
    if grain_stats(grain) != grain_stats(known or "all"):
        cut = f"{known}s of {zone_of(known)}{_beside(known)}" if known else "hours, days or months of UTC"
        raise ConfigError(
            f"expected {dataset.asset} cut as it is published, by {cut}, found it declared by the {grain} of {zone_of(grain)}"
            f"{_beside(grain)}: "
            "declare it under another name, and ingest it anew"
        )
    dimension = dimension_of(grain)
    gone = [value for value in values_of(dataset.partitions) if dimension is not None and value not in dimension.values]
    if dimension is not None and gone:
        raise ConfigError(
            f"expected {dimension.expected} and {', '.join(gone)}, of which partitions of {dataset.asset} are published, found it declared "
            "no more: values may be added, none taken away"
        )


def _beside(grain: Grain) -> str:
    dimension = dimension_of(grain)
    return f" and by {dimension.name}" if dimension is not None else ""


class Intake:
    """Brings the objects of one partition together: new ones from the landing, earlier ones from the ledger.

    An object that was overwritten is taken anew; one that left the landing stays, so that a producer's clean-up loses nothing.
    One that a store cannot name by its key is in `nameless`, one that the landing lists and does not hand out in `denied`.
    Without `keep` no original is written to the lake; of an object that left the landing its part stays, which holds tokens.
    """

    def __init__(
        self,
        context: RunContext,
        session: Session,
        landing: Store,
        task: DatasetTask,
        work: Path,
        *,
        keep: bool = True,
    ) -> None:
        self.ledger, self.session, self.landing = context.ledger, session, landing
        self.source, self.grain, self.work, self.keep = task.source, task.grain, work, keep
        # where rows are made of the object's name, equal bytes under another name are other rows
        self.each = task.source.equal_files == "each" or task.contract.names_objects
        self.now = context.now().isoformat()
        self.dataset = self.ledger.find(session.asset)
        self.bytes_read = self.objects_read = 0
        self.nameless: dict[str, list[Unplaced]] = {}
        self.denied: dict[str, list[Unplaced]] = {}
        self._failed: StorageError | None = None

    def gather(self, partition: str, present: Sequence[ObjectInfo], *, recover: bool = False) -> Gathered:
        """All arrivals of a partition, objects of one content once; raises StorageError, IntegrityError.

        `recover` adds the originals of its last refused run that are neither in the landing nor published.
        """
        earlier, repeats = self._earlier(partition), self._repeats(partition)
        if self.source.objects == "newest" and present:
            present, earlier, repeats = [max(present, key=lambda info: (info.modified, info.key))], {}, {}
        taken = self._taken(partition, present, earlier, repeats)
        by_name = dict(taken)
        by_name |= self._kept(partition, {name: material for name, material in earlier.items() if name not in taken})
        if recover:
            held = self._quarantined(partition)
            by_name |= {name: self._held(partition, entry) for name, entry in held.items() if name not in by_name}
        self._keep_repeated(partition, present, by_name, repeats, {n: m for n, m in earlier.items() if n in taken})
        return self._once(partition, by_name, list(repeats.values()))

    def _keep_repeated(
        self,
        partition: str,
        present: Sequence[ObjectInfo],
        by_name: dict[str, Arrival],
        repeats: dict[str, Material],
        overwritten: Mapping[str, Material],
    ) -> None:
        """Bring the bytes of objects that repeated one that was overwritten since: their own, or what it said before."""
        contents = {arrival.material.identity for arrival in by_name.values()}
        places = {uri_of(self.landing, info): info for info in present}
        for uri, repeat in list(repeats.items()):
            if repeat.identity in contents:
                continue
            arrival = self._take(partition, uri, places[uri]) if uri in places else None
            if arrival is None:
                by_name |= self._left_by(partition, repeat, overwritten)
            else:
                by_name[arrival.name] = self._seen(arrival, repeat)
                del repeats[uri]
            contents.add(repeat.identity)

    def _taken(
        self, partition: str, present: Sequence[ObjectInfo], earlier: Mapping[str, Material], repeats: dict[str, Material]
    ) -> dict[str, Arrival]:
        """The objects of the landing that were not taken before as they are; what is taken now repeats nothing from before."""
        known = {(m.uri, m.etag) for m in earlier.values()}
        if not self.each:
            known |= {(m.uri, m.etag) for m in repeats.values()}
        taken: dict[str, Arrival] = {}
        clashing = _clashing([LANDED + info.key for info in present], earlier)
        for info in present:
            if LANDED + info.key in clashing:
                self._note_nameless(partition, info, "a key that lies neither below nor above another one of its partition")
                continue
            uri, own = uri_of(self.landing, info), earlier.get(LANDED + info.key)
            mark = (uri, info.version or info.etag)
            # of a landing that moved, another name may mean the same object
            if self.keep and (mark in known if own is None else mark == (own.uri, own.etag)):
                continue
            arrival = self._take(partition, uri, info)
            if arrival is not None:
                taken[arrival.name] = self._seen(arrival, own)
                repeats.pop(uri, None)
        return taken

    def _seen(self, taken: Arrival, known: Material | None = None) -> Arrival:
        """An arrival with its content; the same bytes landed again came when they came first."""
        material = taken.material
        if taken.part is None and not material.content:
            material = replace(material, content=content_digest(taken.path, self.source.max_object_bytes))
        if known is not None and known.arrived and known.sha256 == material.sha256:
            material = replace(material, arrived=known.arrived)
        return replace(taken, material=material)

    def _once(self, partition: str, by_name: Mapping[str, Arrival], repeats: list[Material]) -> Gathered:
        """One arrival for each content, unless equal files are two deliveries."""
        groups: dict[str, list[Arrival]] = {}
        # what has its bytes before what has a part only: that can be read anew
        for name in sorted(by_name, key=lambda name: (by_name[name].part is not None, precedence(name))):
            arrival = by_name[name]
            groups.setdefault(arrival.material.identity, []).append(arrival)
        chosen: dict[str, Arrival] = {}
        same: list[Material] = []
        for identity, group in groups.items():
            stands, others = group[0], [] if self.each else [other.material for other in group[1:]]
            others += [material for material in repeats if material.identity == identity]
            if not self.each:
                arrived = first_arrival([stands.material, *others])
                stands = replace(stands, material=replace(stands.material, arrived=arrived))
                for other in group[1:]:
                    self._forget(partition, other)
            for arrival in [stands, *(group[1:] if self.each else [])]:
                chosen[arrival.name] = arrival
            where = (stands.material.uri, stands.material.etag)
            same += [replace(m, same_as=stands.material.uri) for m in others if (m.uri, m.etag) != where]
        for arrival in chosen.values():
            if arrival.original is not None:
                self.session.add_entry(partition, arrival.original)
        ordered = tuple(chosen[name] for name in sorted(chosen))
        return Gathered(ordered, tuple(sorted(set(same), key=lambda m: (m.uri, m.etag))))

    def _forget(self, partition: str, arrival: Arrival) -> None:
        """Remove the copy that was just made of an object that repeats another."""
        if arrival.original is not None and arrival.original.key == self.session.key(partition, arrival.name):
            self.ledger.lake.delete(arrival.original.key)

    def _repeats(self, partition: str) -> dict[str, Material]:
        """The objects that repeated others when the partition was published, by URI."""
        return {m.uri: m for m in arrivals(self.dataset, partition) if m.same_as}

    def _left_by(self, partition: str, repeat: Material, overwritten: Mapping[str, Material]) -> dict[str, Arrival]:
        """The bytes of a repeated object, from that which stood for it and was overwritten since."""
        wanted = {name: material for name, material in overwritten.items() if material.identity == repeat.identity}
        name = LANDED + repeat.uri.removeprefix(f"{self.landing.url.rstrip('/')}/").rpartition("://")[2]
        for arrival in self._kept(partition, dict(list(wanted.items())[:1])).values():
            original = arrival.original and replace(arrival.original, path=name)
            return {name: replace(arrival, name=name, original=original)}
        return {}

    def _earlier(self, partition: str) -> dict[str, Material]:
        """What a published partition was made from, by the path of the original: a landing that moved names the same objects."""
        materials: dict[str, list[Material]] = {}
        for material in sorted(arrivals(self.dataset, partition), key=lambda m: m.uri, reverse=True):
            if material.same_as:
                continue
            materials.setdefault(material.sha256, []).append(material)
        if not materials or self.dataset is None:
            return {}
        manifest = self.dataset.files(partition)
        named = {material.uri: material for group in materials.values() for material in group}
        parts = {origin["name"]: named[origin["uri"]] for origin in _parts(manifest).values() if origin["uri"] in named}
        originals = [entry for entry in manifest.files if entry.role == "landed"]
        return parts | {entry.path: materials[entry.sha256].pop() for entry in originals if materials.get(entry.sha256)}

    def _kept(self, partition: str, wanted: dict[str, Material]) -> dict[str, Arrival]:
        """Earlier arrivals, every byte verified."""
        if not wanted or self.dataset is None:
            return {}
        originals = {}
        digests = {material.sha256 for material in wanted.values()}
        for file in self.dataset.fetch(partition, self.work / "kept" / segment(partition), role="landed", only=digests):
            if file.entry.path in wanted:
                original = file.entry if self.keep else None
                kept = Arrival(wanted[file.entry.path], file.entry.path, file.path, original=original)
                originals[file.entry.path] = self._seen(kept)
        return self._kept_parts(partition, wanted) | originals

    def _kept_parts(self, partition: str, wanted: dict[str, Material]) -> dict[str, Arrival]:
        """Parts of earlier arrivals whose originals were not kept, every byte verified."""
        manifest = self.dataset.files(partition) if self.dataset else None
        origins = {part: origin["name"] for part, origin in _parts(manifest).items() if origin["name"] in wanted}
        if not origins or self.dataset is None or manifest is None:
            return {}
        columns = tuple(manifest.stats[STATS]["columns"])
        return {
            origins[file.entry.path]: Arrival(
                wanted[origins[file.entry.path]], origins[file.entry.path], file.path, file.entry, columns
            )
            for file in self.dataset.fetch(partition, self.work / "parts of" / segment(partition))
            if file.entry.path in origins
        }

    def _quarantined(self, partition: str) -> dict[str, FileEntry]:
        """The originals that the newest refused run of a partition left in quarantine, by path."""
        lake, prefix = self.ledger.lake, f"quarantine/{self.session.asset}/"
        newest = ""
        originals: dict[str, FileEntry] = {}
        for info in lake.list(prefix):
            record = json.loads(lake.read(info.key))
            if partition in record["partitions"] and record["time"] > newest:
                newest = record["time"]
                files = [FileEntry(**entry) for entry in record["partitions"][partition]["files"]]
                originals = {file.path: file for file in files if file.role == "landed"}
        return originals

    def _uri(self, name: str) -> str:
        return f"{self.landing.url.rstrip('/')}/{name.removeprefix(LANDED)}"

    def _held(self, partition: str, entry: FileEntry) -> Arrival:
        """An original from quarantine, re-hashed before it is used; raises MissingObject, DigestMismatch."""
        path = self.work / "held" / segment(partition) / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = sha256()
        try:
            with path.open("wb") as sink:
                for chunk in self.ledger.lake.stream(entry.key):
                    digest.update(chunk)
                    sink.write(chunk)
        except ObjectNotFound as exc:
            raise MissingObject(
                f"expected {entry.key} in quarantine, found nothing: have the producer send it again"
            ) from exc
        if digest.hexdigest() != entry.sha256:
            raise DigestMismatch(f"expected {entry.key} to be what was quarantined, found other bytes", key=entry.key)
        material = Material(self._uri(entry.path), entry.sha256, entry.size, partition=partition, arrived=self.now)
        return self._seen(Arrival(material, entry.path, path, original=entry if self.keep else None))

    def _take(self, partition: str, uri: str, info: ObjectInfo) -> Arrival | None:
        """Take a landed object, hashed on the way; None when it is gone by now, or noted as one that cannot be taken."""
        listed = info
        for _ in range(MAX_READS):
            try:
                return self._copy(partition, uri, info)
            except PreconditionFailed:
                # overwritten since it was listed: take what is there now
                try:
                    info = self.landing.head(info.key)
                except ObjectNotFound:
                    return None
            except ObjectNotFound:
                # by a shorter prefix: a store asked for just this key would look whether it is there
                if any(again.key == info.key for again in self.landing.list(info.key[:-1])):
                    # listed and not there: it is written otherwise than it is listed, with a slash at its end for one
                    self._note_nameless(partition, listed, "a key under which it is read")
                return None
            except InvalidKey:
                self._note_nameless(partition, listed, "a key that landing and lake can hold")
                return None
            except StorageError as exc:
                if exc.retryable or exc is not self._failed:
                    raise
                item = Unplaced(uri, listed.version or listed.etag, exc.message)
                self.denied.setdefault(partition, []).append(item)
                return None
        raise PreconditionFailed(f"expected {uri} to hold still, found it rewritten {MAX_READS} times: try again")

    def _note_nameless(self, partition: str, info: ObjectInfo, expected: str) -> None:
        reason = f"expected {expected}, found {info.key!r}: rename the object"
        item = Unplaced(uri_of(self.landing, info), info.version or info.etag, reason)
        self.nameless.setdefault(partition, []).append(item)

    def require_readable(self) -> None:
        """Raise the landing's refusal where it handed out nothing at all: that is an outage, and no fault of an object."""
        if self.denied and not self.objects_read and self._failed is not None:
            raise self._failed

    def _copy(self, partition: str, uri: str, info: ObjectInfo) -> Arrival:
        name = LANDED + info.key
        key = self.session.key(partition, name)
        lake, digest = self.ledger.lake, sha256()
        local = lake.local_path(key) if self.keep else None
        # of an own name: two keys of a landing may be a file and its folder
        path = local or self.work / "taken" / segment(partition) / sha256(name.encode()).hexdigest()[:24]
        if local is None:
            path.parent.mkdir(parents=True, exist_ok=True)
        size = 0

        def chunks() -> Iterator[bytes]:
            nonlocal size
            sink = None if local else path.open("wb")
            try:
                for chunk in self.landing.stream(info.key, version=info.version, if_match=info.etag or None):
                    digest.update(chunk)
                    size += len(chunk)
                    if sink:
                        sink.write(chunk)
                    yield chunk
            except StorageError as exc:
                self._failed = exc
                raise
            finally:
                if sink:
                    sink.close()

        if self.keep:
            lake.write(key, chunks())
        else:
            deque(chunks(), maxlen=0)
        original = FileEntry(name, size, 0, digest.hexdigest(), key, "lake", "landed") if self.keep else None
        self.bytes_read += size
        self.objects_read += 1
        etag, modified = info.version or info.etag, info.modified.isoformat()
        material = Material(uri, digest.hexdigest(), size, etag, modified, partition, self.now)
        return Arrival(material, name, path, original=original)


def _clashing(present: Sequence[str], earlier: Collection[str]) -> set[str]:
    """The paths among those present that no folder can hold beside the others, as `x.csv/y.csv` beside `x.csv`.

    Object stores hold both. What was taken before stays; of two that are new the upper one is taken.
    """
    paths, above = {*present, *earlier}, {folder for path in earlier for folder in _folders(path)}
    lower = {path for path in present if any(folder in paths for folder in _folders(path))}
    return (lower | above.intersection(present)).difference(earlier)


def _folders(path: str) -> Iterator[str]:
    """The folders that a path lies in, but for the one of all originals."""
    at = path.find("/", len(LANDED))
    while at > 0:
        yield path[:at]
        at = path.find("/", at + 1)


def _parts(manifest: PartitionManifest | None) -> dict[str, dict[str, str]]:
    """By part, the landed object that it was made from and that was not kept."""
    stated = manifest.stats.get(STATS) if manifest else None
    return dict(stated["objects"]) if isinstance(stated, dict) and "objects" in stated else {}
