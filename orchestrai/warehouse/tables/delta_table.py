"""A dataset's versions as versions of a Delta table: the ledger's files by reference, in the folder of the lake where they lie."""

import json
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from orchestrai.core.identity import Clock
from orchestrai.errors import ConcurrentCommit, ConfigError
from orchestrai.ledger.manifest import FileEntry
from orchestrai.storage.base import Store
from orchestrai.warehouse.tables.columns import columns_of, footers, require_readable
from orchestrai.warehouse.tables.delta_log import EVERY, READER, WRITER, Action, DeltaLog, DeltaState
from orchestrai.warehouse.tables.location import reader_url
from orchestrai.warehouse.tables.shared_table import Gone, Snapshot
from orchestrai.warehouse.tables.table_version import Change, TableVersion, data_folder

if TYPE_CHECKING:
    import pyarrow as pa

# the value of a partition lies in the log alone: the files are as they were written
PARTITION = "orchestrai_partition"
APPLICATION = "orchestrai"
# the files are the ledger's: nobody's cleaning may delete them, and what goes of the log goes by retention here
CONFIGURATION = {
    "delta.deletedFileRetentionDuration": "interval 36500 days",
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.enableExpiredLogCleanup": "false",
}


class DeltaTable:
    """See SharedTable. The table is the folder of the asset's data in the `lake`."""

    form = "delta"

    def __init__(self, asset: str, lake: Store, declared: "pa.Schema | None", clock: Clock) -> None:
        self._asset, self._lake, self._declared, self._clock = asset, lake, declared, clock
        self._log = DeltaLog(lake, data_folder(asset))
        self._newest = -1

    @property
    def shown(self) -> str:
        """Where it lies."""
        return f"{reader_url(self._lake)}/{data_folder(self._asset)}".rstrip("/")

    def close(self) -> None:
        """Nothing is open."""

    def open(self) -> Sequence[Snapshot]:
        """The current version alone: what the commits before it say is read when it is needed."""
        newest = self._log.newest()
        self._newest = -1 if newest is None else newest[0]
        return () if newest is None else (Snapshot(newest[0], TableVersion.read(newest[1])),)

    def history(self) -> Sequence[Snapshot]:
        """Every version that can be read, oldest first."""
        return [Snapshot(number, TableVersion.read(info)) for number, info in self._log.infos()]

    def commit(self, change: Change) -> int:
        """Make a version the newest of the table; the rows that it then has. Raises ConcurrentCommit, ConfigError."""
        read = footers(self._lake, (entry for entries in change.files.values() for entry in entries))
        before = self._log.state() or DeltaState()
        if before.number != self._newest:
            raise ConcurrentCommit(f"expected {self.shown} at version {self._newest}, found {before.number}: run it again")
        columns = self._columns(before, columns_of(self._declared, read))
        require_readable(self.shown, columns, read, widens=False)
        now = int(self._clock().timestamp() * 1000)
        added = {self._path(entry): (key, entry) for key, entries in change.files.items() for entry in entries}
        removed = [path for path, body in before.files.items() if path not in added and self._leaves(change, body)]
        number = before.number + 1
        actions: list[Action] = [
            {"commitInfo": {**_told(change, bool(removed)), "timestamp": now, **change.version.properties}},
            {"txn": {"appId": APPLICATION, "version": change.version.number, "lastUpdated": now}},
        ]
        if number == 0:
            actions.append({"protocol": {"minReaderVersion": READER, "minWriterVersion": WRITER}})
        metadata = self._metadata(before, columns, now)
        if metadata != before.metadata:
            actions.append({"metaData": metadata})
        actions += [_remove(path, before.files[path], now) for path in sorted(removed)]
        published = int(change.version.published.timestamp() * 1000)
        actions += [
            _add(path, key, entry, published) for path, (key, entry) in sorted(added.items()) if path not in before.files
        ]
        self._log.commit(number, actions)
        before.take(number, actions)
        self._newest = number
        if number and number % EVERY == 0:
            self._log.checkpoint(before)
        return sum(int(json.loads(body.get("stats") or "{}").get("numRecords", 0)) for body in before.files.values())

    def expire(self, gone: Gone) -> int:
        """Trim the log: a Delta table lets go of its oldest versions alone, so those before a recalled one go with it."""
        first = max(gone.recalled, default=-1) + 1
        numbers = [snapshot.number for snapshot in self.history()]
        first = next((number for number in numbers if number >= first and number not in gone.unkept), numbers[-1])
        return self._log.trim(first)

    def _leaves(self, change: Change, body: dict[str, Any]) -> bool:
        return change.touched is None or body["partitionValues"].get(PARTITION) in change.touched

    def _path(self, entry: FileEntry) -> str:
        return quote(entry.key[len(data_folder(self._asset)) :], safe="/=:,|+@!$&'()*;")

    def _columns(self, before: DeltaState, columns: "pa.Schema") -> "pa.Schema":
        """The columns of the table with those that came; a table keeps what it has."""
        import pyarrow as pa

        if PARTITION in columns.names:
            raise ConfigError(f"expected {self._asset} without a column {PARTITION}, found one: rename it")
        return pa.schema(list(columns))

    def _metadata(self, before: DeltaState, columns: "pa.Schema", now: int) -> dict[str, Any]:
        known = json.loads(before.metadata["schemaString"])["fields"] if before.metadata else []
        fields = {one["name"]: one for one in known if one["name"] != PARTITION}
        for field in columns:
            kind = delta_type(field.name, field.type)
            there = fields.setdefault(field.name, _field(field.name, kind))
            if there["type"] != kind:
                raise ConfigError(
                    f"expected {field.name} of {self.shown} to stay {there['type']}, found {kind} declared: a Delta table changes no type; "
                    "delete its _delta_log and run it again"
                )
        fields[PARTITION] = _field(PARTITION, "string")
        schema = json.dumps({"type": "struct", "fields": list(fields.values())})
        if before.metadata:
            return {**before.metadata, "schemaString": schema}
        return {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, self.shown)),
            "format": {"provider": "parquet", "options": {}},
            "schemaString": schema,
            "partitionColumns": [PARTITION],
            "configuration": CONFIGURATION,
            "createdTime": now,
        }


