"""Dagster's SQLite event log, made fit for runs over hundreds of partitions.

Dagster opens and closes the database three times for each event it stores: three commits that wait for the disk, and a WAL
checkpoint at each close. For each event of a check it opens one more, to ask whether the table of checks is there. Here connections are
kept open, tables and columns that are there are remembered, and the WAL is synced at checkpoints only. What a run plans, and what comes
in bursts at the end of a step (outputs, evaluations, materializations of single partitions), is written together, at the latest before
anything else is written or read here: that a step begins, ends or says something is written at once. After a crash the
newest events may be missing, never torn; what they tell of is in the ledger, and the next run tells it. The database of a new run is made
as that of all runs is, without Dagster's look at each of its migrations. What nobody reads of an event is left out. Files and tables are
Dagster's own, so its stock storage can open them at any time.
"""

import os
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from dagster import AssetKey, DagsterEventType
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS
from dagster._core.events.log import EventLogEntry
from dagster._core.instance.utils import RUNLESS_RUN_ID
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log import SqlEventLogStorageTable, SqliteEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster._core.storage.sql import create_engine
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData, serialize_value
from sqlalchemy import Connection, CursorResult, Engine, StaticPool, event
from sqlalchemy.exc import OperationalError

from orchestrai.defs.platform.sqlite_storage import tables_alone

KEPT_ENGINES = 8
# events that are written at once
BATCH = 200
_SHARED = ASSET_EVENTS | ASSET_CHECK_EVENTS
_BURSTS = {
    one.value
    for one in (DagsterEventType.STEP_OUTPUT, DagsterEventType.ASSET_CHECK_EVALUATION, DagsterEventType.ASSET_OBSERVATION)
}
_LEAN = {one.value for one in _SHARED}
# tables before the indexes over them; what SQLite makes itself has no text
_SCHEMA = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY type = 'index', rowid"


