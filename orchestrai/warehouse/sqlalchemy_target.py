"""Tables of any warehouse that SQLAlchemy has a dialect for: BigQuery, Snowflake, Redshift, SQL Server, SQLite and others."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrai.errors import ConfigError, MissingExtra, StorageError, TransientStorageError
from orchestrai.secrets.reference import is_reference, resolve_secret, scrubbed

if TYPE_CHECKING:
    import pyarrow as pa

PAGE_ROWS = 5_000
_LOADS, _PARTITION, _VERSION = "orchestrai_partition_loads", "orchestrai_partition", "orchestrai_version"


@dataclass(frozen=True)
class SqlAlchemyTarget:
    """A table, `name` or `schema.name`; `url` is an SQLAlchemy URL without a password, or a secret reference to one."""

    url: str
    table: str

    @contextmanager
    def transaction(self) -> Iterator["SqlAlchemyTable"]:
        """Open one transaction; it is committed when the block is left without an error. Raises StorageError."""
        try:
            import sqlalchemy as sa
        except ImportError as exc:
            raise MissingExtra("expected sqlalchemy, found it absent: install orchestrai[warehouse]") from exc
        text = resolve_secret(self.url) if is_reference(self.url) else self.url
        try:
            url = sa.make_url(text)
            engine = sa.create_engine(url)
        except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ImportError) as exc:
            # the message may quote the URL
            raise ConfigError(
                f"expected the URL of a warehouse whose SQLAlchemy dialect is installed, found {type(exc).__name__}: correct it "
                "or install the dialect"
            ) from None
        try:
            with engine.begin() as opened:
                yield SqlAlchemyTable(opened, self.table)
        except sa.exc.SQLAlchemyError as exc:
            message = scrubbed(str(getattr(exc, "orig", None) or exc).split("\n")[0][:200], url.password)
            lost = isinstance(exc, sa.exc.OperationalError) and getattr(exc, "connection_invalidated", False)
            kind = TransientStorageError if lost else StorageError
            raise kind(
                f"expected {url.get_backend_name()} to take the rows, found: {message}; check table and access"
            ) from None
        finally:
            engine.dispose()


class SqlAlchemyTable:
    """See PartitionTable."""

    def __init__(self, opened: Any, name: str) -> None:
        import sqlalchemy as sa

        self._opened, self.name = opened, name
        self._metadata = sa.MetaData()
        *_, self._schema, self._plain = [None, *name.split(".")]
        columns: list[Any] = [
            sa.Column(part, sa.String(length), primary_key=True) for part, length in (("name", 255), ("part", 64))
        ]
        columns += [sa.Column(name, sa.String(80)) for name in ("root", "version")]
        columns += [sa.Column(name, sa.BigInteger) for name in ("seq", "row_count")]
        self._loads = sa.Table(_LOADS, self._metadata, *columns, schema=self._schema)
        self._table: Any = None

    def prepare(self, schema: "pa.Schema") -> None:
        """Create what is not there; two loaders of one partition are kept apart by the primary key of the notes."""
        import sqlalchemy as sa

        columns: list[Any] = [sa.Column(field.name, _type_of(field.type)) for field in schema]
        columns += [sa.Column(_PARTITION, sa.String(64)), sa.Column(_VERSION, sa.String(80))]
        self._table = sa.Table(self._plain, self._metadata, *columns, schema=self._schema)
        inspected = sa.inspect(self._opened)
        there = inspected.has_table(self._plain, schema=self._schema)
        held = {column["name"] for column in inspected.get_columns(self._plain, schema=self._schema)} if there else set()
        self._metadata.create_all(self._opened)
        dialect = self._opened.dialect
        place = dialect.identifier_preparer.format_table(self._table)
        for column in self._table.columns if there else ():
            if column.name not in held:
                # columns that the contract got since
                name, kind = dialect.identifier_preparer.format_column(column), column.type.compile(dialect)
                add = "ADD" if dialect.name in ("mssql", "oracle") else "ADD COLUMN"
                self._opened.execute(sa.text(f"ALTER TABLE {place} {add} {name} {kind}"))

    def loaded(self) -> Mapping[str, tuple[str, int]]:
        """The root and the number of the head of each partition that the table holds."""
        import sqlalchemy as sa

        loads = self._loads.c
        rows = self._opened.execute(sa.select(loads.part, loads.root, loads.seq).where(loads.name == self.name))
        return {part: (root, seq) for part, root, seq in rows}

    def replace(self, partition: str, files: Sequence[Path], columns: Sequence[str], version: str) -> int:
        """Delete and insert; the rows then counted."""
        import pyarrow.parquet as pq
        import sqlalchemy as sa

        table, marks = self._table, {_PARTITION: partition, _VERSION: version}
        mine = table.c[_PARTITION] == partition
        self._opened.execute(sa.delete(table).where(mine))
        for path in files:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=PAGE_ROWS, columns=list(columns)):
                    rows = [row | marks for row in batch.to_pylist()]
                    if rows:
                        self._opened.execute(sa.insert(table), rows)
        return int(self._opened.execute(sa.select(sa.func.count()).select_from(table).where(mine)).scalar_one())

    def note(self, partition: str, root: str, version: str, seq: int, rows: int) -> None:
        """Remember what was loaded."""
        import sqlalchemy as sa

        loads = self._loads.c
        self._opened.execute(sa.delete(self._loads).where(loads.name == self.name, loads.part == partition))
        values = {"name": self.name, "part": partition, "root": root, "version": version, "seq": seq, "row_count": rows}
        self._opened.execute(sa.insert(self._loads).values(values))


def _type_of(kind: "pa.DataType") -> Any:
    import pyarrow.types as kinds
    import sqlalchemy as sa

    if kinds.is_timestamp(kind):
        return sa.DateTime(timezone=bool(kind.tz))
    if kinds.is_decimal(kind):
        return sa.Numeric(kind.precision, kind.scale)
    rules: tuple[tuple[Any, Any], ...] = (
        (kinds.is_boolean, sa.Boolean()),
        (kinds.is_uint64, sa.Numeric(20, 0)),
        (kinds.is_integer, sa.BigInteger()),
        (kinds.is_floating, sa.Double()),
        (kinds.is_date, sa.Date()),
        (lambda k: kinds.is_string(k) or kinds.is_large_string(k), sa.Text()),
        (lambda k: kinds.is_binary(k) or kinds.is_large_binary(k), sa.LargeBinary()),
    )
    for holds, column_type in rules:
        if holds(kind):
            return column_type
    raise ConfigError(f"expected columns of plain types, found {kind}: leave the column out of the view")
