"""The objects of one partition on their way to typed parts, here or on Spark."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrai.contracts.anomaly.profile import PROFILE, Profile
from orchestrai.errors import DigestMismatch, UnreadableObject
from orchestrai.ingest.anomaly.sketch import Sketch, merged, sketch_of
from orchestrai.ingest.dead_letters import DeadLetter, letters_of
from orchestrai.ingest.originals.originals import Arrival, landed_key
from orchestrai.ingest.readers.compression import unpacked
from orchestrai.ingest.readers.object_reader import SMALL_BYTES, ObjectOutcome, Typing, large_part
from orchestrai.ingest.readers.part_files import PartWriter
from orchestrai.ingest.readers.rejects import Mark, Refused
from orchestrai.ingest.readers.spark_typing import Original, Part, grouped, type_on_spark
from orchestrai.ledger.manifest import FileEntry, Run, arrival_stats
from orchestrai.ledger.receipt import Material
from orchestrai.ledger.session import Session
from orchestrai.privacy.ingest_guard import Sealing
from orchestrai.storage.url import address_of

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass
class Partition:
    """One partition on its way to the commit."""

    key: str
    arrivals: list[Arrival] = field(default_factory=list)
    outcomes: list[ObjectOutcome] = field(default_factory=list)
    parts: list[Path] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    objects: dict[str, dict[str, str]] = field(default_factory=dict)
    runs: dict[str, list[Run]] = field(default_factory=dict)
    sketches: list[Sketch] = field(default_factory=list)
    profile: Profile | None = None
    rows: int = 0
    repeats: Sequence[Material] = ()

    @property
    def materials(self) -> list[Material]:
        """Every object behind it, for the receipt; those whose rows were read come last."""
        return [*self.repeats, *(arrival.material for arrival in self.arrivals)]

    def begin_again(self) -> None:
        """Forget what was read of the arrivals."""
        self.outcomes, self.parts, self.letters, self.objects, self.runs, self.rows = [], [], [], {}, {}, 0
        self.sketches = []


@dataclass
class PartitionReading:
    """Writes a partition's rows to Parquet parts: small objects share one, a large one has its own.

    With `sealing` every object has a part of its own, as no original tells later what came from where. Rows that break a rule
    are set aside up to the declared share; above it the partition is read again with all rows that could be typed, so that it
    is judged, and may be let through by a person, as it came. Verified parts that are taken over stay open in `opened`.
    """

    part: Partition
    typing: Typing
    session: Session
    folder: Path
    sealing: Sealing | None = None
    earlier_letters: Sequence[DeadLetter] = ()
    writer: PartWriter | None = None
    total: int = 0
    opened: ExitStack = field(default_factory=ExitStack)
    staged: list[tuple[str, Path, int] | FileEntry] = field(default_factory=list)

    def read(self) -> None:
        """Read all arrivals, and note what of them is refused."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._read()
        if self._breaks_too_much():
            self._begin_again()
            self._read()
        part = self.part
        for one in self.staged:
            if isinstance(one, FileEntry):
                self.session.add_entry(part.key, one)
            else:
                name, path, rows = one
                self.session.add_file(part.key, name, path, rows=rows)
        if self.sealing:
            self.session.add_stats(part.key, **self.sealing.stats(part.objects))
        self._note_arrivals()

    def _read(self) -> None:
        part = self.part
        for arrival in part.arrivals:
            outcome = ObjectOutcome()
            part.outcomes.append(outcome)
            if arrival.part is not None:
                self._keep(arrival, arrival.part, outcome)
                continue
            try:
                self._one(arrival, outcome)
            except UnreadableObject as exc:
                outcome.unreadable = exc.message
            part.letters += letters_of(self.typing.contract, arrival.material, outcome)
            if self.sealing:
                self._close(arrival)
        self._close()

    def _breaks_too_much(self) -> bool:
        """Whether more rows than declared are refused, and some of them for a rule that the audit has too."""
        outcomes, share = self.part.outcomes, self.typing.source.max_refused_share
        broken = [outcome for outcome in outcomes if any(refused.rule for refused in outcome.refused)]
        refused, seen = sum(len(outcome.refused) for outcome in outcomes), sum(outcome.seen for outcome in outcomes)
        return bool(broken) and (refused > share * seen or any(outcome.unreadable for outcome in broken))

    def _begin_again(self) -> None:
        """Forget what was read, and set no more rows aside for their rules."""
        self.typing = replace(self.typing, rules=None)
        self.part.begin_again()
        self.writer, self.total, self.staged = None, 0, []

    def read_on_spark(self, session: object) -> None:
        """As `read`, the typing done by Spark; the parts come back once, to be judged."""
        part, lake = self.part, self.session.ledger.lake
        staged = {entry.path: entry for entry in self.session.staged(part.key).files}
        originals = []
        self.folder.mkdir(parents=True, exist_ok=True)
        for index, arrival in enumerate(part.arrivals):
            part.outcomes.append(ObjectOutcome())
            try:
                with self._checked(arrival) as path:
                    size = path.stat().st_size
                entry = staged[arrival.name]
                packed = entry.size if entry.packed else -1
                originals.append(Original(index, entry.key, landed_key(arrival.name), size, entry.sha256, packed))
            except UnreadableObject as exc:
                part.outcomes[index].unreadable = exc.message
        groups = grouped(originals)
        keys = [self.session.key(part.key, f"part-{number:05d}.parquet") for number in range(len(groups))]
        unread = list(part.outcomes)

        def typed_parts() -> list[Part]:
            # executors only type: a part is looked at where it is judged
            parts = type_on_spark(session, address_of(lake), replace(self.typing, lens=None), groups, keys)
            for typed in parts:
                for index, outcome in typed.outcomes:
                    part.outcomes[index] = outcome
            return parts

        parts = typed_parts()
        if self._breaks_too_much():
            self._begin_again()
            part.outcomes += unread
            parts = typed_parts()
        for typed in parts:
            if typed.key:
                self._fetch(typed)
        for arrival, outcome in zip(part.arrivals, part.outcomes, strict=True):
            part.letters += letters_of(self.typing.contract, arrival.material, outcome)
        self._note_arrivals()

    def _fetch(self, typed: Part) -> None:
        """Bring a part here and add it; raises DigestMismatch when it is not what its executor wrote."""
        target, digest = self._target(), sha256()
        for index, outcome in typed.outcomes:
            self._came(target, self.part.arrivals[index], outcome)
        with target.open("wb") as sink:
            for chunk in self.session.ledger.lake.stream(typed.key):
                digest.update(chunk)
                sink.write(chunk)
        if digest.hexdigest() != typed.sha256:
            raise DigestMismatch(
                f"expected {typed.key} as Spark wrote it, found other bytes: run the step again", key=typed.key
            )
        self.part.parts.append(target)
        self.part.rows += typed.rows
        self._look_at(target)
        self.session.add_entry(self.part.key, FileEntry(target.name, typed.size, typed.rows, typed.sha256, typed.key))

    def _look_at(self, path: Path) -> None:
        """Sketch a part that was not written here."""
        if self.typing.lens is not None:
            self.part.sketches.append(sketch_of(self.typing.lens, path))

    def _target(self) -> Path:
        return self.folder / f"part-{len(self.part.parts):05d}.parquet"

    def _one(self, arrival: Arrival, outcome: ObjectOutcome) -> None:
        with self._checked(arrival) as path:
            if path.stat().st_size > SMALL_BYTES:
                self._close()
                seal = partial(_sealed, outcome=outcome, sealing=self.sealing)
                self.writer = large_part(self.typing, path, outcome, self._target(), seal, landed_key(arrival.name))
                self._came(self.writer.path, arrival, outcome)
                self._close(arrival)
                return
            self.writer = self.writer or PartWriter(
                self._target(), self.typing.contract.arrow_schema(), self.typing.sketch()
            )
            for batch in self.typing.batches(path, outcome, landed_key(arrival.name)):
                self.writer.write(_sealed(batch, outcome, self.sealing))
            self._came(self.writer.path, arrival, outcome)

    def _came(self, part: Path, arrival: Arrival, outcome: ObjectOutcome) -> None:
        """Note when the rows just written to a part came."""
        self.part.runs.setdefault(part.name, []).append((outcome.rows - outcome.erased, arrival.material.arrived))

    def _note_arrivals(self) -> None:
        stats: dict[str, Any] = {}
        for name, runs in self.part.runs.items():
            stats = arrival_stats(stats, name, runs)
        self.session.add_stats(self.part.key, **stats)
        if self.typing.lens is not None and self.part.rows:
            self.part.profile = merged(self.typing.lens, self.part.sketches).profile()
            self.session.add_stats(self.part.key, **{PROFILE: self.part.profile.as_json()})

    @contextmanager
    def _checked(self, arrival: Arrival) -> Iterator[Path]:
        """The object unpacked, while it is read; raises UnreadableObject for one too large, or with which its partition is."""
        source, target = self.typing.source, self.folder / "unpacked"
        with arrival.opened(self.session.ledger) as stored:
            try:
                path = unpacked(stored, source.max_object_bytes, target)
                self.total += path.stat().st_size
                if self.total > source.max_partition_bytes:
                    raise UnreadableObject(
                        f"expected at most {source.max_partition_bytes} bytes in a partition, found more: use a finer grain"
                    )
                yield path
            finally:
                target.unlink(missing_ok=True)

    def _close(self, arrival: Arrival | None = None) -> None:
        writer, part = self.writer, self.part
        if writer is None:
            return
        self.writer = None
        writer.close()
        part.parts.append(writer.path)
        part.rows += writer.rows
        part.sketches += [writer.sketch] if writer.sketch is not None else []
        self.staged.append((writer.path.name, writer.path, writer.rows))
        if arrival and self.sealing:
            part.objects[writer.path.name] = {"name": arrival.name, "uri": arrival.material.uri}

    def _keep(self, arrival: Arrival, entry: FileEntry, outcome: ObjectOutcome) -> None:
        """Take over the part of an object that left the landing and of which no original was kept."""
        part, contract = self.part, self.typing.contract
        if arrival.columns != contract.tokenised_columns:
            outcome.unreadable = (
                f"expected the object sent again, to tokenise {', '.join(contract.tokenised_columns) or 'nothing'} in it instead of "
                f"{', '.join(arrival.columns)}, found it gone: have the producer send it again"
            )
            part.letters += letters_of(contract, arrival.material, outcome)
            return
        name = self._target().name
        self.staged.append(replace(entry, path=name))
        part.objects[name] = {"name": arrival.name, "uri": arrival.material.uri}
        path = self.opened.enter_context(arrival.opened(self.session.ledger))
        part.parts.append(path)
        part.rows += entry.rows
        self._look_at(path)
        letters = [letter for letter in self.earlier_letters if letter.uri == arrival.material.uri]
        outcome.rows = entry.rows
        part.runs[name] = [(entry.rows, arrival.material.arrived)]
        outcome.refused = [Refused(Mark(x.record, x.line, x.offset, x.text), x.reason, x.column) for x in letters]
        part.letters += letters


def _sealed(batch: "pa.RecordBatch", outcome: ObjectOutcome, sealing: Sealing | None) -> "pa.RecordBatch":
    if sealing is None:
        return batch
    batch, erased = sealing.seal(batch)
    outcome.erased += erased
    return batch
