"""Sources with a position of their own (streams, tables): read on from what is published, whatever partitions that feeds.

One reading feeds the partitions its records name by their event time, not those a run asks for. So a run over some partitions
reads everything that is there, reports what it asked for beside what was fed, and `behind` names what a later run has to carry on.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrai.contracts.contract import Contract
from orchestrai.core.canonical import JsonValue
from orchestrai.core.time.calendar import Grain
from orchestrai.core.verdict import Verdict
from orchestrai.errors import ConfigError
from orchestrai.ingest.spec import DatasetTask, SourceSpec
from orchestrai.ledger.report import Cost, Meter, PartitionOutcome, StageReport
from orchestrai.stage.context import RunContext

if TYPE_CHECKING:
    from orchestrai.ingest.sources.kafka import KafkaSettings, KafkaSource
    from orchestrai.ingest.sources.stream_log import StreamLog
    from orchestrai.ledger.ledger import Ledger

PEEK_RECORDS = 10_000
_COUNTED = ("records", "rows", "dead_letters", "repeated", "erased")


def check_source(source: SourceSpec, contract: Contract, grain: Grain) -> None:
    """Raise ConfigError for a declaration of a source that could never be read; asks nobody."""
    from orchestrai.ingest.sources.kafka import stream_address
    from orchestrai.ingest.sources.landing import check_landing
    from orchestrai.ingest.sources.table_reader import TableReader
    from orchestrai.ingest.sources.table_source import table_of
    from orchestrai.privacy.ingest_guard import refuse_sealed_keys

    of_objects = [column.name for column in contract.columns if column.derive and column.derive.of_object]
    if of_objects and source.positioned:
        raise ConfigError(
            f"expected columns made of what a stream or a table sends, found {', '.join(of_objects)} of {contract.name} made of the "
            "name of an object or the number of a row in it"
        )
    if source.kind == "stream":
        refuse_sealed_keys(contract, contract.primary_key, "a stream")
        stream_address(source.url)
        _settings(source)
    elif source.kind == "sql":
        TableReader(table_of(source, contract.event_time, Path()), contract, grain)
    else:
        check_landing(source)


def _settings(source: SourceSpec) -> "KafkaSettings":
    from orchestrai.ingest.sources.kafka import KafkaSettings

    options = source.stream
    more = dict(options.options)
    return KafkaSettings(
        "",
        options.security,
        options.mechanism,
        options.username,
        options.password,
        more,
        ca=options.ca,
        certificate=options.certificate,
        key=options.key,
    )


@contextmanager
def opened_stream(source: SourceSpec, home: Path) -> "Iterator[KafkaSource | StreamLog]":
    """The stream of a declaration; the embedded log lies in `<home>/streams`. Raises ConfigError, MissingExtra."""
    from orchestrai.ingest.sources.kafka import open_stream

    with open_stream(source.url, home / "streams", _settings(source)) as stream:
        yield stream


@dataclass(frozen=True)
class Pending:
    """What a stream holds that no published version has: the partitions its next records go to, where it ends, the oldest one's time."""

    partitions: tuple[str, ...]
    lag: int
    ends: tuple[tuple[int, int], ...]
    oldest: datetime


def pending(
    ledger: "Ledger", *, asset: str, source: SourceSpec, home: Path, contract: Contract, grain: Grain
) -> Pending | None:
    """Look at a stream without taking anything; None when all of it is published. Raises as `StreamFeed`."""
    from orchestrai.ingest.sources.stream import StreamFeed, as_position, published_offsets
    from orchestrai.ingest.sources.stream_rows import sliced

    with opened_stream(source, home) as stream:
        known = published_offsets(ledger, asset, stream.topic)
        bounds = stream.bounds()
        few = min(PEEK_RECORDS, source.stream.batch_records)
        feed = StreamFeed(stream, source.stream.model_copy(update={"batch_records": few}))
        batch = feed.next_batch(as_position(known))
    if batch.empty:
        return None
    keys = sliced(batch, contract, grain, lambda _: set(), source.clock)
    ends = tuple((number, high) for number, (_, high) in sorted(bounds.items()))
    oldest = min(record.time for record in batch.records)
    return Pending(tuple(keys), batch.lag + len(batch.records), ends, oldest)


