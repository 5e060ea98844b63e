"""A dataset whose versions are published through the ledger, and the tables that follow it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.storage.base import Store
from orchestrai.storage.local import LocalStore
from orchestrai.warehouse.tables.delta_table import DeltaTable
from orchestrai.warehouse.tables.follow import Followed, follow
from orchestrai.warehouse.tables.iceberg.iceberg_catalog import CATALOG, IcebergPlace
from orchestrai.warehouse.tables.iceberg.iceberg_table import IcebergTable
from orchestrai.warehouse.tables.shared_table import SharedTable, Snapshot
from orchestrai_tests.producers import producer

ASSET, NAME = "p/readings/restored", "p.readings"
COLUMNS = pa.schema(
    [
        ("id", pa.int64()), ("at", pa.timestamp("us", tz="UTC")), ("name", pa.string()), ("price", pa.decimal128(12, 3)),
        ("level", pa.float64()), ("small", pa.int32()), ("good", pa.bool_()), ("day", pa.date32()),
    ]
)  # fmt: skip
START = datetime(2026, 1, 5, tzinfo=UTC)
FORMS = ("iceberg", "delta")

Rows = list[dict[str, Any]]


def some(*ids: int) -> Rows:
    """Rows with every type, and with nothing in every other one."""
    full = {"name": "x" * 3, "level": 0.5, "small": 3, "good": True, "day": START.date()}
    return [
        {"id": number, "at": START + timedelta(microseconds=number), **(full if number % 2 else dict.fromkeys(full))}
        for number in ids
    ]


@dataclass
class World:
    """A dataset and the one table that follows it; the clock goes on by a day with each version."""

    folder: Path
    form: str
    lake: Store
    columns: pa.Schema = COLUMNS
    days: int = 0
    ledger: Ledger = field(init=False)

    def __post_init__(self) -> None:
        signer = load_or_create_signer(self.folder / "keys")
        self.ledger = Ledger(self.lake, signer, vault=LocalStore(self.folder / "vault"), clock=lambda: self.now)

    @property
    def now(self) -> datetime:
        return START + timedelta(days=self.days)

    def publish(self, partitions: Mapping[str, Rows], *, drop: Sequence[str] = (), columns: pa.Schema | None = None) -> str:
        """Publish partitions, each as two files; the version."""
        self.days += 1
        session = self.ledger.session(ASSET, producer("restored"))
        for key, rows in partitions.items():
            for number, part in enumerate((rows[:1], rows[1:])):
                path = self.folder / "staged.parquet"
                pq.write_table(pa.Table.from_pylist(part, columns or self.columns), path)
                session.add_file(key, f"part-{number}.parquet", path, rows=len(part))
        session.commit(drop=drop)
        return self.ledger.open(ASSET).version

    def table(self) -> SharedTable:
        if self.form == "delta":
            return DeltaTable(ASSET, self.lake, self.columns, self.ledger.clock)
        place = IcebergPlace(NAME, f"sqlite:///{self.folder}/catalog.db", self.lake, "tables/p/readings")
        return IcebergTable(place, ASSET, self.lake, self.columns)

    def follow(self, kept: Callable[[Mapping[int, datetime]], set[int]] = set) -> Followed:
        table = self.table()
        try:
            return follow(self.ledger, ASSET, table, kept)
        finally:
            table.close()

    def versions(self) -> list[str]:
        """The versions that the table can be read as of, oldest first."""
        return [one.version.version if one.version else "" for one in self.snapshots()]

    def snapshots(self) -> Sequence[Snapshot]:
        """The snapshots of the table, oldest first."""
        table = self.table()
        try:
            table.open()
            return table.history()
        finally:
            table.close()

    def rows_of(self, version: str) -> Rows:
        """What the ledger says a version holds."""
        dataset = self.ledger.open(ASSET, version)
        with dataset.fetched(sorted(dataset.partitions)) as files:
            tables = [pq.read_table(file.path) for key in sorted(files) for file in files[key]]
        return in_order(pa.concat_tables(tables, promote_options="default").to_pylist())

    def read(self, version: str) -> Rows:
        """What the format's own library reads as of a version."""
        if self.form == "delta":
            import deltalake

            place = f"{self.lake.local_path('data')}/{ASSET}"
            newest = deltalake.DeltaTable(place)
            number = next(one["version"] for one in newest.history() if one["orchestrai.version"] == version)
            found = deltalake.DeltaTable(place, version=number).to_pyarrow_table().drop_columns(["orchestrai_partition"])
            return in_order(found.to_pylist())
        from pyiceberg.catalog.sql import SqlCatalog

        catalog = SqlCatalog(CATALOG, uri=f"sqlite:///{self.folder}/catalog.db")
        try:
            table = catalog.load_table(NAME)
            reference = table.metadata.refs[version.replace(":", "-")]
            return in_order(table.scan(snapshot_id=reference.snapshot_id).to_arrow().to_pylist())
        finally:
            catalog.close()


def in_order(rows: Rows) -> Rows:
    """Rows by their id, each with all columns that any has, and moments without how a library writes their zone."""
    names = {name for row in rows for name in row}
    plain = [{name: row.get(name) for name in names} for row in rows]
    for row in plain:
        for name, value in row.items():
            row[name] = value.astimezone(UTC) if isinstance(value, datetime) else value
    return sorted(plain, key=lambda row: int(row["id"]))


@pytest.fixture(params=FORMS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A dataset followed by an Iceberg table, and by a Delta table."""
    yield World(tmp_path, request.param, LocalStore(tmp_path / "lake"))
