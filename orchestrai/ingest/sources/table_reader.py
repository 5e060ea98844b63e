"""Reading a table behind a watermark: one snapshot, page by page, rows typed as declared."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrai.contracts.contract import Contract
from orchestrai.core.canonical import JsonValue
from orchestrai.core.time.calendar import Grain, time_grain
from orchestrai.errors import ConfigError, IntegrityError
from orchestrai.ingest.conversions.convert import Misfit, convert
from orchestrai.ingest.dead_letters import DeadLetter
from orchestrai.ingest.readers.part_files import PartWriter
from orchestrai.ingest.readers.rejects import shown
from orchestrai.ingest.readers.row_rules import unfit_rows
from orchestrai.ingest.sources.partition_rows import rows_by_partition
from orchestrai.ingest.sources.stream_records import LETTER, StreamRecord
from orchestrai.ingest.sources.table_source import Position, SqlSource
from orchestrai.ledger.dataset import Dataset
from orchestrai.privacy.ingest_guard import Sealing, discreet, refuse_sealed_keys
from orchestrai.storage.databases.open_table import table_snapshot
from orchestrai.storage.databases.table_port import TableSnapshot, Wanted

if TYPE_CHECKING:
    import pyarrow as pa

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Extract:
    """What one snapshot gave: a Parquet file and letters per partition, and how far it reached.

    `refused` are the rows of the letters as they were read, each under its letter's id.
    """

    folder: Path
    rows: dict[str, PartWriter] = field(default_factory=dict)
    letters: dict[str, list[DeadLetter]] = field(default_factory=dict)
    refused: dict[str, list[StreamRecord]] = field(default_factory=dict)
    position: Position | None = None
    read: int = 0
    repeated: int = 0
    erased: int = 0
    more: bool = False
    began: Position | None = None
    facts: dict[str, JsonValue] = field(default_factory=dict)

    @property
    def touched(self) -> list[str]:
        """The partitions that got something."""
        return sorted({*(key for key, writer in self.rows.items() if writer.rows), *self.letters})

    @property
    def empty(self) -> bool:
        """True when it gave nothing that is new."""
        return not self.touched

    @property
    def end(self) -> JsonValue:
        """How far it reached, as a position to go on from."""
        reached = self.position or self.began
        return None if reached is None else reached.as_json()


class TableReader:
    """Reads one table as one contract declares it."""

    def __init__(
        self, source: SqlSource, contract: Contract, grain: Grain, now: datetime = EPOCH, sealing: Sealing | None = None
    ) -> None:
        self.source, self.contract, self.grain, self.now, self.sealing = source, contract, grain, now, sealing
        key = source.key or contract.primary_key
        landed = {column.name for column in contract.landed}
        if source.watermark not in landed or contract.column(source.watermark).type not in ("TIMESTAMP", "BIGINT"):
            raise ConfigError(
                f"expected the watermark {source.watermark!r} as a TIMESTAMP or BIGINT column of {contract.name}"
            )
        unknown = sorted(set(key) - landed)
        if not key or unknown:
            actual = f"unknown {unknown}" if unknown else "none"
            raise ConfigError(
                f"expected a primary key in {contract.name}, or sql.key of its columns, found {actual}: rows are known by it"
            )
        refuse_sealed_keys(contract, (source.watermark, *key), "a table")
        self.timed = contract.column(source.watermark).type == "TIMESTAMP"
        self.sorting = (source.watermark, *(name for name in key if name != source.watermark))
        self.at = [contract.names.index(name) for name in self.sorting]

    def extract(self, folder: Path, position: Position | None, dataset: Dataset | None) -> Extract:
        """Read a slice in one snapshot; raises StorageError, ConfigError, IntegrityError."""
        folder.mkdir(parents=True)
        extract = Extract(folder, began=position)
        source = self.source
        with table_snapshot(source.place, source.relation, statement_timeout=source.statement_timeout) as opened:
            extract.facts |= opened.facts(self.contract.column(source.watermark).source)
            if (plugin := source.place.plugin) is not None:
                extract.facts["plugin"] = plugin.origin
            extract.facts["overlap_seconds"] = source.overlap.total_seconds() if self.timed else None
            keys = _Seen(self, dataset, position is not None or bool(dataset and dataset.partitions))
            last: tuple[Any, ...] = ()
            for batch in opened.batches(self._wanted(), source.window(position), source.paging):
                extract.read += batch.num_rows
                last = self._marks(batch, batch.num_rows - 1)
                self._take(batch, extract, keys)
            extract.more = extract.read >= source.limit_rows
            if last:
                mark, *key = last
                cut = tuple(str(value) for value in key) if extract.more else None
                extract.position = Position(str(mark) if self.timed else mark, cut)
            if source.reconcile:
                extract.facts["counted"] = self._counted(opened, extract)
        for writer in extract.rows.values():
            writer.close()
        extract.facts |= {"read": extract.read, "repeated": extract.repeated, "more": extract.more}
        if self.sealing:
            extract.facts["erased"] = extract.erased
        extract.facts["rows"] = sum(writer.rows for writer in extract.rows.values())
        extract.facts["dead_letters"] = sum(len(letters) for letters in extract.letters.values())
        return extract

    def _wanted(self) -> Wanted:
        columns = self.contract.landed
        return Wanted(
            tuple(column.source for column in columns),
            frozenset(column.source for column in columns if column.type == "STRING"),
            tuple(self.contract.column(name).source for name in self.sorting),
            self.timed,
            frozenset(column.source for column in columns if column.type in ("BIGINT", "INT")),
            frozenset(column.source for column in columns if column.type.startswith(("DECIMAL", "TIMESTAMP"))),
        )

    def _counted(self, opened: TableSnapshot, extract: Extract) -> int:
        """The rows of the window that was read, as the source counts them in the same snapshot. Raises IntegrityError where
        it counts some and none came: there is nothing that a verdict could be about."""
        until = extract.position if extract.more else None
        counted = opened.count(self._wanted(), self.source.window(extract.began, until))
        if counted and not extract.read:
            raise IntegrityError(
                f"expected the {counted} rows that {self.source.uri} counts in the window, found none: look at what is between"
            )
        return counted

    def _marks(self, rows: "pa.RecordBatch", row: int) -> tuple[Any, ...]:
        """Watermark and key of a row as the database spells them."""
        first = rows.num_columns - len(self.at)
        return tuple(rows.column(first + place)[row].as_py() for place in range(len(self.at)))

    def _take(self, rows: "pa.RecordBatch", extract: Extract, seen: "_Seen") -> None:
        """Type a page, place its rows and write those that were not read before."""
        import pyarrow as pa

        arrays = {column.source: rows.column(place) for place, column in enumerate(self.contract.landed)}
        batch, misfits = convert(self.contract, arrays, rows.num_rows, clock=self.source.clock)
        misfits += unfit_rows(self.contract, batch)
        bad = {misfit.row: misfit for misfit in reversed(misfits)}
        for place, chosen in self._places(batch):
            good = []
            before = seen.before(place, batch, chosen)
            for row in chosen:
                if row in bad:
                    letter, record = self._letter(rows, row, bad[row], place)
                    extract.letters.setdefault(place, []).append(letter)
                    extract.refused.setdefault(place, []).append(record)
                elif row in before:
                    extract.repeated += 1
                else:
                    good.append(row)
            if not good:
                continue
            picked = batch if len(good) == batch.num_rows else batch.take(pa.array(good))
            if self.sealing:
                picked, erased = self.sealing.seal(picked)
                extract.erased += erased
            if picked.num_rows and place not in extract.rows:
                extract.rows[place] = PartWriter(
                    extract.folder / f"{len(extract.rows):06d}.parquet", self.contract.arrow_schema()
                )
            if picked.num_rows:
                extract.rows[place].write(picked)

    def _places(self, batch: "pa.RecordBatch") -> list[tuple[str, list[int]]]:
        """The rows of each partition, in the order of the page. The partition is that of the event time, of the watermark without one."""
        import pyarrow as pa

        name = self.contract.event_time or (self.source.watermark if self.timed else None)
        if self.grain == "all" or name is None:
            return [("all", list(range(batch.num_rows)))]
        found = rows_by_partition(batch.column(self.contract.names.index(name)), time_grain(self.grain))
        if not self.timed or not found or found[0][0] != "all":
            return found
        # a row whose event time is no time goes by its watermark, into the dead letters there
        (_, untold), *told = found
        marks = rows_by_partition(batch.column(self.at[0]).take(pa.array(untold)), time_grain(self.grain))
        return told + [(place, [untold[row] for row in rows]) for place, rows in marks]

    def _letter(self, rows: "pa.RecordBatch", row: int, misfit: Misfit, place: str) -> tuple[DeadLetter, StreamRecord]:
        uri, contract = self.source.uri, self.contract
        values = {c.source: _plain(rows.column(n)[row].as_py()) for n, c in enumerate(contract.landed)}
        body = json.dumps(values, ensure_ascii=False).encode("utf-8", "backslashreplace")
        identity = sha256(f"{uri}\n{self._marks(rows, row)!r}".encode()).hexdigest()[:16]
        text, digest, reason = shown(body), sha256(body).hexdigest(), discreet(contract, misfit.reason)
        if contract.person:
            # of a person nothing is told: a digest could be tested against a guess
            text = digest = ""
        letter = DeadLetter(
            identity, "row", place, uri, digest, 0, 0, 0, misfit.column, reason, text, contract.name, contract.version
        )
        return letter, StreamRecord(0, 0, self.now, body, None, ((LETTER, identity.encode()),))


@dataclass
class _Seen:
    """The identities that a partition already holds. A row read again has the same event time, so the same partition."""

    reader: TableReader
    dataset: Dataset | None
    wanted: bool
    known: dict[str, frozenset[tuple[Any, ...]]] = field(default_factory=dict)

    def before(self, partition: str, batch: "pa.RecordBatch", rows: Sequence[int]) -> frozenset[int]:
        """Those of the rows that the partition holds already."""
        import pyarrow as pa

        if not self.wanted or self.dataset is None or partition not in self.dataset.partitions:
            return frozenset()
        if partition not in self.known:
            self.known[partition] = self._read(self.dataset, partition)
        known, chosen = self.known[partition], pa.array(rows, pa.int64())
        identities = zip(*(batch.column(place).take(chosen).to_pylist() for place in self.reader.at), strict=True)
        return frozenset(row for row, identity in zip(rows, identities, strict=True) if identity in known)

    def _read(self, dataset: Dataset, partition: str) -> frozenset[tuple[Any, ...]]:
        import pyarrow.parquet as pq

        identities: set[tuple[Any, ...]] = set()
        with dataset.fetched([partition]) as files:
            for file in files[partition]:
                table = pq.read_table(file.path, columns=list(self.reader.sorting))
                identities.update(zip(*(table.column(name).to_pylist() for name in self.reader.sorting), strict=True))
        return frozenset(identities)


def _plain(value: Any) -> str | int | float | bool | None:
    """A value as JSON that `convert` reads back as the declared type."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    return value.isoformat() if isinstance(value, date) else str(value)
