"""What goes into a partition: its objects in the landing and those that it was made from before, equal ones once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from orchestrai.ingest.discovery.partitioning import uri_of
from orchestrai.ingest.discovery.same_content import content_digest, first_arrival, precedence
from orchestrai.ingest.originals.landing_copies import LandingCopies
from orchestrai.ingest.originals.originals import LANDED, Arrival, Gathered, clashing, landed_key
from orchestrai.ingest.originals.published_originals import PublishedOriginals
from orchestrai.ingest.originals.quarantined_originals import quarantined
from orchestrai.ingest.spec import DatasetTask
from orchestrai.ledger.manifest import FileEntry
from orchestrai.ledger.receipt import Material
from orchestrai.ledger.session import Session
from orchestrai.stage.context import RunContext
from orchestrai.storage.base import ObjectInfo, Store


class Intake:
    """Brings the objects of one partition together: new ones from the landing, earlier ones from the ledger.

    An object that was overwritten is taken anew; one that left the landing stays, so that a producer's clean-up loses nothing.
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
        self.source, self.keep = task.source, keep
        # where rows are made of the object's name, equal bytes under another name are other rows
        self.each = task.source.equal_files == "each" or task.contract.names_objects
        self.dataset = self.ledger.find(session.asset)
        self.copies = LandingCopies(session, landing, work, context.now().isoformat(), keep=keep)
        self.published = PublishedOriginals(self.dataset, keep=keep)

    def gather(self, partition: str, present: Sequence[ObjectInfo], *, recover: bool = False) -> Gathered:
        """All arrivals of a partition, objects of one content once; raises StorageError, IntegrityError.

        `recover` adds the originals of its last refused run that are neither in the landing nor published.
        """
        earlier, repeats = self.published.materials(partition), self.published.repeats(partition)
        if self.source.objects == "newest" and present:
            present, earlier, repeats = [max(present, key=lambda info: (info.modified, info.key))], {}, {}
        taken = self._taken(partition, present, earlier, repeats)
        by_name = dict(taken)
        by_name |= self._kept(partition, {name: material for name, material in earlier.items() if name not in taken})
        if recover:
            held = quarantined(self.ledger.lake, self.session.asset, partition)
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
            arrival = self.copies.take(partition, uri, places[uri]) if uri in places else None
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
        nameless = clashing([LANDED + info.key for info in present], earlier)
        for info in present:
            if LANDED + info.key in nameless:
                self.copies.note_nameless(
                    partition, info, "a key that lies neither below nor above another one of its partition"
                )
                continue
            uri, own = uri_of(self.landing, info), earlier.get(LANDED + info.key)
            mark = (uri, info.version or info.etag)
            # of a landing that moved, another name may mean the same object
            if self.keep and (mark in known if own is None else mark == (own.uri, own.etag)):
                continue
            arrival = self.copies.take(partition, uri, info)
            if arrival is not None:
                taken[arrival.name] = self._seen(arrival, own)
                repeats.pop(uri, None)
        return taken

    def _seen(self, taken: Arrival, known: Material | None = None) -> Arrival:
        """An arrival with its content; the same bytes landed again came when they came first."""
        material = taken.material
        if taken.part is None and not material.content:
            with taken.opened(self.ledger) as path:
                material = replace(material, content=content_digest(path, self.source.max_object_bytes))
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

    def _left_by(self, partition: str, repeat: Material, overwritten: Mapping[str, Material]) -> dict[str, Arrival]:
        """The bytes of a repeated object, from that which stood for it and was overwritten since."""
        wanted = {name: material for name, material in overwritten.items() if material.identity == repeat.identity}
        name = LANDED + repeat.uri.removeprefix(f"{self.landing.url.rstrip('/')}/").rpartition("://")[2]
        for arrival in self._kept(partition, dict(list(wanted.items())[:1])).values():
            original = arrival.original and replace(arrival.original, path=name)
            return {name: replace(arrival, name=name, original=original)}
        return {}

    def _kept(self, partition: str, wanted: dict[str, Material]) -> dict[str, Arrival]:
        """Earlier arrivals."""
        return {name: self._seen(arrival) for name, arrival in self.published.fetch(partition, wanted).items()}

    def _held(self, partition: str, entry: FileEntry) -> Arrival:
        """An original from quarantine; raises MissingObject, DigestMismatch."""
        uri = f"{self.landing.url.rstrip('/')}/{landed_key(entry.path)}"
        material = Material(uri, entry.sha256, entry.size, partition=partition, arrived=self.copies.now)
        return self._seen(Arrival(material, entry.path, entry, original=entry if self.keep else None))
