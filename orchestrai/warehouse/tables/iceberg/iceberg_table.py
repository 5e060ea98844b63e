"""A dataset's versions as snapshots of an Iceberg table: the ledger's files by reference, one snapshot and one tag a version."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from orchestrai.errors import ConcurrentCommit, ConfigError
from orchestrai.storage.base import Store
from orchestrai.warehouse.tables.columns import columns_of, footers, require_readable
from orchestrai.warehouse.tables.iceberg.iceberg_catalog import IcebergPlace, open_catalog, settled, translated
from orchestrai.warehouse.tables.location import reader_url
from orchestrai.warehouse.tables.shared_table import Gone, Snapshot
from orchestrai.warehouse.tables.table_version import Change, TableVersion, data_folder

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table, Transaction
    from pyiceberg.table.snapshots import Snapshot as IcebergSnapshot

OWNER = "orchestrai.asset"
# the files are the ledger's: nobody's cleaning may delete them, and two writers are told apart here
PROPERTIES = {
    "gc.enabled": "false",
    "commit.retry.num-retries": "0",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}


class IcebergTable:
    """See SharedTable. `lake` holds the files of `asset`."""

    form = "iceberg"

    def __init__(self, place: IcebergPlace, asset: str, lake: Store, declared: "pa.Schema | None") -> None:
        self._place, self._asset, self._lake, self._declared = place, asset, lake, declared
        self._table: Table | None = None

    @cached_property
    def _catalog(self) -> Any:
        return open_catalog(self._place)

    @property
    def shown(self) -> str:
        """The table and its catalog, for people."""
        return self._place.identifier

    def close(self) -> None:
        """Let the catalog's connections go."""
        if "_catalog" in self.__dict__:
            self._catalog.close()

    def open(self) -> tuple[Snapshot, ...]:
        """Its snapshots that are versions of the asset, oldest first, the current one last."""
        from pyiceberg.exceptions import NoSuchTableError

        with translated(self._place):
            try:
                self._table = self._catalog.load_table(self._place.identifier)
            except NoSuchTableError:
                self._table = None
                return ()
        if self._table.properties.get(OWNER) != self._asset:
            owner = self._table.properties.get(OWNER) or "somebody else"
            raise ConfigError(
                f"expected the table {self.shown} to be of {self._asset}, found it of {owner}: declare another name"
            )
        metadata = self._table.metadata
        current = metadata.current_snapshot_id
        snapshots = sorted(metadata.snapshots, key=lambda one: (one.snapshot_id == current, one.sequence_number or 0))
        return tuple(Snapshot(one.snapshot_id, TableVersion.read(_properties(one))) for one in snapshots)

    def history(self) -> tuple[Snapshot, ...]:
        """All of them, as `open`: the metadata names each."""
        return self.open()

    def commit(self, change: Change) -> int:
        """Make a version the current snapshot, with its tag; the rows that the table then has. Raises ConcurrentCommit, ConfigError."""
        from pyiceberg.io.pyarrow import schema_to_pyarrow
        from pyiceberg.table.update.snapshot import ManageSnapshots

        read = footers(self._lake, (entry for entries in change.files.values() for entry in entries))
        with translated(self._place):
            if self._table is None:
                self._create(columns_of(self._declared, read))
            assert self._table is not None
            transaction = self._table.transaction()
            with transaction.update_schema() as update:
                update.union_by_name(columns_of(self._declared, read))
            if transaction.table_metadata.name_mapping() is None:
                # the files know names alone; a run that died after it made the table left it without
                mapping = transaction.table_metadata.schema().name_mapping.model_dump_json()
                transaction.set_properties({"schema.name-mapping.default": mapping})
            columns = schema_to_pyarrow(transaction.table_metadata.schema(), include_field_ids=False)
            require_readable(self.shown, columns, read, widens=True)
            removed, there = self._existing(change)
            snapshot = self._snapshot(transaction, change, bool(removed))
            for file in removed:
                snapshot.delete_data_file(file)
            url = reader_url(self._lake)
            for entries in change.files.values():
                for entry in entries:
                    location = f"{url}/{entry.key}"
                    # of a file without rows nothing is known, and nothing needs to be
                    if location not in there and read[entry.key].num_rows:
                        snapshot.append_data_file(_data_file(transaction, location, entry.size, read[entry.key]))
            snapshot.commit()
            ManageSnapshots(transaction).create_tag(snapshot.snapshot_id, change.version.tag).commit()
            self._table = transaction.commit_transaction()
            made = self._table.metadata.snapshot_by_id(snapshot.snapshot_id)
            return int(str(_properties(made).get("total-records", 0)))

    def expire(self, gone: Gone) -> int:
        """Take snapshots and what names them out of the table; how many went. Raises ConcurrentCommit.

        The files of the data stay: they are the ledger's. Lists that only these snapshots have are deleted.
        """
        from pyiceberg.table.update.snapshot import ExpireSnapshots, ManageSnapshots

        assert self._table is not None
        ids = {*gone.recalled, *gone.unkept}
        with translated(self._place):
            metadata = self._table.metadata
            lists = self._lists(ids)
            stays = self._lists({one.snapshot_id for one in metadata.snapshots} - ids)
            transaction = self._table.transaction()
            for name, reference in metadata.refs.items():
                if reference.snapshot_id in ids and name != "main":
                    ManageSnapshots(transaction)._remove_ref_snapshot(name).commit()
            ExpireSnapshots(transaction).by_ids(sorted(ids)).commit()
            self._table = transaction.commit_transaction()
            for path in sorted(lists - stays):
                self._table.io.delete(path)
        return len(ids)

    def _create(self, columns: "pa.Schema") -> None:
        from pyiceberg.exceptions import TableAlreadyExistsError

        place, catalog = self._place, self._catalog
        settled(lambda: catalog.create_namespace_if_not_exists(place.identifier.rsplit(".", 1)[0]))
        properties = {**PROPERTIES, OWNER: self._asset}
        location = f"{reader_url(place.store)}/{place.folder}"
        try:
            self._table = catalog.create_table(place.identifier, schema=columns, location=location, properties=properties)
        except TableAlreadyExistsError as exc:
            raise ConcurrentCommit(f"expected to create {self.shown}, found that another run did: run it again") from exc

    def _snapshot(self, transaction: "Transaction", change: Change, overwrites: bool) -> Any:
        update = transaction.update_snapshot(snapshot_properties=change.version.properties)
        return update.overwrite() if overwrites else update.merge_append()

    def _existing(self, change: Change) -> "tuple[list[DataFile], frozenset[str]]":
        """The files that the table holds of what changes: those that leave it, and the locations of those that stay."""
        if change.touched is not None and not change.touched:
            return [], frozenset()
        url = reader_url(self._lake)
        wanted = {f"{url}/{entry.key}" for entries in change.files.values() for entry in entries}
        folders = change.folders
        files = [file for file in self._files() if folders is None or self._folder(file.file_path) in folders]
        stays = frozenset(file.file_path for file in files) & wanted
        return [file for file in files if file.file_path not in stays], stays

    def _folder(self, location: str) -> str:
        folder = f"{reader_url(self._lake)}/{data_folder(self._asset)}"
        return location[len(folder) :].split("/", 1)[0] if location.startswith(folder) else ""

    def _files(self) -> "Iterator[DataFile]":
        assert self._table is not None
        snapshot, io = self._table.current_snapshot(), self._table.io
        for manifest in snapshot.manifests(io) if snapshot else ():
            for entry in manifest.fetch_manifest_entry(io, discard_deleted=True):
                yield entry.data_file

    def _lists(self, ids: set[int]) -> set[str]:
        """The objects that say what some snapshots hold."""
        assert self._table is not None
        found: set[str] = set()
        for one in self._table.metadata.snapshots:
            if one.snapshot_id in ids:
                found |= {one.manifest_list, *(manifest.manifest_path for manifest in one.manifests(self._table.io))}
        return found


def _properties(snapshot: "IcebergSnapshot | None") -> Mapping[str, object]:
    summary = snapshot.summary if snapshot is not None else None
    return dict(summary.additional_properties) if summary is not None else {}


def _data_file(transaction: "Transaction", location: str, size: int, footer: Any) -> "DataFile":
    """A file as a manifest names it, with what its footer says of its columns."""
    from pyiceberg.io.pyarrow import (
        compute_statistics_plan,
        data_file_statistics_from_parquet_metadata,
        parquet_path_to_id_mapping,
    )
    from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
    from pyiceberg.typedef import Record

    metadata = transaction.table_metadata
    schema = metadata.schema()
    statistics = data_file_statistics_from_parquet_metadata(
        parquet_metadata=footer,
        stats_columns=compute_statistics_plan(schema, metadata.properties),
        parquet_column_mapping=parquet_path_to_id_mapping(schema),
    )
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=location,
        file_format=FileFormat.PARQUET,
        partition=Record(),
        file_size_in_bytes=size,
        sort_order_id=None,
        spec_id=metadata.default_spec_id,
        equality_ids=None,
        key_metadata=None,
        **statistics.to_serialized_dict(),
    )
