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
from orchestrai.core.time.calendar import Grain, partition_of, time_grain
from orchestrai.errors import ConfigError
from orchestrai.ingest.conversions.convert import convert
from orchestrai.ingest.dead_letters import DeadLetter
from orchestrai.ingest.readers.part_files import PartWriter
from orchestrai.ingest.readers.rejects import shown
from orchestrai.ingest.readers.row_rules import unfit_rows
from orchestrai.ingest.sources.database import Wanted, snapshot
from orchestrai.ingest.sources.stream_records import LETTER, StreamRecord
from orchestrai.ingest.sources.table_source import Position, SqlSource
from orchestrai.ledger.dataset import Dataset
from orchestrai.privacy.ingest_guard import Sealing, discreet, refuse_sealed_keys

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
        """Read a slice in one snapshot; raises StorageError, ConfigError."""
        folder.mkdir(parents=True)
        extract = Extract(folder, began=position)
        with snapshot(self.source) as opened:
            extract.facts |= opened.facts(self.contract.column(self.source.watermark).source)
            extract.facts["overlap_seconds"] = self.source.overlap.total_seconds() if self.timed else None
            keys = _Seen(self, dataset, position is not None or bool(dataset and dataset.partitions))
            count, last = 0, None
            for rows in opened.pages(self._wanted(), position):
                count, last = count + len(rows), rows[-1]
                self._take(rows, extract, keys)
        for writer in extract.rows.values():
            writer.close()
        if last is not None:
            cut = count >= self.source.limit_rows
            mark = last[-len(self.at)]
            key = tuple(str(value) for value in last[len(last) - len(self.at) + 1 :]) if cut else None
            extract.position = Position(mark if not self.timed else str(mark), key)
        extract.read, extract.more = count, count >= self.source.limit_rows
        extract.facts |= {"read": count, "repeated": extract.repeated, "more": extract.more}
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
        )

    def _take(self, rows: Sequence[tuple[Any, ...]], extract: Extract, seen: "_Seen") -> None:
        """Type a page, place its rows and write those that were not read before."""
        import pyarrow as pa

        columns = dict(zip((c.source for c in self.contract.landed), zip(*rows, strict=True), strict=False))
        arrays = {name: _natural(values) for name, values in columns.items()}
        batch, misfits = convert(self.contract, arrays, len(rows), clock=self.source.clock)
        misfits += unfit_rows(self.contract, batch)
        places = self._places(batch)
        bad = {misfit.row: misfit for misfit in reversed(misfits)}
        identities = list(zip(*(batch.column(i).to_pylist() for i in self.at), strict=True))
        keep: dict[str, list[int]] = {}
        for row, place in enumerate(places):
            if row in bad:
                letter, record = self._letter(rows[row], bad[row].column, bad[row].reason, place)
                extract.letters.setdefault(place, []).append(letter)
                extract.refused.setdefault(place, []).append(record)
            elif seen.before(place, identities[row]):
                extract.repeated += 1
            else:
                keep.setdefault(place, []).append(row)
        for place, chosen in keep.items():
            picked = batch.take(pa.array(chosen))
            if self.sealing:
                picked, erased = self.sealing.seal(picked)
                extract.erased += erased
            if picked.num_rows and place not in extract.rows:
                extract.rows[place] = PartWriter(
                    extract.folder / f"{len(extract.rows):06d}.parquet", self.contract.arrow_schema()
                )
            if picked.num_rows:
                extract.rows[place].write(picked)

    def _places(self, batch: "pa.RecordBatch") -> list[str]:
        name = self.contract.event_time or (self.source.watermark if self.timed else None)
        if self.grain == "all" or name is None:
            return ["all"] * batch.num_rows
        moments = batch.column(self.contract.names.index(name)).to_pylist()
        marks = batch.column(self.at[0]).to_pylist()
        chosen = [a if isinstance(a, date) else b for a, b in zip(moments, marks, strict=True)]
        return [partition_of(moment, time_grain(self.grain)) if isinstance(moment, date) else "all" for moment in chosen]

    def _letter(self, row: tuple[Any, ...], column: str, reason: str, place: str) -> tuple[DeadLetter, StreamRecord]:
        uri, contract = self.source.uri, self.contract
        values = {c.source: _plain(value) for c, value in zip(contract.landed, row, strict=False)}
        body = json.dumps(values, ensure_ascii=False).encode("utf-8", "backslashreplace")
        identity = sha256(f"{uri}\n{row[-len(self.at) :]!r}".encode()).hexdigest()[:16]
        text, digest, reason = shown(body), sha256(body).hexdigest(), discreet(contract, reason)
        if contract.person:
            # of a person nothing is told: a digest could be tested against a guess
            text = digest = ""
        letter = DeadLetter(
            identity, "row", place, uri, digest, 0, 0, 0, column, reason, text, contract.name, contract.version
        )
        return letter, StreamRecord(0, 0, self.now, body, None, ((LETTER, identity.encode()),))


@dataclass
class _Seen:
    """The identities that a partition already holds. A row read again has the same event time, so the same partition."""

    reader: TableReader
    dataset: Dataset | None
    wanted: bool
    known: dict[str, frozenset[tuple[Any, ...]]] = field(default_factory=dict)

    def before(self, partition: str, identity: tuple[Any, ...]) -> bool:
        if not self.wanted or self.dataset is None or partition not in self.dataset.partitions:
            return False
        if partition not in self.known:
            self.known[partition] = self._read(self.dataset, partition)
        return identity in self.known[partition]

    def _read(self, dataset: Dataset, partition: str) -> frozenset[tuple[Any, ...]]:
        import pyarrow.parquet as pq

        identities: set[tuple[Any, ...]] = set()
        with dataset.fetched([partition]) as files:
            for file in files[partition]:
                table = pq.read_table(file.path, columns=list(self.reader.sorting))
                identities.update(zip(*(table.column(name).to_pylist() for name in self.reader.sorting), strict=True))
        return frozenset(identities)


def _natural(values: Sequence[Any]) -> "pa.Array":
    """Values in the Arrow type they have; as text where they have no common one."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def _plain(value: Any) -> str | int | float | bool | None:
    """A value as JSON that `convert` reads back as the declared type."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    return value.isoformat() if isinstance(value, date) else str(value)