def behind(ledger: "Ledger", raw_events: str, restored: str) -> dict[str, str]:
    """The partitions whose raw events are newer than what was restored of them, with the root they have now."""
    raw, done = ledger.find(raw_events), ledger.find(restored)
    there = {key: entry.root for key, entry in done.partitions.items()} if done else {}
    return {key: entry.root for key, entry in sorted(raw.partitions.items()) if there.get(key) != entry.root} if raw else {}


def follow(context: RunContext, task: DatasetTask) -> StageReport:
    """Publish everything that is new in a stream or a table, batch by batch, each in one commit with the position it reaches.

    Ends at what was there when it began. A refused batch ends it too, and stays in the source. The report has an outcome for each
    of the task's partitions that is due and for each that was fed. Raises StorageError, IntegrityError, ConcurrentCommit, ConfigError.
    """
    from orchestrai.ingest.originals.published_originals import require_same_cut

    require_same_cut(context.ledger.find(task.asset), task.grain)
    context.begin(f"what {task.asset} is read on from")
    with Meter() as meter:
        reports = list(_batches(context, task))
        cost = meter.cost()
    return _summary(context, task, reports, cost)


def _batches(context: RunContext, task: DatasetTask) -> Iterator[StageReport]:
    from orchestrai.ingest.sources.stream_batch import ingest_stream
    from orchestrai.ingest.sources.table_batch import ingest_table
    from orchestrai.ingest.sources.table_source import table_of

    if task.source.kind == "sql":
        table, more = table_of(task.source, task.contract.event_time, context.home), True
        while more:
            report = ingest_table(context, task, table)
            yield report
            more = bool(report.facts["more"]) and not report.refused
        return
    done, goal = 0, 1
    with opened_stream(task.source, context.home) as stream:
        while done < goal:
            report = ingest_stream(context, task, stream)
            yield report
            records, lag = _whole(report.facts["records"]), _whole(report.facts["lag"])
            if report.refused or not records:
                return
            # a producer that never pauses must not keep this from ending
            goal = max(goal, records + lag) if not done else goal
            done += records
            context.told(task.asset, min(done, goal), goal)


def _whole(value: JsonValue) -> int:
    return value if isinstance(value, int) else 0


def _summary(context: RunContext, task: DatasetTask, reports: Sequence[StageReport], cost: Cost) -> StageReport:
    refused = {outcome.partition: outcome for report in reports for outcome in report.refused}
    fed = {outcome.partition for report in reports for outcome in report.outcomes}
    dataset = context.ledger.find(task.asset)
    outcomes = []
    for key in sorted(fed | set(task.partitions)):
        entry = dataset.partitions.get(key) if dataset else None
        if key in refused:
            outcomes.append(refused[key])
        elif dataset and entry:
            verdicts = tuple(dataset.receipt(key).verdicts.get(key, ()))
            outcomes.append(PartitionOutcome(key, True, entry.root, entry.rows, entry.size, verdicts))
        elif task.contract.closed.due(key, task.grain):
            message = f"expected rows for {key}, found none in the source so far: have the producer send them"
            outcomes.append(PartitionOutcome(key, False, verdicts=(Verdict("row_volume", False, message),)))
    facts: dict[str, JsonValue] = {name: sum(_whole(r.facts.get(name)) for r in reports) for name in _COUNTED}
    last = reports[-1].facts if reports else {}
    facts |= {name: value for name, value in last.items() if name not in _COUNTED and name != "more"}
    facts["batches"] = sum(1 for report in reports if report.outcomes)
    return StageReport(task.asset, dataset.version if dataset else None, tuple(outcomes), cost, facts)
