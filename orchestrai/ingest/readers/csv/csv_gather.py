"""Records that were read one by one, gathered into chunks: those of another width or with odd numbers are set aside."""

from collections.abc import Sequence

from orchestrai.contracts.contract import Contract
from orchestrai.ingest.readers import chunks
from orchestrai.ingest.readers.chunks import Chunk
from orchestrai.ingest.readers.csv.csv_records import CsvRecord, Fields
from orchestrai.ingest.readers.csv.number_marks import NumberMarks
from orchestrai.ingest.readers.csv.utf8_stream import Utf8Stream
from orchestrai.ingest.readers.rejects import Mark, Places, Refused, shown
from orchestrai.ingest.spec import SourceSpec


class Gather:
    """Collects the records of an object into chunks."""

    def __init__(
        self, source: SourceSpec, contract: Contract, names: Sequence[str], marks: NumberMarks | None, stream: Utf8Stream
    ) -> None:
        self.stream, self.width, self.marks = stream, len(names), marks
        self.nulls = frozenset(source.null_values)
        self.picks = [(column, names.index(column.source)) for column in contract.landed if column.source in names]
        self._clear()

    def _clear(self) -> None:
        self.rows: list[Fields] = []
        self.places = Places(self.stream.codec)
        self.refused: list[Refused] = []
        self.size = 0

    @property
    def any(self) -> bool:
        """Whether anything is gathered."""
        return bool(self.rows or self.refused)

    @property
    def full(self) -> bool:
        """Whether a chunk should be made."""
        return len(self.rows) + len(self.refused) >= chunks.CAREFUL_ROWS or self.size >= chunks.CAREFUL_BYTES

    def add(self, record: Refused | CsvRecord) -> None:
        """Take a record, or note why there is none."""
        if isinstance(record, Refused):
            self.refused.append(record)
            self.size += len(record.mark.text)
            return
        self.size += len(record.raw)
        if len(record.fields) != self.width:
            mark = Mark(record.number, record.line, record.offset, self._shown(record.raw))
            self.refused.append(Refused(mark, f"expected {self.width} fields, found {len(record.fields)}"))
            return
        self.rows.append(record.fields)
        raw = record.raw if self.stream.plain else self.stream.original(record.raw.rstrip(b"\r\n"))
        self.places.add(record.number, record.line, record.offset, raw)

    def _shown(self, raw: bytes) -> str:
        return shown(self.stream.original(raw.rstrip(b"\r\n")), self.stream.codec)

    def chunk(self) -> Chunk:
        """What was gathered."""
        import pyarrow as pa

        arrays = {
            column.source: pa.array([None if row[i] in self.nulls else row[i] for row in self.rows], pa.string())
            for column, i in self.picks
        }
        made = Chunk(arrays, len(self.rows), self.places, tuple(self.refused))
        if self.marks:
            made = self._with_plain_numbers(made, self.marks)
        self._clear()
        return made

    def _with_plain_numbers(self, chunk: Chunk, marks: NumberMarks) -> Chunk:
        import pyarrow as pa

        arrays = dict(chunk.arrays)
        bad: dict[int, Refused] = {}
        for column, _ in self.picks:
            if marks.concern(column.type):
                texts = arrays[column.source]
                arrays[column.source], wrong = marks.plain(texts)
                for row in wrong:
                    reason = marks.reason(column.type, texts[row].as_py())
                    bad.setdefault(row, Refused(self.places[row], reason, column.name))
        if not bad:
            return Chunk(arrays, chunk.rows, chunk.marks, chunk.refused)
        keep = pa.array([row not in bad for row in range(chunk.rows)])
        marks_kept = [self.places[row] for row in range(chunk.rows) if row not in bad]
        refused = sorted([*chunk.refused, *bad.values()], key=lambda one: one.mark.record)
        return Chunk(
            {name: array.filter(keep) for name, array in arrays.items()}, len(marks_kept), marks_kept, tuple(refused)
        )
