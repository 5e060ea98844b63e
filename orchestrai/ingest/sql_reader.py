"""Reading a PostgreSQL table behind a watermark: one snapshot, a cursor on the server, rows typed as declared."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrai.contracts.calendar import Grain, partition_of
from orchestrai.contracts.contract import Contract
from orchestrai.contracts.verdict import JsonValue
from orchestrai.errors import ConfigError
from orchestrai.ingest.convert import convert
from orchestrai.ingest.letters import DeadLetter
from orchestrai.ingest.parts import PartWriter
from orchestrai.ingest.refusal import shown
from orchestrai.ingest.unfit import unfit_rows
from orchestrai.ledger import Dataset
from orchestrai.storage.postgres import address, connection
from orchestrai.storage.secret_ref import check_reference

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class SqlSource:
    """A table or view of PostgreSQL; `url` is a secret reference (env://NAME, file:///path) to a connection URL.

    `watermark` names the contract's column that grows with every change: a TIMESTAMP, or a BIGINT with `overlap_ids` instead of
    `overlap`. `overlap` must be longer than the longest writing transaction. One slice holds at most `limit_rows`.
    """

    url: str
    table: str
    watermark: str
    overlap: timedelta = timedelta(minutes=10)
    overlap_ids: int = 1_000
    page_rows: int = 5_000
    limit_rows: int = 1_000_000
    statement_timeout: timedelta = timedelta(minutes=30)
    retries: int = 3

    def __post_init__(self) -> None:
        check_reference(self.url)
        if self.overlap < timedelta(0) or self.overlap_ids < 0 or min(self.page_rows, self.limit_rows) < 1:
            raise ConfigError("expected an overlap of at least 0 and pages of at least 1 row: correct the source")


@dataclass(frozen=True)
class Position:
    """How far a table was read: the greatest watermark, and the key reached where a slice ended before the table's end."""

    watermark: str | int
    key: tuple[str, ...] | None = None

    def as_json(self) -> dict[str, JsonValue]:
        """The form kept in a manifest."""
        return {"watermark": self.watermark, "key": None if self.key is None else list(self.key)}


@dataclass
class Extract:
    """What one snapshot gave: a Parquet file and letters per partition, and how far it reached."""

    folder: Path
    rows: dict[str, PartWriter] = field(default_factory=dict)
    letters: dict[str, list[DeadLetter]] = field(default_factory=dict)
    position: Position | None = None
    read: int = 0
    repeated: int = 0
    more: bool = False
    facts: dict[str, JsonValue] = field(default_factory=dict)

    @property
    def touched(self) -> list[str]:
        """The partitions that got something."""
        return sorted({*(key for key, writer in self.rows.items() if writer.rows), *self.letters})


class TableReader:
    """Reads one table as one contract declares it."""

    def __init__(self, source: SqlSource, contract: Contract, grain: Grain) -> None:
        self.source, self.contract, self.grain = source, contract, grain
        if source.watermark not in contract.names or contract.column(source.watermark).type not in ("TIMESTAMP", "BIGINT"):
            raise ConfigError(
                f"expected the watermark {source.watermark!r} as a TIMESTAMP or BIGINT column of {contract.name}"
            )
        if not contract.primary_key:
            raise ConfigError(f"expected {contract.name} to declare a primary key, found none: rows are known by it")
        self.timed = contract.column(source.watermark).type == "TIMESTAMP"
        self.sorting = (source.watermark, *(name for name in contract.primary_key if name != source.watermark))
        self.at = [contract.names.index(name) for name in self.sorting]

    def extract(self, folder: Path, position: Position | None, dataset: Dataset | None) -> Extract:
        """Read a slice in one snapshot; raises StorageError, ConfigError."""
        folder.mkdir(parents=True)
        found = Extract(folder)
        with connection(self.source.url) as opened:
            opened.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            opened.execute(f"SET LOCAL statement_timeout = {round(self.source.statement_timeout.total_seconds() * 1000)}")
            self._note_facts(opened, found)
            keys = _Seen(self, dataset, position is not None)
            count, last = 0, None
            for rows in self._pages(opened, position):
                count, last = count + len(rows), rows[-1]
                self._take(rows, found, keys)
        for writer in found.rows.values():
            writer.close()
        if last is not None:
            cut = count >= self.source.limit_rows
            mark = last[-len(self.at)]
            key = tuple(str(value) for value in last[-len(self.at) + 1 :]) if cut else None
            found.position = Position(mark if not self.timed else str(mark), key)
        found.read, found.more = count, count >= self.source.limit_rows
        found.facts |= {"read": count, "repeated": found.repeated, "more": found.more}
        found.facts["rows"] = sum(writer.rows for writer in found.rows.values())
        found.facts["dead_letters"] = sum(len(letters) for letters in found.letters.values())
        return found

    def _note_facts(self, opened: Any, found: Extract) -> None:
        from psycopg import sql

        column = sql.Identifier(self.contract.column(self.source.watermark).source)
        query = sql.SQL("SELECT count(*) FROM {} WHERE {} IS NULL").format(self._table(), column)
        (nulls,) = opened.execute(query).fetchone()
        snapshot, version, age = opened.execute(
            "SELECT pg_current_snapshot()::text, current_setting('server_version'), (SELECT extract(epoch FROM max(now() - "
            "xact_start))::float8 FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid())"
        ).fetchone()
        found.facts |= {"snapshot": snapshot, "server_version": version, "null_watermarks": nulls}
        found.facts["oldest_transaction_seconds"] = age
        found.facts["overlap_seconds"] = self.source.overlap.total_seconds() if self.timed else None

    def _table(self) -> Any:
        from psycopg import sql

        return sql.Identifier(*self.source.table.split("."))

    def _pages(self, opened: Any, position: Position | None) -> Iterator[list[tuple[Any, ...]]]:
        """Rows in the order of watermark and key, a page at a time, from a cursor on the server.

        The sorting columns come once more at the end, the keys as text, to note where a slice ends.
        """
        from psycopg import sql

        columns = [self.contract.column(name) for name in self.contract.names]
        chosen = [
            sql.SQL("{}::text" if column.type == "STRING" else "{}").format(sql.Identifier(column.source))
            for column in columns
        ]
        order = [sql.Identifier("t", self.contract.column(name).source) for name in self.sorting]
        marks = [sql.SQL("{}::text" if self.timed or n else "{}").format(name) for n, name in enumerate(order)]
        where, values = self._where(order, position)
        query = sql.SQL("SELECT {} FROM {} AS t WHERE {} ORDER BY {} LIMIT {}").format(
            sql.SQL(", ").join([*chosen, *marks]),
            self._table(),
            where,
            sql.SQL(", ").join(order),
            sql.Literal(self.source.limit_rows),
        )
        with opened.cursor(name="orchestrai_extract") as cursor:
            cursor.execute(query, values)
            while rows := cursor.fetchmany(self.source.page_rows):
                yield rows

    def _where(self, order: Sequence[Any], position: Position | None) -> tuple[Any, Sequence[Any]]:
        from psycopg import sql

        if position is None:
            return sql.SQL("{} IS NOT NULL").format(order[0]), ()
        if position.key is not None:
            # the rest of a slice that was cut: strictly behind the last row read
            return sql.SQL("({}) > ({})").format(
                sql.SQL(", ").join(order), sql.SQL(", ").join([sql.Placeholder()] * len(order))
            ), (position.watermark, *position.key)
        if self.timed:
            return sql.SQL("{} >= (%s::timestamptz - %s::interval)").format(order[0]), (
                position.watermark,
                self.source.overlap,
            )
        return sql.SQL("{} >= (%s::bigint - %s)").format(order[0]), (position.watermark, self.source.overlap_ids)

    def _take(self, rows: Sequence[tuple[Any, ...]], found: Extract, seen: "_Seen") -> None:
        """Type a page, place its rows and write those that were not read before."""
        import pyarrow as pa

        columns = dict(zip((c.source for c in self.contract.columns), zip(*rows, strict=True), strict=False))
        arrays = {name: _natural(values) for name, values in columns.items()}
        batch, misfits = convert(self.contract, arrays, len(rows))
        misfits += unfit_rows(self.contract, batch)
        places = self._places(batch)
        bad = {misfit.row: misfit for misfit in reversed(misfits)}
        identities = list(zip(*(batch.column(i).to_pylist() for i in self.at), strict=True))
        keep: dict[str, list[int]] = {}
        for row, place in enumerate(places):
            if row in bad:
                letter = self._letter(rows[row], bad[row].column, bad[row].reason, place)
                found.letters.setdefault(place, []).append(letter)
            elif seen.before(place, identities[row]):
                found.repeated += 1
            else:
                keep.setdefault(place, []).append(row)
        for place, chosen in keep.items():
            if place not in found.rows:
                found.rows[place] = PartWriter(found.folder / f"{len(found.rows):06d}.parquet", self.contract.arrow_schema())
            found.rows[place].write(batch.take(pa.array(chosen)))

    def _places(self, batch: "pa.RecordBatch") -> list[str]:
        name = self.contract.event_time or (self.source.watermark if self.timed else None)
        if self.grain == "all" or name is None:
            return ["all"] * batch.num_rows
        moments = batch.column(self.contract.names.index(name)).to_pylist()
        marks = batch.column(self.at[0]).to_pylist()
        chosen = [a if isinstance(a, datetime) else b for a, b in zip(moments, marks, strict=True)]
        return [partition_of(moment, self.grain) if isinstance(moment, datetime) else "all" for moment in chosen]

    def _letter(self, row: tuple[Any, ...], column: str, reason: str, place: str) -> DeadLetter:
        uri = f"{address(self.source.url)}/{self.source.table}"
        text = shown(repr(dict(zip((c.source for c in self.contract.columns), row, strict=False))))
        digest = sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
        identity = sha256(f"{uri}\n{row[-len(self.at) :]!r}".encode()).hexdigest()[:16]
        contract = self.contract
        return DeadLetter(
            identity, "row", place, uri, digest, 0, 0, 0, column, reason, text, contract.name, contract.version
        )


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

        found: set[tuple[Any, ...]] = set()
        with dataset.fetched([partition]) as files:
            for file in files[partition]:
                table = pq.read_table(file.path, columns=list(self.reader.sorting))
                found.update(zip(*(table.column(name).to_pylist() for name in self.reader.sorting), strict=True))
        return frozenset(found)


def _natural(values: Sequence[Any]) -> "pa.Array":
    """Values in the Arrow type they have; as text where they have no common one."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
