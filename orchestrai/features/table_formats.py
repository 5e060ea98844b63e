"""Feature tables and restored datasets for other tools: Delta tables, and Delta or Iceberg registered over the same files."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrai.core.canonical import JsonValue
from orchestrai.errors import FeatureViewError, MissingExtra
from orchestrai.features.views.view import FeatureView
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import FileEntry
from orchestrai.ledger.report import StageReport

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

PARTITION = "orchestrai_partition"
VERSION = "orchestrai.version"
ROOTS = "orchestrai.roots"


def require_delta() -> None:
    """Raises MissingExtra without the `delta` extra."""
    if find_spec("deltalake") is None:
        raise MissingExtra("expected the package deltalake, found none: install orchestrai[delta]")


def write_delta(
    ledger: Ledger, view: FeatureView, *, asset: str, table: str, storage_options: dict[str, str] | None = None
) -> int:
    """Bring a Delta table to a feature table's current version, replacing changed partitions only; returns its version.

    Idempotent: each Delta commit names the feature version and partition roots it holds. Time travel is Delta's own.
    Raises MissingExtra without the `delta` extra.
    """
    require_delta()
    from deltalake import CommitProperties, DeltaTable, write_deltalake

    dataset = ledger.open(asset)
    held: dict[str, str] = {}
    exists = DeltaTable.is_deltatable(table, storage_options)
    if exists:
        history = DeltaTable(table, storage_options=storage_options).history(1)
        held = json.loads(history[0].get(ROOTS, "{}"))
    schema = view.schema.append(pa.field(PARTITION, pa.string()))
    for key, root in sorted(dataset.roots().items()):
        if held.get(key) == root:
            continue
        held = {**held, key: root}
        with dataset.fetched([key]) as files:
            tables = [pq.read_table(file.path).cast(view.schema) for file in files[key]]
        data = pa.concat_tables(tables)
        data = data.append_column(PARTITION, pa.array([key] * data.num_rows, pa.string())).cast(schema)
        properties = CommitProperties(custom_metadata={VERSION: dataset.version, ROOTS: json.dumps(held, sort_keys=True)})
        options: dict[str, Any] = {"predicate": f"{PARTITION} = '{key}'"} if exists else {"partition_by": [PARTITION]}
        write_deltalake(
            table, data, mode="overwrite", storage_options=storage_options, commit_properties=properties, **options
        )
        exists = True
    return int(DeltaTable(table, storage_options=storage_options).version())


def register_iceberg(
    ledger: Ledger, *, asset: str, catalog: "Catalog", identifier: str, location: Callable[[FileEntry], str] | None = None
) -> str:
    """Register a dataset's current files as an Iceberg table, without a copy; returns the snapshot's id.

    Other engines read the very bytes that were proven; the table is made anew for each version, so that it never mixes two.
    `location` gives a file's URL (default: its local path). Raises FeatureViewError for a store without local files.
    """
    dataset = ledger.open(asset)
    entries = _entries(dataset)
    locate = location or _local(ledger)
    first = locate(entries[0])
    with dataset.fetched([min(dataset.partitions)]) as files:
        schema = pq.read_schema(next(iter(files.values()))[0].path)
    if catalog.table_exists(identifier):
        table = catalog.load_table(identifier)
        if table.properties.get(VERSION) == dataset.version:
            snapshot = table.current_snapshot()
            return str(snapshot.snapshot_id) if snapshot else ""
        catalog.drop_table(identifier)
    catalog.create_namespace_if_not_exists(identifier.rsplit(".", 1)[0])
    table = catalog.create_table(identifier, schema=schema.remove_metadata(), properties={VERSION: dataset.version})
    table.add_files([first, *(locate(entry) for entry in entries[1:])])
    snapshot = table.current_snapshot()
    return str(snapshot.snapshot_id) if snapshot else ""


def register_delta(ledger: Ledger, *, asset: str, table: Path, location: Callable[[FileEntry], str] | None = None) -> int:
    """Register a dataset's current files as a Delta table at `table`, without a copy; returns its version."""
    require_delta()
    from deltalake import DeltaTable, Schema
    from deltalake.transaction import AddAction, CommitProperties, create_table_with_add_actions

    dataset = ledger.open(asset)
    if DeltaTable.is_deltatable(str(table)):
        delta_table = DeltaTable(str(table))
        if delta_table.history(1)[0].get(VERSION) == dataset.version:
            return int(delta_table.version())
    entries = _entries(dataset)
    locate = location or _linked(ledger, table)
    with dataset.fetched([min(dataset.partitions)]) as files:
        schema = pq.read_schema(next(iter(files.values()))[0].path).remove_metadata()
    actions = [
        AddAction(locate(entry), entry.size, {}, 0, True, json.dumps({"numRecords": entry.rows})) for entry in entries
    ]
    create_table_with_add_actions(
        str(table),
        Schema.from_arrow(schema),
        actions,
        mode="overwrite",
        partition_by=[],
        commit_properties=CommitProperties(custom_metadata={VERSION: dataset.version}),
    )
    return int(DeltaTable(str(table)).version())


