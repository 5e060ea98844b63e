"""Arrival from a database: rows newer than a watermark, read in one snapshot, published with the position they reach.

A row is known by its primary key and watermark: each change of a row is one raw event. Transactions that commit late, with a
watermark behind what was read, are found by an overlap; what was read before is dropped by key. Deletes leave no trace in a
table, so they are not seen.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrai.contracts.checks import check_partition
from orchestrai.core.canonical import JsonValue
from orchestrai.core.code_identity import Producer
from orchestrai.core.time.calendar import grain_stats
from orchestrai.core.verdict import Audit, Verdict
from orchestrai.errors import TransientStorageError
from orchestrai.ingest.dead_letters import asset_of
from orchestrai.ingest.keys.key_audit import KeyAudit
from orchestrai.ingest.ports import PositionedSource
from orchestrai.ingest.sources.stream_batch import all_or_nothing, append_letters
from orchestrai.ingest.sources.stream_records import write_archive
from orchestrai.ingest.sources.table_reader import Extract, TableReader
from orchestrai.ingest.sources.table_source import Position, SqlSource
from orchestrai.ingest.spec import DatasetTask
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.manifest import arrival_stats
from orchestrai.ledger.receipt import Material
from orchestrai.ledger.report import Meter, StageReport
from orchestrai.ledger.session import Session
from orchestrai.privacy.ingest_guard import Sealing, sealed_stats, sealing_of
from orchestrai.stage.context import RunContext
from orchestrai.stage.contract_record import judged_by

PRODUCER, LETTERS = Producer("raw_events", __name__), Producer("dead_letters", __name__)

STATS = "sql"
# of the receipt of a drop after bytes were lost: read from the beginning, and leave out what is known by its key
REREAD = "reread"


@dataclass(frozen=True)
class _Opened:
    """What a reading goes on from, and is published in."""

    session: Session
    dataset: Dataset | None
    sealing: Sealing | None


def ingest_table(
    context: RunContext, task: DatasetTask, source: SqlSource, *, sleep: Callable[[float], None] = time.sleep
) -> StageReport:
    """Publish the rows that are new since the position the published data has reached; none changes nothing.

    Exactly once through crashes: rows and position are one commit. All or nothing, as in stream_batch.py. Memory is bounded by
    `limit_rows`; `facts["more"]` tells that a further call has further rows. Raises StorageError, ConcurrentCommit.
    """
    sealing = sealing_of(task.contract, context.keys_for(task.contract))
    reader = TableReader(source, task.contract, task.grain, context.now(), sealing)
    session = context.ledger.session(task.asset, PRODUCER)
    dataset = None if session.fence is None else context.ledger.dataset(session.fence)
    position = published_position(dataset, source.table)
    with Meter() as meter, tempfile.TemporaryDirectory(prefix="orchestrai-sql-") as folder:
        feed: PositionedSource[Extract] = TableFeed(reader, Path(folder), dataset, sleep)
        extract = feed.next_batch(None if position is None else position.as_json())
        return _publish(context, task, source, _Opened(session, dataset, sealing), extract, meter)


@dataclass
class TableFeed:
    """A table read on from a position, slice by slice; what `dataset` holds is known by its key and not given again."""

    reader: TableReader
    folder: Path
    dataset: Dataset | None = None
    sleep: Callable[[float], None] = time.sleep
    _slices: int = 0

    @property
    def uri(self) -> str:
        """Where the table is, without any secret."""
        return self.reader.source.uri

    def next_batch(self, after: JsonValue) -> Extract:
        """The first slice behind a position with something new in it, or the last one when there is none."""
        position = Position.of(after)
        looked_back = position is None or position.key is None
        while True:
            extract = self._retried(position)
            if extract.touched:
                return extract
            if extract.more:
                # a whole slice of rows read before: go on behind it
                position = extract.position
            elif position is not None and not looked_back:
                # the slice before ended exactly at the table's end: from now on look for late commits again
                position, looked_back = Position(position.watermark), True
            else:
                return extract

    def _retried(self, position: Position | None) -> Extract:
        for attempt in range(self.reader.source.retries):
            try:
                return self._extract(position)
            except TransientStorageError:
                self.sleep(2.0**attempt)
        return self._extract(position)

    def _extract(self, position: Position | None) -> Extract:
        self._slices += 1
        return self.reader.extract(self.folder / str(self._slices), position, self.dataset)


def published_position(dataset: Dataset | None, table: str) -> Position | None:
    """How far `table` was read into a dataset; None before the first rows, and after a loss that asks to read all again.

    A rollback takes it back with the rows.
    """
    if dataset is None:
        return None
    for head in dataset.ledger.history(dataset.asset):
        notes = [
            note
            for key in head.changed
            if head.seq <= dataset.head.seq and key in dataset.partitions
            for note in [dataset.files(key).stats.get(STATS, {}).get(table)]
            if note is not None
        ]
        if notes:
            note = max(notes, key=lambda n: (n["watermark"], n["key"] or []))
            return Position(note["watermark"], None if note["key"] is None else tuple(note["key"]))
        if head.seq <= dataset.head.seq and dataset.ledger.receipt(head.receipt).parameters.get(REREAD):
            return None
    return None


def _publish(
    context: RunContext, task: DatasetTask, source: SqlSource, opened: _Opened, extract: Extract, meter: Meter
) -> StageReport:
    session, dataset, sealing = opened.session, opened.dataset, opened.sealing
    contract, grain, now = task.contract, task.grain, context.now()
    if extract.position is None or not extract.touched:
        return StageReport(session.asset, session.fence.version if session.fence else None, (), meter.cost(), extract.facts)
    audit, keys = Audit(), KeyAudit.of(context, task, dataset)
    materials: list[Material] = []
    uri, seq = source.uri, session.fence.seq if session.fence else 0
    name = f"part-{seq:012d}.parquet"
    mark = str(extract.facts["snapshot"])
    for key in extract.touched:
        before = dataset.files(key) if dataset and key in dataset.partitions else None
        stats = dict(before.stats) if before else {}
        if dataset and before:
            materials += [m for m in dataset.receipt(key).materials if m.partition == key]
            for entry in before.files:
                session.add_entry(key, entry)
        stats[STATS] = {**stats.get(STATS, {}), source.table: extract.position.as_json()}
        stats |= grain_stats(grain)
        stats |= sealed_stats(sealing, before.stats if before else None, key)
        session.add_stats(key, **stats)
        if key in extract.rows:
            writer = extract.rows[key]
            entry = session.add_file(key, name, writer.path, rows=writer.rows)
            session.add_stats(key, **arrival_stats(stats, name, [(writer.rows, now.isoformat())]))
            materials.append(
                Material(f"{uri}#{mark}", entry.sha256, entry.size, mark, now.isoformat(), key, now.isoformat())
            )
            judged = check_partition(contract, [writer.path], partition=key, grain=grain, history={}, now=now, whole=False)
            audit.add(key, *judged)
        if key in extract.refused and sealing is None:
            path = extract.folder / f"{len(materials):06d}.frames"
            write_archive(path, extract.refused[key])
            entry = session.add_file(key, f"landed/refused-{seq:012d}.frames", path, role="landed")
            materials.append(
                Material(f"{uri}#{mark}", entry.sha256, entry.size, mark, now.isoformat(), key, now.isoformat())
            )
        added, root = [extract.rows[key].path] if key in extract.rows else [], session.staged(key).root
        audit.combine(key, *keys.judge(key, root, added), *_warnings(extract))
        keys.accept(key, root, added)
    all_or_nothing(audit)
    if extract.letters and not audit.closed:
        append_letters(context.ledger, asset_of(session.asset), extract.letters, LETTERS)
    return session.commit(
        audit,
        materials=materials,
        parameters={
            "format": "sql",
            "contract": contract.name,
            "contract_version": contract.version,
            **judged_by(context.ledger, contract),
            "table": source.table,
            "position": extract.position.as_json(),
        },
        cost=meter.cost(),
        facts=extract.facts,
        overrides=context.overrides,
    )


def _warnings(extract: Extract) -> list[Verdict]:
    nulls, age = extract.facts["null_watermarks"], extract.facts["oldest_transaction_seconds"]
    verdicts = []
    if "counted" in extract.facts:
        counted, read = extract.facts["counted"], extract.read
        found = f"{read} rows read, {counted} counted by the source in the same snapshot"
        message = found if counted == read else f"expected as many rows as were read, found {found}: look at what is between"
        verdicts.append(Verdict("reconciled", counted == read, message))
    if isinstance(nulls, int) and nulls:
        message = f"expected a watermark in every row, found none in {nulls}: these rows are never read; fill the column"
        verdicts.append(Verdict("watermark", False, message, "warn", {"null_watermarks": nulls}))
    overlap = extract.facts["overlap_seconds"]
    if isinstance(age, float) and isinstance(overlap, float) and age > overlap:
        message = f"expected writing transactions shorter than the overlap of {overlap:.0f} s, found one {age:.0f} s old"
        verdicts.append(Verdict("watermark", False, f"{message}: lengthen the overlap", "warn"))
    return verdicts
