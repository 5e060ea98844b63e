"""Another try for dead letters of streams and tables: each record from the bytes kept beside the raw events, exactly once.

Rows and the note of which letters they come from are one commit; a letter that the note names is only taken away.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from orchestrai.contracts.checks import check_partition
from orchestrai.core.code_identity import Producer
from orchestrai.core.time.calendar import grain_stats
from orchestrai.core.verdict import Audit
from orchestrai.errors import ConfigError
from orchestrai.ingest.dead_letters import DeadLetter, asset_of, publish_letters, read_letters
from orchestrai.ingest.keys.key_audit import KeyAudit
from orchestrai.ingest.readers.part_files import PartWriter
from orchestrai.ingest.sources.stream import MicroBatch
from orchestrai.ingest.sources.stream_batch import all_or_nothing
from orchestrai.ingest.sources.stream_records import LETTER, StreamRecord, read_archive
from orchestrai.ingest.sources.stream_rows import Slice, known_keys, sliced
from orchestrai.ingest.sources.table_batch import STATS as SQL
from orchestrai.ingest.sources.table_batch import published_position
from orchestrai.ingest.spec import DatasetTask
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.manifest import arrival_stats
from orchestrai.ledger.receipt import Material
from orchestrai.ledger.report import StageReport
from orchestrai.ledger.session import Session
from orchestrai.stage.context import RunContext
from orchestrai.stage.contract_record import judged_by

PRODUCER, LETTERS = Producer("raw_events", __name__), Producer("dead_letters", __name__)

STATS = "replayed"


def replay_records(context: RunContext, task: DatasetTask) -> StageReport | None:
    """Type the records behind the dead letters of some partitions anew and publish those that fit; None without any.

    A row lands in the partition of its event time. A letter whose record still does not fit stays, with the reason it has now. All
    or nothing: when a partition fails its audit, nothing is published and all letters stay.
    """
    ledger, asset, contract, grain = context.ledger, task.asset, task.contract, task.grain
    dataset, dead = ledger.find(asset), ledger.find(asset_of(asset))
    letters = {key: list(read_letters(dead, key)) for key in task.partitions if dead and key in dead.partitions}
    if dataset is None or not any(letters.values()):
        return None
    if contract.person is not None:
        raise ConfigError(
            f"expected the records behind the dead letters of {asset}, found none kept, as {contract.name} tokenises columns: have "
            "the producer send them again"
        )
    session = ledger.session(asset, PRODUCER)
    done = {key: set(dataset.files(key).stats.get(STATS, ())) for key in letters if key in dataset.partitions}
    waiting = [
        (letter, record)
        for key, found in letters.items()
        for letter, record in _records(dataset, key, [x for x in found if x.id not in done.get(key, ())])
    ]
    numbered = tuple(replace(record, partition=0, offset=number) for number, (_, record) in enumerate(waiting))
    batch = MicroBatch("replay", asset, {}, numbered)
    known = partial(known_keys, dataset, contract)
    slices = sliced(batch, contract, grain, known, task.source.clock) if numbered else {}
    still = {waiting[found.offset][0].id: found for part in slices.values() for found in part.letters}
    taken = [letter for letter, _ in waiting if letter.id not in still]
    report = None
    if taken:
        report = _publish(context, task, session, dataset, slices, taken)
        if report.refused:
            return report
        for letter in taken:
            done.setdefault(letter.partition, set()).add(letter.id)
    left = {
        key: [_renewed(x, still.get(x.id)) for x in found if x.id not in done.get(key, ())] for key, found in letters.items()
    }
    publish_letters(ledger, asset_of(asset), left, LETTERS)
    return report or StageReport(asset, dataset.version, (), facts={"replayed": 0})


def _renewed(letter: DeadLetter, current: DeadLetter | None) -> DeadLetter:
    if current is None:
        return letter
    return replace(
        letter,
        column=current.column,
        reason=current.reason,
        contract=current.contract,
        contract_version=current.contract_version,
    )


def _records(dataset: Dataset, key: str, letters: Sequence[DeadLetter]) -> list[tuple[DeadLetter, StreamRecord]]:
    """The records of letters, in the letters' order; one whose bytes are not there is left out."""
    if not letters or key not in dataset.partitions:
        return []
    places = {(letter.line, letter.offset): letter.id for letter in letters}
    wanted, records = {letter.id for letter in letters}, {}
    with dataset.fetched([key], role="landed") as files:
        for file in files[key]:
            for record in read_archive(file.path):
                named = dict(record.headers).get(LETTER)
                name = named.decode() if named else places.get((record.partition, record.offset))
                if name in wanted:
                    records[name] = record
    return [(letter, records[letter.id]) for letter in letters if letter.id in records]


def _publish(
    context: RunContext,
    task: DatasetTask,
    session: Session,
    dataset: Dataset,
    slices: Mapping[str, Slice],
    taken: Sequence[DeadLetter],
) -> StageReport:
    contract, grain, now = task.contract, task.grain, context.now()
    name = f"part-replay-{sha256(' '.join(sorted(letter.id for letter in taken)).encode()).hexdigest()[:16]}.parquet"
    rows = {key: part.rows for key, part in slices.items() if part.rows.num_rows}
    audit, keys = Audit(), KeyAudit.of(context, task, dataset)
    materials: list[Material] = []
    with tempfile.TemporaryDirectory(prefix="orchestrai-replay-") as folder:
        for key in sorted({*rows, *(letter.partition for letter in taken)}):
            stats: dict[str, Any] = {}
            if key in dataset.partitions:
                before = dataset.files(key)
                stats = dict(before.stats)
                materials += [m for m in dataset.receipt(key).materials if m.partition == key]
                for entry in before.files:
                    session.add_entry(key, entry)
            stats[STATS] = sorted({*stats.get(STATS, ()), *(x.id for x in taken if x.partition == key)})
            if SQL in stats:
                stats[SQL] = {table: _position(dataset, table, note) for table, note in stats[SQL].items()}
            session.add_stats(key, **stats, **grain_stats(grain))
            audit.add(key)
            added: list[Path] = []
            if key in rows:
                path = Path(folder) / f"{len(audit):05d}.parquet"
                with PartWriter(path, contract.arrow_schema()) as writer:
                    writer.write(rows[key])
                entry = session.add_file(key, name, path, rows=writer.rows)
                session.add_stats(key, **arrival_stats(stats, name, [(writer.rows, now.isoformat())]))
                uri, moment = f"{dataset.asset}#{name}", now.isoformat()
                materials.append(Material(uri, entry.sha256, entry.size, name, moment, key, moment))
                judged = check_partition(contract, [path], partition=key, grain=grain, history={}, now=now, whole=False)
                audit.add(key, *judged)
                added.append(path)
            root = session.staged(key).root
            audit.add(key, *keys.judge(key, root, added))
            keys.accept(key, root, added)
        all_or_nothing(audit)
        return session.commit(
            audit,
            materials=materials,
            parameters={
                "contract": contract.name,
                "contract_version": contract.version,
                "format": "replay",
                **judged_by(context.ledger, contract),
            },
            facts={"replayed": len(taken)},
        )


def _position(dataset: Dataset, table: str, note: Any) -> Any:
    """How far a table was read by now: an older note must not take the position back."""
    position = published_position(dataset, table)
    return note if position is None else position.as_json()