def _entries(dataset: Dataset) -> Sequence[FileEntry]:
    entries = [entry for key in sorted(dataset.partitions) for entry in dataset.files(key).files if entry.role == "data"]
    if not entries:
        raise FeatureViewError(f"expected files in {dataset.asset}, found none: materialize it first")
    return entries


def _linked(ledger: Ledger, table: Path) -> Callable[[FileEntry], str]:
    """Paths below the table, through a link to the store: delta-rs reads no absolute path."""

    def locate(entry: FileEntry) -> str:
        path = ledger.store_of(entry).local_path(entry.key)
        if path is None or path.parts[-len(Path(entry.key).parts) :] != Path(entry.key).parts:
            raise FeatureViewError(f"expected a local file for {entry.key}, found a remote store: pass location=")
        link = table / entry.store
        table.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(path.resolve().parents[len(Path(entry.key).parts) - 1], target_is_directory=True)
        return f"{entry.store}/{entry.key}"

    return locate


def _local(ledger: Ledger) -> Callable[[FileEntry], str]:
    def locate(entry: FileEntry) -> str:
        path = ledger.store_of(entry).local_path(entry.key)
        if path is None:
            raise FeatureViewError(f"expected a local file for {entry.key}, found a remote store: pass location=")
        return f"file://{path.resolve()}"

    return locate


Format = Literal["delta", "iceberg"]


def delta_place(tables: Path, asset: str) -> Path:
    """The folder of an asset's Delta table."""
    return tables / "delta" / asset


def iceberg_name(asset: str) -> str:
    """The identifier of an asset's table in the catalog at `iceberg.db`."""
    return asset.replace("/", ".")


def shared(ledger: Ledger, report: StageReport, formats: Sequence[Format], tables: Path) -> StageReport:
    """Register what a stage published in each format asked for, and say in its facts where to read it.

    Idempotent; also for a version published before. Raises MissingExtra without the packages of the format.
    """
    if not formats or report.version is None:
        return report
    facts: dict[str, JsonValue] = dict(report.facts)
    if "delta" in formats:
        place = delta_place(tables, report.asset)
        register_delta(ledger, asset=report.asset, table=place)
        facts["delta_table"] = str(place)
    if "iceberg" in formats:
        facts["iceberg_table"] = _iceberg(ledger, report.asset, tables)
    return replace(report, facts=facts)


def _iceberg(ledger: Ledger, asset: str, tables: Path) -> str:
    try:
        from pyiceberg.catalog.sql import SqlCatalog
    except ImportError as exc:
        raise MissingExtra(
            "expected the packages pyiceberg and sqlalchemy, found none: install orchestrai[iceberg]"
        ) from exc
    (tables / "iceberg").mkdir(parents=True, exist_ok=True)
    catalog = SqlCatalog("orchestrai", uri=f"sqlite:///{tables}/iceberg.db", warehouse=(tables / "iceberg").as_uri())
    register_iceberg(ledger, asset=asset, catalog=catalog, identifier=iceberg_name(asset))
    return f"{iceberg_name(asset)} in sqlite:///{tables}/iceberg.db"
