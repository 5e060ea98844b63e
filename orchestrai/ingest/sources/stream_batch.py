"""Stream -> raw events: a micro-batch typed, placed by event time, archived as it came and published with its offsets."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from orchestrai.contracts.checks import check_partition
from orchestrai.core.canonical import JsonValue
from orchestrai.core.code_identity import Producer
from orchestrai.core.time.calendar import grain_stats
from orchestrai.core.verdict import Audit, Verdict
from orchestrai.ingest.dead_letters import FILE, DeadLetter, asset_of, publish_letters
from orchestrai.ingest.keys.key_audit import KeyAudit
from orchestrai.ingest.ports import PositionedSource
from orchestrai.ingest.readers.part_files import PartWriter
from orchestrai.ingest.sources.stream import (
    MicroBatch,
    StreamFeed,
    StreamSource,
    as_position,
    check_continues,
    offsets_at,
    stats_of,
)
from orchestrai.ingest.sources.stream_records import write_archive
from orchestrai.ingest.sources.stream_rows import Slice, known_keys, sliced
from orchestrai.ingest.spec import DatasetTask
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import arrival_stats
from orchestrai.ledger.receipt import Material
from orchestrai.ledger.report import Meter, StageReport
from orchestrai.ledger.session import Session
from orchestrai.privacy.ingest_guard import refuse_sealed_keys, sealed_stats, sealing_of
from orchestrai.stage.context import RunContext
from orchestrai.stage.contract_record import judged_by

PRODUCER, LETTERS = Producer("raw_events", __name__), Producer("dead_letters", __name__)

ALWAYS_REFUSED = 20


def ingest_stream(context: RunContext, task: DatasetTask, stream: StreamSource) -> StageReport:
    """Publish the next micro-batch of JSON records; an empty stream changes nothing.

    Exactly once: see stream.py. All or nothing: a batch of which one partition fails its audit is not published, and the
    stream stays where it is. A record that cannot be typed, breaks a rule of its columns or repeats a primary key goes to the
    dead letters, its bytes to the archive all the same; more of them than `max_refused_share` (and ALWAYS_REFUSED) fail the batch.
    Raises ConcurrentCommit when another session was faster, and what `next_batch` raises.
    """
    session = context.ledger.session(task.asset, PRODUCER)
    known = offsets_at(context.ledger, session.fence, stream.topic)
    feed: PositionedSource[MicroBatch] = StreamFeed(stream, task.source.stream)
    return publish_batch(context, task, feed.next_batch(as_position(known)), session, known)


def publish_batch(
    context: RunContext, task: DatasetTask, batch: MicroBatch, session: Session, known: Mapping[int, int]
) -> StageReport:
    """Publish a batch in `session`; `known` are the offsets at the session's fence. A batch published before is a no-op.

    Where the contract tokenises columns, the records as they came are not kept: rows hold tokens under the keys of persons.
    """
    ledger, contract, grain, now = context.ledger, task.contract, task.grain, context.now()
    refuse_sealed_keys(contract, contract.primary_key, "a stream")
    sealing = sealing_of(contract, context.keys_for(contract))
    version = session.fence.version if session.fence else None
    facts: dict[str, JsonValue] = {"topic": batch.topic, "lag": batch.lag, "records": len(batch.records)}
    facts["offsets"] = {str(number): list(span) for number, span in batch.ranges.items()}
    if batch.empty or not check_continues(batch, known, accept_gaps=task.source.stream.accept_gaps):
        return StageReport(session.asset, version, (), facts={**facts, "records": 0})
    with Meter() as meter, tempfile.TemporaryDirectory(prefix="orchestrai-stream-") as folder:
        dataset = None if session.fence is None else ledger.dataset(session.fence)
        slices = sliced(batch, contract, grain, partial(known_keys, dataset, contract), task.source.clock)
        audit, keys = Audit(), KeyAudit.of(context, task, dataset)
        materials: list[Material] = []
        name, erased = _name(batch), 0
        for key, part in slices.items():
            earlier = dataset.files(key) if dataset and key in dataset.partitions else None
            if dataset and earlier:
                materials += [m for m in dataset.receipt(key).materials if m.partition == key]
                for entry in earlier.files:
                    session.add_entry(key, entry)
            session.add_stats(key, **grain_stats(grain))
            session.add_stats(key, **stats_of(batch, session.fence, known, earlier.stats if earlier else None))
            session.add_stats(key, **sealed_stats(sealing, earlier.stats if earlier else None, key))
            path = Path(folder) / f"{len(audit):05d}"
            rows, gone = sealing.seal(part.rows) if sealing else (part.rows, 0)
            erased += gone
            with PartWriter(path.with_suffix(".parquet"), contract.arrow_schema()) as writer:
                writer.write(rows)
            if sealing or rows.num_rows:
                came = [(rows.num_rows, now.isoformat())]
                session.add_stats(key, **arrival_stats(earlier.stats if earlier else None, f"part-{name}.parquet", came))
            if sealing:
                landed = session.add_file(key, f"part-{name}.parquet", writer.path, rows=writer.rows)
            else:
                write_archive(path, part.records)
                landed = session.add_file(key, f"landed/{name}.frames", path, role="landed")
                if rows.num_rows:
                    session.add_file(key, f"part-{name}.parquet", writer.path, rows=writer.rows)
            uri = f"{batch.uri}#{name}"
            materials.append(Material(uri, landed.sha256, landed.size, name, now.isoformat(), key, now.isoformat()))
            judged = check_partition(contract, [writer.path], partition=key, grain=grain, history={}, now=now, whole=False)
            added, root = [writer.path] if writer.rows else [], session.staged(key).root
            audit.add(key, *judged, *keys.judge(key, root, added))
            keys.accept(key, root, added)
        _judge_share(audit, slices, len(batch.records), task.source.stream.max_refused_share)
        all_or_nothing(audit)
        letters = {key: part.letters for key, part in slices.items() if part.letters}
        if letters and not audit.closed:
            # the records of a batch that stays in the stream are judged again
            append_letters(ledger, asset_of(session.asset), letters, LETTERS)
        meter.read += sum(record.size for record in batch.records)
        if sealing:
            facts["erased"] = erased
        facts["dead_letters"] = sum(len(group) for group in letters.values())
        return session.commit(
            audit,
            materials=materials,
            parameters={
                "contract": contract.name,
                "contract_version": contract.version,
                "format": "stream",
                **judged_by(ledger, contract),
            },
            cost=meter.cost(),
            facts=facts,
            overrides=context.overrides,
        )


def _name(batch: MicroBatch) -> str:
    """A name no other batch of the topic has: where its first partition begins and ends."""
    number, (first, end) = next(iter(batch.ranges.items()))
    return f"{batch.topic}-{number:05d}-{first:020d}-{end:020d}"


def _judge_share(audit: Audit, slices: Mapping[str, Slice], records: int, share: float) -> None:
    """A producer that changed its format is told, and not turned into dead letters without end."""
    letters = [letter for part in slices.values() for letter in part.letters]
    if len(letters) > max(ALWAYS_REFUSED, share * records):
        message = f"expected at most {share:.0%} refused records, found {len(letters)} of {records} ({letters[0].reason})"
        for key in audit:
            audit.add(key, Verdict("refused", False, message))


def all_or_nothing(audit: Audit) -> None:
    """Close the gate of every partition when one is closed: what moves a position forward is published whole."""
    closed = audit.closed
    for key in audit if closed else ():
        if key not in closed:
            audit.add(key, Verdict("batch", False, f"expected the whole batch to pass, found {closed[0]} refused"))


def append_letters(ledger: Ledger, asset: str, letters: Mapping[str, Sequence[DeadLetter]], producer: Producer) -> None:
    """Add letters to those a partition has; one that is there already (its batch died before the commit) is kept once."""
    current = ledger.find(asset)
    merged: dict[str, Sequence[DeadLetter]] = {}
    for key, fresh in letters.items():
        by_id = {letter.id: letter for letter in fresh}
        if current and key in current.partitions:
            with current.fetched([key]) as files:
                lines = [line for file in files[key] if file.entry.path == FILE for line in file.path.open(encoding="utf-8")]
            by_id = {letter.id: letter for letter in (DeadLetter(**json.loads(line)) for line in lines)} | by_id
        merged[key] = sorted(by_id.values(), key=lambda letter: (letter.uri, letter.offset))
    publish_letters(ledger, asset, merged, producer)