class EventLog(SqliteEventLogStorage):
    """SQLite event log that keeps its newest connections open."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._tables: set[str] = set()
        self._columns: set[str] = set()
        self._held: tuple[int, Connection] | None = None
        self._waiting: list[EventLogEntry] = []
        # what the databases of runs have, and that of all runs has not yet
        self._unshared: list[EventLogEntry] = []
        self._gathering = threading.Lock()
        self._together = 0
        self._making = True
        with tables_alone(base_dir):
            super().__init__(base_dir, inst_data)
        self._making = False

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

    def has_asset_key_col(self, column_name: str) -> bool:
        """Whether the table of assets has a column; asked for each event and record of one, so what is there is remembered."""
        if column_name not in self._columns and super().has_asset_key_col(column_name):
            self._columns.add(column_name)
        return column_name in self._columns

    def _has_asset_key_col_on_connection(self, conn: Connection, column_name: str) -> bool:
        if column_name not in self._columns and super()._has_asset_key_col_on_connection(conn, column_name):
            self._columns.add(column_name)
        return column_name in self._columns

    def store_event(self, event: EventLogEntry) -> None:
        """Store an event: one of a burst with those that follow it, every other at once."""
        if not _comes_in_bursts(event, runless=self._together > 0):
            super().store_event(event)
            return
        with self._gathering:
            self._waiting.append(event)
            full = len(self._waiting) >= BATCH
        if full:
            self.flush()

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store what a run plans, or another batch of Dagster's, together and at once."""
        if any(one.dagster_event_type not in _SHARED for one in events):
            super().store_event_batch(events)
            return
        self.flush()
        # what fails here waits nowhere: Dagster stores the events of a batch one by one then
        self._write(events, [], set())

    def _event_to_row(self, event: EventLogEntry) -> dict[str, Any]:
        return super()._event_to_row(lean(event))

    def index_connection(self) -> Any:
        """The connection to what all runs share: that of a burst while it is written."""
        held = self._held
        return nullcontext(held[1]) if held is not None and held[0] == threading.get_ident() else super().index_connection()

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
                    evaluation_event=serialize_value(lean(event)),
                    evaluation_event_timestamp=self._event_insert_timestamp(event),  # type: ignore[no-untyped-call]
                    evaluation_event_storage_id=event_id,
                )
            )

    @contextmanager
    def together(self) -> Iterator[None]:
        """Materializations that are told without a run meanwhile are written together, at the end at the latest."""
        self._together += 1
        try:
            yield
        finally:
            self._together -= 1
            self.flush()

    def flush(self) -> None:
        """Write what waits, in the order in which it came: one transaction in each of the two databases.

        What a busy database or a full disk did not take waits on, and so does what an interrupt met: whoever made this call may be a
        message or a look, whose failure stops nothing.
        """
        with self._gathering:
            events, self._waiting = self._waiting, []
            unshared, self._unshared = self._unshared, []
        done: set[str] = set()
        try:
            self._write(events, unshared, done)
        except BaseException as exc:
            # what no database will ever take must not hold up what follows
            if not isinstance(exc, Exception) or isinstance(exc, OperationalError | sqlite3.OperationalError):
                begun = [one for one in events if one.run_id in done and one.dagster_event_type in _SHARED]
                with self._gathering:
                    self._waiting = [*(one for one in events if one.run_id not in done), *self._waiting]
                    self._unshared = [*unshared, *begun, *self._unshared]
            raise

    def _write(self, events: Sequence[EventLogEntry], unshared: Sequence[EventLogEntry], done: set[str]) -> None:
        """Write events to the databases of their runs, each of which is then `done`, and what is shared, `unshared` too, to that of all."""
        # the row of an event is the same in both databases, and is a third of what storing it costs
        rows = [(one, self._event_to_row(one)) for one in (*unshared, *events)]
        for run_id in {one.run_id: None for one in events}:
            own = [row for one, row in rows[len(unshared) :] if one.run_id == run_id]
            with self._open(run_id) as connection:
                connection.execute(SqlEventLogStorageTable.insert(), own)
            done.add(run_id)
        # all that is `unshared` is of these types, too
        shared = [(one, row) for one, row in rows if one.dagster_event_type in _SHARED]
        if shared:
            with self._open(INDEX_SHARD_NAME) as connection, self._holding(connection):
                self._store_shared(connection, [one for one, _ in shared], [row for _, row in shared])

    @contextmanager
    def _holding(self, connection: Connection) -> Iterator[None]:
        self._held = (threading.get_ident(), connection)
        try:
            yield
        finally:
            self._held = None

    def _store_shared(self, connection: Connection, events: Sequence[EventLogEntry], rows: list[dict[str, Any]]) -> None:
        """What runs share of some events: of assets and of checks."""
        ids = [_stored(connection.execute(SqlEventLogStorageTable.insert(), row)) for row in rows]
        numbered = list(zip(events, ids, strict=True))
        of_assets = [(one, number) for one, number in numbered if one.dagster_event_type in ASSET_EVENTS]
        self._store_asset_event_tags(connection, [one for one, _ in of_assets], [number for _, number in of_assets])
        # of each asset and type the newest counts
        newest = {(one.dagster_event_type, _asset(one)): (one, number) for one, number in of_assets}
        for one, number in newest.values():
            self._store_asset_event(connection, lean(one), number)
        for one, number in numbered:
            if one.dagster_event_type in ASSET_CHECK_EVENTS:
                self.store_asset_check_event(lean(one), number)

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
            if shard == INDEX_SHARD_NAME or not self._made_like_index(shard):
                # the lock is held already while this storage itself is made
                with nullcontext() if self._making else tables_alone(self._base_dir):
                    self._initdb(engine)
            self._initialized_dbs.add(shard)
        self._engines[shard] = engine
        if len(self._engines) > KEPT_ENGINES:
            self._engines.popitem(last=False)[1].dispose()
        return engine

    def _made_like_index(self, shard: str) -> bool:
        """Make the database of a new run with the tables and the revision that the shared one has; False where that cannot be.

        Dagster reads each of its 150 migrations to say which is the last, once for each run.
        """
        if os.path.exists(self.path_for_shard(shard)):
            return False
        with self._engine(INDEX_SHARD_NAME).connect() as index:
            statements = [row[0] for row in index.exec_driver_sql(_SCHEMA)]
            revisions = [row[0] for row in index.exec_driver_sql("SELECT version_num FROM alembic_version")]
        if len(revisions) != 1:
            return False
        made = sqlite3.connect(self.path_for_shard(shard), timeout=SQLITE_BUSY_TIMEOUT_SECONDS, isolation_level=None)
        try:
            made.execute("PRAGMA journal_mode=WAL")
            made.execute("BEGIN IMMEDIATE")
            if made.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                for statement in statements:
                    made.execute(statement)
                made.execute("INSERT INTO alembic_version VALUES (?)", revisions)
            made.execute("COMMIT")
        except sqlite3.Error:
            return False  # another process makes it: Dagster waits for that
        finally:
            made.close()
        return True


def _comes_in_bursts(event: EventLogEntry, *, runless: bool) -> bool:
    """Whether more follows at once, and after it the end of a step; of what is told without a run, whoever tells it says so."""
    told = event.dagster_event
    if told is None:
        return False
    if not event.run_id or event.run_id == RUNLESS_RUN_ID:
        return runless and told.is_step_materialization and told.partition is not None
    return told.event_type_value in _BURSTS or (told.is_step_materialization and told.partition is not None)


def _asset(event: EventLogEntry) -> AssetKey | None:
    return event.dagster_event.asset_key if event.dagster_event is not None else None


def lean(event: EventLogEntry) -> EventLogEntry:
    """An event without what is said elsewhere: the tags of its log line, and of a check, which has no partitions, those of the run."""
    told = event.dagster_event
    if told is None or told.event_type_value not in _LEAN:
        return event
    data = told.event_specific_data
    if isinstance(data, AssetCheckEvaluationPlanned) and data.partitions_subset is not None:
        data = AssetCheckEvaluationPlanned(asset_key=data.asset_key, check_name=data.check_name)
    # the step is named by its key
    return event._replace(
        dagster_event=told._replace(event_specific_data=data, logging_tags={}, step_handle=None, node_handle=None)
    )


def _stored(result: CursorResult[Any]) -> int:
    """The number that the database gave a row."""
    key = result.inserted_primary_key
    assert key is not None
    return int(key[0])


def _sync_at_checkpoints(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA synchronous = NORMAL")
