"""A table in a cloud's warehouse: files are staged in a bucket and loaded there, then one transaction puts them in place."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrai.storage.base import Store
from orchestrai.storage.databases.cloud.cloud_warehouse import Statement, Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

LOADS = "orchestrai_partition_loads"
PARTITION, VERSION = "orchestrai_partition", "orchestrai_version"


@dataclass(frozen=True)
class CloudTarget:
    """A table, `name` or `schema.name`, of a warehouse; `bucket` holds its files under `staging` while they are loaded."""

    warehouse: Warehouse
    table: str
    bucket: Store
    staging: str

    @contextmanager
    def transaction(self) -> "Iterator[CloudTable]":
        """Open a table; what was replaced is put in place when the block is left without an error. Raises StorageError, IntegrityError."""
        table = CloudTable(self, uuid.uuid4().hex[:12])
        try:
            yield table
            self.warehouse.run(table.groups)
        finally:
            table.clean()


@dataclass
class CloudTable:
    """See PartitionTable. `replace` counts the rows of the files; the transaction counts those in the table, and fails on a difference."""

    target: CloudTarget
    token: str
    groups: list[list[Statement]] = field(default_factory=list)
    _schema: "pa.Schema | None" = None
    _keys: list[str] = field(default_factory=list)
    _staged: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dialect = self.target.warehouse.dialect
        owner, _, self.plain = self.target.table.rpartition(".")
        self.owner = owner or self.target.warehouse.schema

    def _place(self, name: str) -> str:
        return f"{self.dialect.name(self.owner)}.{self.dialect.column(name)}"

    def prepare(self, schema: "pa.Schema") -> None:
        """Create the table and the notes beside it where they are not there, and the columns that the contract got since."""
        import pyarrow as pa

        self._schema = schema
        dialect, on = self.dialect, self.target.warehouse
        text, whole = dialect.type_of(pa.string()), dialect.type_of(pa.int64())
        marks = [(PARTITION, text), (VERSION, text)]
        columns = [(field.name, dialect.type_of(field.type)) for field in schema] + marks
        notes = [(name, text) for name in ("name", "part", "root", "version")] + [("seq", whole), ("row_count", whole)]
        made = [
            f"CREATE TABLE IF NOT EXISTS {self._place(LOADS)} ({self._defined(notes)})",
            f"CREATE TABLE IF NOT EXISTS {self._place(self.plain)} ({self._defined(columns)})"
            + dialect.cluster.format(dialect.column(PARTITION)),
        ]
        on.run([[Statement(text)] for text in made])
        listed = dialect.listed.format(dialect.value(self.owner), dialect.value(self.plain), dialect.name(self.owner))
        held = {name for (name,) in on.rows(listed)}
        add = [f"ALTER TABLE {self._place(self.plain)} ADD COLUMN {self._defined([c])}" for c in columns if c[0] not in held]
        if add:
            on.run([[Statement(text)] for text in add])

    def _defined(self, columns: Sequence[tuple[str, str]]) -> str:
        return ", ".join(f"{self.dialect.column(name)} {kind}" for name, kind in columns)

    def loaded(self) -> Mapping[str, tuple[str, int]]:
        """The root and the number of the head of each partition that the table holds."""
        named = self.dialect.value(self.target.table)
        rows = self.target.warehouse.rows(f"SELECT part, root, seq FROM {self._place(LOADS)} WHERE name = {named}")
        return {str(part): (str(root), int(seq or 0)) for part, root, seq in rows}

    def replace(self, partition: str, files: Sequence[Path], columns: Sequence[str], version: str) -> int:
        """Stage and load the files; the rows they have."""
        import pyarrow.parquet as pq
        import pyarrow.types as kinds

        dialect, place = self.dialect, self._place(self.plain)
        assert self._schema is not None, "prepare comes first"
        rows, uris = 0, []
        for path in files:
            key = f"{self.plain}/{self.token}/{len(self._keys):06d}.parquet"
            self.target.bucket.write_file(key, path)
            self._keys.append(key)
            uris.append(f"{self.target.staging}/{key}")
            rows += pq.read_metadata(path).num_rows
        mine = f"{dialect.column(PARTITION)} = {dialect.value(partition)}"
        statements = [Statement(f"DELETE FROM {place} WHERE {mine}")]
        if uris:
            staged = f"orchestrai_staged_{self.token}_{len(self._staged):06d}"
            self._staged.append(staged)
            load = self.target.warehouse.load(staged, self._schema, uris)
            moments = (
                {f.name for f in self._schema if kinds.is_timestamp(f.type) and f.type.tz} if dialect.staged_moment else ()
            )
            names = [dialect.column(name) for name in columns]
            taken = [
                dialect.staged_moment.format(column) if name in moments else column
                for name, column in zip(columns, names, strict=True)
            ]
            marks = [dialect.value(partition), dialect.value(version)]
            into = ", ".join([*names, dialect.column(PARTITION), dialect.column(VERSION)])
            statements = [
                *load,
                *statements,
                Statement(
                    f"INSERT INTO {place} ({into}) SELECT {', '.join([*taken, *marks])} FROM {self.staged_place(staged)}"
                ),
            ]
        told = f"expected {rows} rows of {partition} in {self.target.table}, found another number after the insert: nothing was changed"
        count = f"SELECT count(*) FROM {place} WHERE {mine}"
        statements.append(Statement(dialect.check.format(count, rows, f"orchestrai check {len(self.groups)}"), told))
        self.groups.append(statements)
        return rows

    def staged_place(self, staged: str) -> str:
        """A staging table as a statement names it: in the schema, unless it is one of the session."""
        return self.dialect.column(staged) if self.dialect.staged_moment else self._place(staged)

    def note(self, partition: str, root: str, version: str, seq: int, rows: int) -> None:
        """Remember what was loaded, in the transaction of the rows."""
        place, value = self._place(LOADS), self.dialect.value
        mine = f"name = {value(self.target.table)} AND part = {value(partition)}"
        texts = ", ".join(value(text) for text in (self.target.table, partition, root, version))
        self.groups[-1] += [
            Statement(f"DELETE FROM {place} WHERE {mine}"),
            Statement(f"INSERT INTO {place} (name, part, root, version, seq, row_count) VALUES ({texts}, {seq}, {rows})"),
        ]

    def clean(self) -> None:
        """Remove what was staged."""
        for key in self._keys:
            self.target.bucket.delete(key)
        if self._staged:
            self.target.warehouse.forget([self.staged_place(staged) for staged in self._staged])
