"""One landed object into typed batches, with what was refused; memory is bounded by the batch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrai.contracts.contract import Contract
from orchestrai.errors import UnreadableObject
from orchestrai.ingest.anomaly.sketch import Lens, Sketch
from orchestrai.ingest.conversions.convert import convert
from orchestrai.ingest.conversions.text_numbers import in_doubt
from orchestrai.ingest.readers.chunks import Chunk, ObjectReader, Untidy
from orchestrai.ingest.readers.columns.derive_columns import Origin
from orchestrai.ingest.readers.csv.csv_reader import UNNAMED, CsvReader
from orchestrai.ingest.readers.json import JsonDocumentReader, JsonLinesReader, PagesReader
from orchestrai.ingest.readers.parquet import ParquetReader
from orchestrai.ingest.readers.part_files import PartWriter
from orchestrai.ingest.readers.rejects import Mark, Refused
from orchestrai.ingest.readers.row_rules import RowRules
from orchestrai.ingest.spec import SourceSpec

if TYPE_CHECKING:
    import pyarrow as pa

SMALL_BYTES = 16 * 1024 * 1024
TINY_BYTES = 2 * 1024
ALWAYS_KEPT = 1_000


@dataclass
class ObjectOutcome:
    """What became of one object's rows; `erased` ones belong to persons who were erased and are left out.

    `refused` are the first that were set aside; of an object that has too many of them the rest is counted in `unkept`.
    """

    rows: int = 0
    erased: int = 0
    refused: list[Refused] = field(default_factory=list)
    unkept: int = 0
    unreadable: str = ""
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()

    @property
    def seen(self) -> int:
        """Rows met, refused ones included."""
        return self.rows + self.set_aside

    @property
    def set_aside(self) -> int:
        """Rows refused."""
        return len(self.refused) + self.unkept

    def refuse(self, refused: Sequence[Refused], share: float) -> None:
        """Set rows aside in their order: each is kept until there are more than `share` of the rows up to it, and many.

        A record's number is that of the rows up to it, so it does not matter in which chunks they come.
        """
        for one in refused:
            if self.unkept or len(self.refused) + 1 > max(ALWAYS_KEPT, share * one.mark.record):
                self.unkept += 1
            else:
                self.refused.append(one)

    def begin_again(self) -> None:
        """Forget what was read so far."""
        self.rows, self.erased, self.refused, self.unkept, self.unreadable = 0, 0, [], 0, ""


def without_doubt(contract: Contract, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """The chunks of a quick parser of text; raises Untidy at a number of which the text must be asked."""
    doubles = [column.source for column in contract.landed if column.type == "DOUBLE"]
    for chunk in chunks:
        parsed = [chunk.arrays[column] for column in doubles if column in chunk.arrays]
        if any(str(array.type) == "double" and in_doubt(array) for array in parsed):
            raise Untidy
        yield chunk


@dataclass(frozen=True)
class Typing:
    """How objects of one source become rows of one contract; with `rules` a row that breaks one is set aside like a misfit.

    With a `lens` what is written is looked at, so that the partition has a profile.
    """

    source: SourceSpec
    contract: Contract
    rules: RowRules | None = None
    lens: Lens | None = None

    def sketch(self) -> Sketch | None:
        """What looks at the rows of a part as they are written; None where nothing does."""
        return None if self.lens is None else Sketch(self.lens)

    def batches(self, path: Path, outcome: ObjectOutcome, name: str = "") -> Iterator["pa.RecordBatch"]:
        """Yield typed batches of a small object's rows, all read by one reader; fills `outcome`. `name` is its key in the landing.

        Of an object that cannot be read to its end no row is handed on, nor set aside; of one with too many refused rows all are
        that could be typed.
        """
        try:
            reader = self._open(path)
            outcome.missing, outcome.extra = self._header_change(reader)
            try:
                typed = list(self._whole(reader, path, outcome, name, careful=self._is_tiny(path)))
            except Untidy:
                outcome.begin_again()
                typed = list(self._whole(reader, path, outcome, name, careful=True))
            yield from typed
            self._judge_share(reader, path, outcome, name)
        except UnreadableObject as exc:
            outcome.unreadable = exc.message

    def large(self, path: Path, outcome: ObjectOutcome, name: str = "", *, careful: bool) -> Iterator["pa.RecordBatch"]:
        """As `batches` in bounded memory; raises Untidy when the caller must begin again with `careful`.

        Rows come before it is known that there is no end: where `outcome` has none then, they must be forgotten.
        """
        try:
            reader = self._open(path)
            outcome.missing, outcome.extra = self._header_change(reader)
            yield from self._whole(reader, path, outcome, name, careful=careful)
            self._judge_share(reader, path, outcome, name)
        except UnreadableObject as exc:
            outcome.unreadable = exc.message

    def _is_tiny(self, path: Path) -> bool:
        """Whether an object is read record by record before Arrow's reader is set up."""
        return self.source.format in ("csv", "jsonl") and path.stat().st_size <= TINY_BYTES

    def _open(self, path: Path) -> ObjectReader:
        source, contract = self.source, self.contract
        if path.stat().st_size == 0:
            raise UnreadableObject("expected data, found an empty object: have the producer send it again")
        if source.format == "parquet":
            return ParquetReader(path, contract, source.max_object_bytes)
        if source.format == "csv":
            return CsvReader(source, path, contract)
        if source.format == "json":
            return JsonDocumentReader(source, path, contract)
        if source.format == "http":
            return PagesReader(source, path, contract)
        return JsonLinesReader(source, path, contract)

    def _header_change(self, reader: ObjectReader) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Declared columns that the object lacks, and columns it has that nobody declared. Raises UnreadableObject."""
        names = [name for name in reader.fields if name != UNNAMED]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UnreadableObject(f"expected each column once, found {', '.join(twice[:5])} twice: repair the header")
        known = {column.source: column for column in self.contract.landed}
        missing = [name for name in known if name not in names]
        if self.source.format in ("jsonl", "json", "http"):
            # a record may leave out what is null
            missing = [] if any(name in known for name in names) else missing
        needed = [name for name in missing if known[name].required]
        if needed or (missing and len(missing) == len(known)):
            have = ", ".join(repr(name) for name in names[:8])
            raise UnreadableObject(
                f"expected the columns {', '.join((needed or missing)[:8])}, found {have}: repair the header"
            )
        return tuple(missing), tuple(name for name in names if name not in known)

    def _believed(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """The chunks of a quick parser; raises Untidy at a number of which the text must be asked."""
        return chunks if self.source.format == "parquet" else without_doubt(self.contract, chunks)

    def _numbers(self, marks: Sequence[Mark]) -> Sequence[int]:
        """The number of each row, where a column is made of it: the marks of a large object are made one by one."""
        asked = any(column.derive is not None and column.derive.function == "row" for column in self.contract.columns)
        return [mark.record for mark in marks] if asked else ()

    def _whole(
        self, reader: ObjectReader, path: Path, outcome: ObjectOutcome, name: str, *, careful: bool
    ) -> Iterator["pa.RecordBatch"]:
        chunks = reader.careful(path) if careful else self._believed(reader.fast(path))
        try:
            for batch, refused in self._typed(chunks, name):
                outcome.refuse(refused, self.source.max_refused_share)
                outcome.rows += batch.num_rows
                if batch.num_rows:
                    yield batch
        except UnreadableObject:
            outcome.begin_again()
            raise

    def _typed(self, chunks: Iterator[Chunk], name: str) -> Iterator[tuple["pa.RecordBatch", Sequence[Refused]]]:
        number = 1
        for chunk in chunks:
            # refused records count too, so that a row keeps its number when another one is mended
            numbers = range(number, number + chunk.rows) if chunk.marks is None else self._numbers(chunk.marks)
            number += chunk.rows
            yield self._sorted_out(chunk, Origin(name, numbers))

    def _judge_share(self, reader: ObjectReader, path: Path, outcome: ObjectOutcome, name: str) -> None:
        """Raise UnreadableObject for too many refused rows to keep; where they are not in the end, all of them are kept."""
        if not outcome.unkept:
            return
        share, seen, set_aside = self.source.max_refused_share, outcome.seen, outcome.set_aside
        if set_aside > share * seen:
            first = outcome.refused[0]
            raise UnreadableObject(
                f"expected at most {share:.2%} refused rows, found {set_aside / seen:.1%} of {seen} "
                f"(line {first.mark.line}: {first.reason}): the first {len(outcome.refused)} are in the dead letters"
            )
        typed = self._typed(reader.careful(path), name)
        outcome.refused, outcome.unkept = [one for _, refused in typed for one in refused], 0

    def _sorted_out(self, chunk: Chunk, origin: Origin) -> tuple["pa.RecordBatch", Sequence[Refused]]:
        """The rows to keep and those set aside; raises Untidy where it cannot be told where the latter lie."""
        import pyarrow as pa

        source = self.source
        batch, misfits = convert(self.contract, chunk.arrays, chunk.rows, source.timestamp_formats, source.clock, origin)
        untyped = {misfit.row for misfit in misfits}
        if self.rules:
            misfits += [misfit for misfit in self.rules.broken(batch) if misfit.row not in untyped]
        if not misfits:
            return batch, chunk.refused
        if chunk.marks is None:
            raise Untidy
        bad: dict[int, Refused] = {}
        for misfit in misfits:
            if misfit.row not in bad:
                rule = misfit.row not in untyped
                bad[misfit.row] = Refused(chunk.marks[misfit.row], misfit.reason, misfit.column, rule, misfit.belongs)
        keep = pa.array([row not in bad for row in range(batch.num_rows)])
        refused = sorted([*chunk.refused, *bad.values()], key=lambda r: r.mark.record)
        return batch.filter(keep), refused


def large_part(
    typing: Typing,
    path: Path,
    outcome: ObjectOutcome,
    target: Path,
    seal: Callable[["pa.RecordBatch"], "pa.RecordBatch"] | None = None,
    name: str = "",
) -> PartWriter:
    """Type a large object into a part of its own, in bounded memory; raises UnreadableObject. The writer is still open."""
    for careful in (False, True):
        writer = PartWriter(target, typing.contract.arrow_schema(), typing.sketch())
        outcome.begin_again()
        try:
            for batch in typing.large(path, outcome, name, careful=careful):
                writer.write(seal(batch) if seal else batch)
            if outcome.unreadable and not outcome.rows:
                # how many rows lie before the damage depends on how many are read at a time
                writer.close()
                writer = PartWriter(target, typing.contract.arrow_schema())
            return writer
        except Untidy:
            writer.close()
    raise UnreadableObject("expected rows as declared, found none that can be read")
