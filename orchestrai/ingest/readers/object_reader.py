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
ALWAYS_KEPT = 1_000


@dataclass
class ObjectOutcome:
    """What became of one object's rows; `erased` ones belong to persons who were erased and are left out."""

    rows: int = 0
    erased: int = 0
    refused: list[Refused] = field(default_factory=list)
    unreadable: str = ""
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()

    @property
    def seen(self) -> int:
        """Rows met, refused ones included."""
        return self.rows + len(self.refused)

    def begin_again(self) -> None:
        """Forget what was read so far."""
        self.rows, self.erased, self.refused, self.unreadable = 0, 0, [], ""


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
        """Yield typed batches of a small object's rows, all read by one reader; fills `outcome`. `name` is its key in the landing."""
        try:
            reader = self._open(path)
            outcome.missing, outcome.extra = self._header_change(reader)
            try:
                tidy = list(self._fast(reader, path, outcome, name))
            except Untidy:
                tidy = None
                outcome.begin_again()
            except UnreadableObject:
                outcome.rows = 0  # none of them is handed on
                raise
            if tidy is None:
                yield from self._read(reader.careful(path), outcome, name)
            else:
                yield from tidy
        except UnreadableObject as exc:
            outcome.unreadable = exc.message

    def large(self, path: Path, outcome: ObjectOutcome, name: str = "", *, careful: bool) -> Iterator["pa.RecordBatch"]:
        """As `batches` in bounded memory; raises Untidy when the caller must begin again with `careful`."""
        try:
            reader = self._open(path)
            outcome.missing, outcome.extra = self._header_change(reader)
            yield from (
                self._read(reader.careful(path), outcome, name) if careful else self._fast(reader, path, outcome, name)
            )
        except UnreadableObject as exc:
            outcome.unreadable = exc.message

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

    def _fast(self, reader: ObjectReader, path: Path, outcome: ObjectOutcome, name: str) -> Iterator["pa.RecordBatch"]:
        return self._read(self._believed(reader.fast(path)), outcome, name)

    def _believed(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """The chunks of a quick parser; raises Untidy at a number of which the text must be asked."""
        doubles = [column.source for column in self.contract.landed if column.type == "DOUBLE"]
        for chunk in chunks:
            if self.source.format != "parquet":
                parsed = [chunk.arrays[column] for column in doubles if column in chunk.arrays]
                if any(str(array.type) == "double" and in_doubt(array) for array in parsed):
                    raise Untidy
            yield chunk

    def _numbers(self, marks: Sequence[Mark]) -> Sequence[int]:
        """The number of each row, where a column is made of it: the marks of a large object are made one by one."""
        asked = any(column.derive is not None and column.derive.function == "row" for column in self.contract.columns)
        return [mark.record for mark in marks] if asked else ()

    def _read(self, chunks: Iterator[Chunk], outcome: ObjectOutcome, name: str) -> Iterator["pa.RecordBatch"]:
        number = 1
        for chunk in chunks:
            # refused records count too, so that a row keeps its number when another one is mended
            numbers = range(number, number + chunk.rows) if chunk.marks is None else self._numbers(chunk.marks)
            number += chunk.rows
            batch, refused = self._sorted_out(chunk, Origin(name, numbers))
            outcome.refused += refused
            outcome.rows += batch.num_rows
            if batch.num_rows:
                yield batch
            if len(outcome.refused) > ALWAYS_KEPT and len(outcome.refused) > self.source.max_refused_share * outcome.seen:
                share = len(outcome.refused) / outcome.seen
                first = outcome.refused[0]
                raise UnreadableObject(
                    f"expected at most {self.source.max_refused_share:.2%} refused rows, found {share:.1%} of the first "
                    f"{outcome.seen} (line {first.mark.line}: {first.reason}): the rest was not read"
                )

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
            return writer
        except Untidy:
            writer.close()
    raise UnreadableObject("expected rows as declared, found none that can be read")