def delta_type(name: str, kind: "pa.DataType") -> str:
    """The name of a column's type in a Delta schema; raises ConfigError for one that it has not."""
    import pyarrow as pa
    import pyarrow.types as kinds

    names = {
        pa.int8(): "byte", pa.int16(): "short", pa.int32(): "integer", pa.int64(): "long", pa.float32(): "float",
        pa.float64(): "double", pa.bool_(): "boolean", pa.string(): "string", pa.large_string(): "string", pa.binary(): "binary",
        pa.large_binary(): "binary", pa.date32(): "date",
    }  # fmt: skip
    if kinds.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if kinds.is_timestamp(kind) and kind.tz and kind.unit != "ns":
        return "timestamp"
    if kind not in names:
        raise ConfigError(f"expected columns of plain types, found {name} as {kind}: leave it out, or share it as iceberg")
    return names[kind]


def _field(name: str, kind: str) -> dict[str, Any]:
    return {"name": name, "type": kind, "nullable": True, "metadata": {}}


def _told(change: Change, overwrites: bool) -> dict[str, Any]:
    return {
        "operation": "WRITE",
        "operationParameters": {"mode": "Overwrite" if overwrites else "Append", "partitionBy": json.dumps([PARTITION])},
        "isBlindAppend": False,
        "userMetadata": change.version.version,
    }


def _add(path: str, partition: str, entry: FileEntry, published: int) -> Action:
    return {
        "add": {
            "path": path,
            "partitionValues": {PARTITION: partition},
            "size": entry.size,
            "modificationTime": published,
            "dataChange": True,
            "stats": json.dumps({"numRecords": entry.rows}),
        }
    }


def _remove(path: str, body: dict[str, Any], now: int) -> Action:
    return {
        "remove": {
            "path": path,
            "deletionTimestamp": now,
            "dataChange": True,
            "extendedFileMetadata": True,
            "partitionValues": body["partitionValues"],
            "size": body["size"],
        }
    }
