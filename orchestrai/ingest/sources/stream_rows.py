"""The records of a micro-batch as rows: typed, placed in partitions, and those that cannot be rows as dead letters."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from orchestrai.contracts.contract import Contract
from orchestrai.core.time.calendar import Grain, TimeGrain, partition_of, time_grain
from orchestrai.core.time.local_clock import LocalClock
from orchestrai.errors import UnreadableObject
from orchestrai.ingest.conversions.convert import convert
from orchestrai.ingest.dead_letters import DeadLetter
from orchestrai.ingest.readers.json import gather, parse_document
from orchestrai.ingest.readers.json_records import quick_rows
from orchestrai.ingest.readers.rejects import Mark, Refused, shown
from orchestrai.ingest.readers.row_rules import unfit_rows
from orchestrai.ingest.sources.stream import MicroBatch
from orchestrai.ingest.sources.stream_records import StreamRecord
from orchestrai.ledger.dataset import Dataset
from orchestrai.privacy.ingest_guard import discreet

if TYPE_CHECKING:
    import pyarrow as pa

KnownKeys = Callable[[str], set[tuple[Any, ...]]]


@dataclass
class Slice:
    """The part of a batch that goes into one partition of the dataset."""

    rows: "pa.RecordBatch"
    records: list[StreamRecord] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)


def sliced(
    batch: MicroBatch, contract: Contract, grain: Grain, known: KnownKeys, clock: LocalClock | None = None
) -> dict[str, Slice]:
    """Type a batch and place every record by its event time, one that tells none with the record before it, or by the broker's time.

    `known` has the primary keys a partition holds; a record that repeats one is refused. Times without a zone are read by `clock`.
    """
    import pyarrow as pa

    indices, table, refused, moments = _typed(batch, contract, clock)
    places = _places(batch, time_grain(grain), moments)
    for index in _repeated(contract, table, indices, places, known):
        record = batch.records[index]
        mark = Mark(index, 0, record.offset, shown(record.value or b""))
        refused[index] = Refused(mark, "expected a new primary key, found one that an earlier record has")
    slices: dict[str, Slice] = {}
    for key in sorted(set(places.values())):
        mine = pa.array([places[index] == key and index not in refused for index in indices], pa.bool_())
        chosen = table.filter(mine).combine_chunks()
        slices[key] = Slice(one_batch(chosen, contract))
    for index, record in enumerate(batch.records):
        slices[places[index]].records.append(record)
    for index, refusal in sorted(refused.items()):
        key = places[index]
        slices[key].letters.append(_letter(batch, batch.records[index], refusal, contract, key))
    return slices


def one_batch(table: "pa.Table", contract: Contract) -> "pa.RecordBatch":
    """A table in one piece as a batch."""
    import pyarrow as pa

    return table.to_batches()[0] if table.num_rows else pa.RecordBatch.from_pylist([], contract.arrow_schema())


def known_keys(dataset: Dataset | None, contract: Contract, partition: str) -> set[tuple[Any, ...]]:
    """The primary keys of a published partition; every byte of it is verified."""
    import pyarrow.parquet as pq

    keys: set[tuple[Any, ...]] = set()
    if dataset is None or not contract.primary_key or partition not in dataset.partitions:
        return keys
    names = list(contract.primary_key)
    with dataset.fetched([partition]) as files:
        for file in files[partition]:
            table = pq.read_table(file.path, columns=names)
            keys.update(zip(*(table.column(name).to_pylist() for name in names), strict=True))
    return keys


def _places(batch: MicroBatch, grain: TimeGrain, moments: Mapping[int, date]) -> dict[int, str]:
    """The partition of each record. What a record lies beside depends only on where a batch begins, which is the same after a crash."""
    places: dict[int, str] = {}
    before: dict[int, str] = {}
    # since 1973 every zone is whole minutes from UTC, so a minute lies in one partition
    minutes: dict[date, str] = {}
    for index, record in enumerate(batch.records):
        if index in moments:
            minute = _minute(moments[index])
            if minute not in minutes:
                minutes[minute] = partition_of(moments[index], grain)
            before[record.partition] = minutes[minute]
        places[index] = before.get(record.partition) or partition_of(record.time, grain)
    return places


def _minute(moment: date) -> date:
    return moment.replace(second=0, microsecond=0) if isinstance(moment, datetime) and moment.year >= 1973 else moment


def _typed(
    batch: MicroBatch, contract: Contract, clock: LocalClock | None
) -> tuple[list[int], "pa.Table", dict[int, Refused], dict[int, date]]:
    """The rows, with the number of the record of each, the records that are no rows, and the event times that can be believed."""
    import pyarrow as pa

    quick = quick_rows(contract, [record.value for record in batch.records], clock)
    if quick is not None:
        table = pa.Table.from_batches(quick, contract.arrow_schema()).combine_chunks()
        arrived = [record.time for record in batch.records]
        if not unfit_rows(contract, one_batch(table, contract), arrived):
            times = table.column(contract.event_time).to_pylist() if contract.event_time else []
            return [*range(len(arrived))], table, {}, {row: at for row, at in enumerate(times) if isinstance(at, date)}
    indices: list[int] = []
    refused: dict[int, Refused] = {}
    moments: dict[int, date] = {}
    typed: list[pa.RecordBatch] = []
    for chunk in gather(contract, [_parsed(index, record) for index, record in enumerate(batch.records)]):
        rows, misfits = convert(contract, chunk.arrays, chunk.rows, clock=clock)
        marks = chunk.marks or ()
        misfits += unfit_rows(contract, rows, [batch.records[mark.record].time for mark in marks])
        bad = {misfit.row: Refused(marks[misfit.row], misfit.reason, misfit.column) for misfit in reversed(misfits)}
        refused |= {refusal.mark.record: refusal for refusal in (*chunk.refused, *bad.values())}
        indices += [mark.record for row, mark in enumerate(marks) if row not in bad]
        if contract.event_time:
            wrong = {misfit.row for misfit in misfits if misfit.column == contract.event_time}
            times = rows.column(contract.names.index(contract.event_time)).to_pylist()
            moments |= {
                mark.record: at
                for row, (mark, at) in enumerate(zip(marks, times, strict=True))
                if row not in wrong and isinstance(at, date)
            }
        typed.append(rows.filter(pa.array([row not in bad for row in range(rows.num_rows)], pa.bool_())))
    return indices, pa.Table.from_batches(typed, contract.arrow_schema()).combine_chunks(), refused, moments


def _repeated(
    contract: Contract, table: "pa.Table", indices: list[int], places: Mapping[int, str], known: KnownKeys
) -> Iterator[int]:
    if not contract.primary_key:
        return
    seen: dict[str, set[tuple[Any, ...]]] = {}
    keys = zip(*(table.column(name).to_pylist() for name in contract.primary_key), strict=True)
    for index, key in zip(indices, keys, strict=True):
        place = places[index]
        if place not in seen:
            seen[place] = known(place)
        if key in seen[place]:
            yield index
        seen[place].add(key)


def _parsed(index: int, record: StreamRecord) -> Refused | tuple[Mark, Mapping[str, Any]]:
    value = record.value
    mark = Mark(index, 0, record.offset, shown(value or b""))
    if value is None:
        return Refused(mark, "expected a JSON object, found a record without a value")
    try:
        document = parse_document(value, "utf-8")
    except (UnreadableObject, UnicodeDecodeError) as exc:
        return Refused(
            mark, exc.message if isinstance(exc, UnreadableObject) else f"expected UTF-8 text, found {exc.reason}"
        )
    return (mark, document) if isinstance(document, dict) else Refused(mark, "expected a JSON object, found another value")


def _letter(batch: MicroBatch, record: StreamRecord, refused: Refused, contract: Contract, partition: str) -> DeadLetter:
    uri = f"{batch.uri}/{record.partition}"
    identity = sha256(f"{uri}\n{record.offset}".encode()).hexdigest()[:16]
    # of a person nothing is told: a digest could be tested against a guess
    digest = "" if contract.person else sha256(record.value or b"").hexdigest()
    line, text = record.partition, "" if contract.person else refused.mark.text
    return DeadLetter(
        identity,
        "row",
        partition,
        uri,
        digest,
        record.offset,
        line,
        record.offset,
        refused.column,
        discreet(contract, refused.reason),
        text,
        contract.name,
        contract.version,
    )
