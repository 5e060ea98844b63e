"""Dagster's SQLite event log, made fit for runs over hundreds of partitions.

Dagster opens and closes the database three times for each event it stores: three commits that wait for the disk, and a WAL
checkpoint at each close. For each event of a check it opens one more, to ask whether the table of checks is there. Here connections are
kept open, tables that are there are remembered, and the WAL is synced at checkpoints only. Materializations of single partitions, which
come in bursts at the end of a step, are written together, at the latest before anything else is written or read here. After a crash the
newest events may be missing, never torn; what they tell of is in the ledger, and the next run tells it. Files and tables are
Dagster's own, so its stock storage can open them at any time.
"""

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dagster._core.events.log import EventLogEntry
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log import SqlEventLogStorageTable, SqliteEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster._core.storage.sql import create_engine
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData, serialize_value
from sqlalchemy import Connection, CursorResult, Engine, StaticPool, event

KEPT_ENGINES = 8
# materializations that are written at once
BATCH = 200


class EventLog(SqliteEventLogStorage):
    """SQLite event log that keeps its newest connections open."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._tables: set[str] = set()
        self._waiting: list[EventLogEntry] = []
        self._gathering = threading.Lock()
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> "EventLog":
        """What dagster.yaml asks for."""
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        self.flush()
        with self._open(shard) as connection:
            yield connection

    @contextmanager
    def _open(self, shard: str) -> Iterator[Connection]:
        # the lock, Dagster's own, is what lets threads share a connection
        with self._db_lock, self._engine(shard).begin() as connection:
            yield connection

    def has_table(self, table_name: str) -> bool:
        """Whether there is such a table; asked anew for each event of a check, so what is there is remembered."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    @property
    def supports_partition_subset_in_asset_materialization_planned_events(self) -> bool:
        """A run over a range says once what it plans, not once for each partition; a refused one is planned when it is refused."""
        return True

    def store_event(self, event: EventLogEntry) -> None:
        """Store an event: that of a partition with those that follow it, every other at once."""
        dagster_event = event.dagster_event
        if dagster_event is None or not dagster_event.is_step_materialization or dagster_event.partition is None:
            super().store_event(event)
            return
        with self._gathering:
            self._waiting.append(event)
            full = len(self._waiting) >= BATCH
        if full:
            self.flush()

    def _store_asset_check_evaluation_planned(self, event: EventLogEntry, event_id: int | None) -> None:
        """One row for a check that a run plans; Dagster has one for each partition of the run, also of a check that has none, and they
        stay planned for ever. The evaluation of a check that does have partitions makes its row when it comes."""
        planned = event.dagster_event.asset_check_planned_data if event.dagster_event else None
        assert planned is not None
        with self.index_connection() as connection:
            connection.execute(
                AssetCheckExecutionsTable.insert().values(
                    asset_key=planned.asset_key.to_string(),
                    check_name=planned.check_name,
                    run_id=event.run_id,
                    execution_status=AssetCheckExecutionRecordStatus.PLANNED.value,
                    evaluation_event=serialize_value(event),
                    evaluation_event_timestamp=self._event_insert_timestamp(event),  # type: ignore[no-untyped-call]
                    evaluation_event_storage_id=event_id,
                )
            )

    def flush(self) -> None:
        """Write the materializations that wait, in the order in which they came: one transaction in each of the two databases."""
        with self._gathering:
            events, self._waiting = self._waiting, []
        if not events:
            return
        for run_id in {one.run_id: None for one in events}:
            rows = [self._event_to_row(one) for one in events if one.run_id == run_id]
            with self._open(run_id) as connection:
                connection.execute(SqlEventLogStorageTable.insert(), rows)
        with self._open(INDEX_SHARD_NAME) as connection:
            ids = [_stored(connection.execute(self.prepare_insert_event(one))) for one in events]
            self._store_asset_event_tags(connection, events, ids)
            # of each asset the newest counts
            newest = {
                one.dagster_event.asset_key: (one, number)
                for one, number in zip(events, ids, strict=True)
                if one.dagster_event
            }
            for one, number in newest.values():
                self._store_asset_event(connection, one, number)

    def delete_events(self, run_id: str) -> None:
        """Delete the events of a run, and its file: Dagster leaves an empty one, of a hundred kilobytes, for each run for ever."""
        super().delete_events(run_id)
        with self._db_lock:
            engine = self._engines.pop(run_id, None)
            if engine is not None:
                engine.dispose()
            self._initialized_dbs.discard(run_id)
            file = Path(self.path_for_shard(run_id))
            for ending in ("", "-wal", "-shm"):
                file.with_name(file.name + ending).unlink(missing_ok=True)

    def dispose(self) -> None:
        """Close every kept connection."""
        self.flush()
        while self._engines:
            self._engines.popitem()[1].dispose()
        super().dispose()

    def _engine(self, shard: str) -> Engine:
        if shard in self._engines:
            self._engines.move_to_end(shard)
            return self._engines[shard]
        arguments = {"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False}
        engine = create_engine(self.conn_string_for_shard(shard), poolclass=StaticPool, connect_args=arguments)
        event.listen(engine, "connect", _sync_at_checkpoints)
        if shard not in self._initialized_dbs:
            self._initdb(engine)
            self._initialized_dbs.add(shard)
        self._engines[shard] = engine
        if len(self._engines) > KEPT_ENGINES:
            self._engines.popitem(last=False)[1].dispose()
        return engine


def _stored(result: CursorResult[Any]) -> int:
    """The number that the database gave a row."""
    key = result.inserted_primary_key
    assert key is not None
    return int(key[0])


def _sync_at_checkpoints(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA synchronous = NORMAL")
