"""A table in a cloud's warehouse: files are staged in a bucket and loaded there, then one transaction puts them in place."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrai.core.identity import new_session_id
from orchestrai.core.sql.dialects import family_of
from orchestrai.storage.databases.cloud.cloud_warehouse import Staging, Statement, Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

LOADS = "orchestrai_partition_loads"
PARTITION, VERSION = "orchestrai_partition", "orchestrai_version"


@dataclass(frozen=True)
class CloudTarget:
    """A table, `name` or `schema.name`, of a warehouse, whose staging place holds the files while they are loaded."""

    warehouse: Warehouse
    table: str

    @contextmanager
    def transaction(self) -> "Iterator[CloudTable]":
        """Open a table; what was replaced is put in place when the block is left without an error. Raises StorageError, IntegrityError."""
        table = CloudTable(self, new_session_id()[:12], self.warehouse.staging)
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
    staging: Staging
    groups: list[list[Statement]] = field(default_factory=list)
    _schema: "pa.Schema | None" = None
    _staged: list[str] = field(default_factory=list)
    _checks: int = 0

    def __post_init__(self) -> None:
        self.dialect = self.target.warehouse.dialect
        owner, _, self.plain = self.target.table.rpartition(".")
        self.owner = owner or self.target.warehouse.schema

    def place(self, name: str) -> str:
        return f"{self.dialect.name(self.owner)}.{self.dialect.column(name)}"

    def prepare(self, schema: "pa.Schema") -> None:
        """Create the table and the notes beside it where they are not there, and the columns that the contract got since."""
        text, whole = self._kinds
        notes = [(name, text) for name in ("name", "part", "root", "version")] + [("seq", whole), ("row_count", whole)]
        self.make(schema, [(PARTITION, text), (VERSION, text)], LOADS, notes)

    @property
    def _kinds(self) -> tuple[str, str]:
        import pyarrow as pa

        return self.dialect.type_of(pa.string()), self.dialect.type_of(pa.int64())

    def make(
        self, schema: "pa.Schema", marks: Sequence[tuple[str, str]], noted: str, notes: Sequence[tuple[str, str]]
    ) -> None:
        """Create the table with marks of ours and the notes `noted`, and add the columns that the table lacks."""
        self._schema = schema
        dialect, on = self.dialect, self.target.warehouse
        columns = [(field.name, dialect.type_of(field.type)) for field in schema] + list(marks)
        cluster = dialect.cluster.format(dialect.column(PARTITION)) if marks[0][0] == PARTITION else ""
        made = [
            f"CREATE TABLE IF NOT EXISTS {self.place(noted)} ({self._defined(notes)})",
            f"CREATE TABLE IF NOT EXISTS {self.place(self.plain)} ({self._defined(columns)}){cluster}",
        ]
        on.run([[Statement(text)] for text in made])
        listed = dialect.listed.format(
            dialect.value(dialect.spelled(self.owner)), dialect.value(dialect.spelled(self.plain)), dialect.name(self.owner)
        )
        held = {name for (name,) in on.rows(listed)}
        add = [
            f"ALTER TABLE {self.place(self.plain)} ADD COLUMN {self._defined([c])}"
            for c in columns
            if dialect.spelled(c[0]) not in held
        ]
        if add:
            on.run([[Statement(text)] for text in add])

    def _defined(self, columns: Sequence[tuple[str, str]]) -> str:
        return ", ".join(f"{self.dialect.column(name)} {kind}" for name, kind in columns)

    def loaded(self) -> Mapping[str, tuple[str, int]]:
        """The root and the number of the head of each partition that the table holds."""
        named = self.dialect.value(self.target.table)
        rows = self.target.warehouse.rows(f"SELECT part, root, seq FROM {self.place(LOADS)} WHERE name = {named}")
        return {str(part): (str(root), int(seq or 0)) for part, root, seq in rows}

    def replace(self, partition: str, files: Sequence[Path], columns: Sequence[str], version: str) -> int:
        """Stage and load the files; the rows they have."""
        dialect, place = self.dialect, self.place(self.plain)
        mine = f"{dialect.column(PARTITION)} = {dialect.value(partition)}"
        statements, rows = [Statement(f"DELETE FROM {place} WHERE {mine}")], 0
        if files:
            load, staged, rows = self.stage(files)
            taken = [self.staged_value(name) for name in columns]
            marks = [dialect.value(partition), dialect.value(version)]
            into = ", ".join([*map(dialect.column, columns), dialect.column(PARTITION), dialect.column(VERSION)])
            statements = [
                *load,
                *statements,
                Statement(f"INSERT INTO {place} ({into}) SELECT {', '.join([*taken, *marks])} FROM {staged} AS s"),
            ]
        told = f"expected {rows} rows of {partition} in {self.target.table}, found another number after the insert: nothing was changed"
        statements.append(self.checked(f"SELECT count(*) FROM {place} WHERE {mine}", rows, told))
        self.groups.append(statements)
        return rows

    def stage(self, files: Sequence[Path]) -> tuple[list[Statement], str, int]:
        """Put files into the bucket and load them: statements of the same transaction, the staging table's name in one, the rows."""
        import pyarrow.parquet as pq

        assert self._schema is not None, "prepare comes first"
        number, rows, uris = len(self._staged), 0, []
        folder = f"{self._folder}/{number:06d}"
        for place, path in enumerate(files):
            key = f"{folder}/{place:06d}.parquet"
            self.staging.put(key, path)
            uris.append(f"{self.staging.place}/{key}")
            rows += pq.read_metadata(path).num_rows
        staged = f"orchestrai_staged_{self.token}_{number:06d}"
        self._staged.append(staged)
        load = self.target.warehouse.load(staged, self._schema, f"{self.staging.place}/{folder}/", uris)
        return load, self.staged_place(staged), rows

    def staged_value(self, name: str) -> str:
        """A column of the staging table s as a value of the table's own type."""
        assert self._schema is not None, "prepare comes first"
        kind, column = self._schema.field(name).type, f"s.{self.dialect.column(name)}"
        return self.dialect.staged.get(family_of(kind), "{0}").format(column, self.dialect.type_of(kind))

    def checked(self, count: str, rows: int, told: str) -> Statement:
        """A statement that fails, and tells so, unless a count is `rows`."""
        self._checks += 1
        return Statement(self.dialect.check.format(count, rows, f"orchestrai check {self._checks - 1}"), told)

    def staged_place(self, staged: str) -> str:
        """A staging table as a statement names it: in the schema, unless it is one of the session."""
        return self.dialect.column(staged) if self.dialect.staged_in_session else self.place(staged)

    def note(self, partition: str, root: str, version: str, seq: int, rows: int) -> None:
        """Remember what was loaded, in the transaction of the rows."""
        place, value = self.place(LOADS), self.dialect.value
        mine = f"name = {value(self.target.table)} AND part = {value(partition)}"
        texts = ", ".join(value(text) for text in (self.target.table, partition, root, version))
        self.groups[-1] += [
            Statement(f"DELETE FROM {place} WHERE {mine}"),
            Statement(f"INSERT INTO {place} (name, part, root, version, seq, row_count) VALUES ({texts}, {seq}, {rows})"),
        ]

    def clean(self) -> None:
        """Remove what was staged."""
        self.staging.clean(self._folder)
        if self._staged:
            self.target.warehouse.forget([self.staged_place(staged) for staged in self._staged])

    @property
    def _folder(self) -> str:
        return f"{self.plain}/{self.token}"
