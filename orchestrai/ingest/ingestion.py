"""Landing -> raw events: read, type, set aside, audit, commit."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from orchestrai.contracts.calendar import Grain
from orchestrai.contracts.checks import check_partition
from orchestrai.contracts.contract import Contract
from orchestrai.contracts.verdict import Verdict
from orchestrai.errors import UnreadableObject
from orchestrai.ingest.arrived import Arrival, Intake
from orchestrai.ingest.chunks import Untidy
from orchestrai.ingest.discovery import landed
from orchestrai.ingest.letters import DeadLetter, asset_of, letters_of, publish_letters
from orchestrai.ingest.parts import PartWriter
from orchestrai.ingest.pull import pull_http
from orchestrai.ingest.pull_sql import pull_sql
from orchestrai.ingest.reading import SMALL_BYTES, ObjectOutcome, Typing, unpacked
from orchestrai.ingest.source import SourceSpec
from orchestrai.ledger import Ledger, Meter, Session, StageReport
from orchestrai.storage.base import Store

Progress = Callable[[str, int, int], None]


@dataclass
class _Partition:
    """One partition on its way to the commit."""

    key: str
    arrivals: list[Arrival] = field(default_factory=list)
    outcomes: list[ObjectOutcome] = field(default_factory=list)
    parts: list[Path] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    rows: int = 0


def ingest(
    ledger: Ledger,
    *,
    asset: str,
    landing: Store,
    source: SourceSpec,
    contract: Contract,
    grain: Grain,
    partitions: Sequence[str],
    now: datetime,
    progress: Progress | None = None,
    code_version: str = "",
    recover: bool = False,
) -> StageReport:
    """Make raw events of some partitions from all objects landed for them, and publish those that pass their audit.

    Idempotent: objects already taken are not taken again (identity is URI and etag), and the same objects give the same
    version. Rows that cannot be typed go to `<dataset>/dead_letters`. A partition that is not due and has no object is left
    out. `recover` also takes originals of refused runs that have left the landing. Raises StorageError when the landing or
    the lake fails; what is wrong with data is told in verdicts.
    """
    with Meter() as meter, tempfile.TemporaryDirectory(prefix="orchestrai-ingest-") as folder:
        session = ledger.session(asset, "raw_events")
        intake = Intake(ledger, session, landing, source, grain, Path(folder))
        history = {key: entry.rows for key, entry in intake.dataset.partitions.items()} if intake.dataset else {}
        for key in partitions if source.format in ("http", "sql") else ():
            (pull_http if source.format == "http" else pull_sql)(source, landing, key, grain, now)
        present = landed(landing, source, grain, partitions)
        done: list[_Partition] = []
        for number, key in enumerate(sorted(set(partitions))):
            if progress:
                progress(f"{asset}@{key}", number, len(partitions))
            part = _Partition(key, intake.gather(key, present[key], recover=recover))
            if not part.arrivals and not contract.closed.due(key, grain):
                continue
            _read(part, Typing(source, contract), session, Path(folder) / "parts" / key)
            _judge(part, source, contract, grain, history, now)
            if not any(verdict.closes_gate for verdict in part.verdicts):
                history[key] = part.rows
            done.append(part)
        meter.read += intake.bytes_read
        publish_letters(ledger, asset_of(asset), {part.key: part.letters for part in done}, code_version)
        report = session.commit(
            {part.key: part.verdicts for part in done},
            materials=[arrival.material for part in done for arrival in part.arrivals],
            code_version=code_version,
            parameters={"contract": contract.name, "contract_version": contract.version, "format": source.format},
            cost=meter.cost(),
            facts={
                "objects": sum(len(part.arrivals) for part in done),
                "dead_letters": sum(len(part.letters) for part in done),
            },
        )
        if progress:
            progress(asset, len(partitions), len(partitions))
        return report


def _read(part: _Partition, typing: Typing, session: Session, folder: Path) -> None:
    """Write the partition's rows to Parquet parts: small objects share one, a large one has its own."""
    folder.mkdir(parents=True, exist_ok=True)
    schema = typing.contract.arrow_schema()
    writer: PartWriter | None = None

    def close() -> None:
        nonlocal writer
        if writer is not None:
            writer.close()
            part.parts.append(writer.path)
            part.rows += writer.rows
            session.add_file(part.key, writer.path.name, writer.path, rows=writer.rows)
            writer = None

    total = 0
    for arrival in part.arrivals:
        outcome = ObjectOutcome()
        part.outcomes.append(outcome)
        try:
            path = unpacked(arrival.path, arrival.material.uri, typing.source.max_object_bytes)
            total += path.stat().st_size
            if total > typing.source.max_partition_bytes:
                raise UnreadableObject(
                    f"expected at most {typing.source.max_partition_bytes} bytes in a partition, found more: use a finer grain"
                )
            if path.stat().st_size > SMALL_BYTES:
                close()
                writer = _large(typing, path, outcome, folder / f"part-{len(part.parts):05d}.parquet")
                close()
            else:
                writer = writer or PartWriter(folder / f"part-{len(part.parts):05d}.parquet", schema)
                for batch in typing.batches(path, outcome):
                    writer.write(batch)
        except UnreadableObject as exc:
            outcome.unreadable = exc.message
        part.letters += letters_of(typing.contract, arrival.material, outcome)
    close()


def _large(typing: Typing, path: Path, outcome: ObjectOutcome, target: Path) -> PartWriter:
    for careful in (False, True):
        writer = PartWriter(target, typing.contract.arrow_schema())
        outcome.rows, outcome.refused, outcome.unreadable = 0, [], ""
        try:
            for batch in typing.large(path, outcome, careful=careful):
                writer.write(batch)
            return writer
        except Untidy:
            writer.close()
    raise UnreadableObject("expected rows as declared, found none that can be read")


def _judge(
    part: _Partition, source: SourceSpec, contract: Contract, grain: Grain, history: dict[str, int], now: datetime
) -> None:
    verdicts = check_partition(contract, part.parts, partition=part.key, grain=grain, history=history, now=now)
    found = _source_verdict(part, source, contract)
    if found is not None and not (found.severity == "warn" and not verdicts[0].passed):
        verdicts[0] = found
    part.verdicts = verdicts


def _source_verdict(part: _Partition, source: SourceSpec, contract: Contract) -> Verdict | None:
    """What the objects themselves say of the schema; None when all is as declared."""
    for arrival, outcome in zip(part.arrivals, part.outcomes, strict=True):
        if outcome.unreadable:
            return Verdict(
                "schema", False, f"{arrival.entry.path}: {outcome.unreadable}", details={"uri": arrival.material.uri}
            )
    refused = sum(len(outcome.refused) for outcome in part.outcomes)
    seen = sum(outcome.seen for outcome in part.outcomes)
    details = {"refused_rows": refused, "rows": seen - refused}
    if refused and refused > source.max_refused_share * seen:
        first = next(outcome.refused[0] for outcome in part.outcomes if outcome.refused)
        message = (
            f"expected at most {source.max_refused_share:.2%} refused rows, found {refused} of {seen} "
            f"(line {first.mark.line}: {first.column} {first.reason}): see the dead letters"
        )
        return Verdict("schema", False, message, details=details)
    extra = sorted({name for outcome in part.outcomes for name in outcome.extra})
    lacking = sorted({name for outcome in part.outcomes for name in outcome.missing})
    lines = [*(f"+ {name}" for name in extra), *(f"- {name} (optional, now null)" for name in lacking)]
    if lines:
        message = (
            f"expected the columns of {contract.name} {contract.version}, found a compatible change ({'; '.join(lines[:6])})"
        )
        return Verdict("schema", False, message, "warn", {**details, "diff": list(lines), "change": "compatible"})
    if refused:
        return Verdict("schema", True, f"{refused} of {seen} rows in the dead letters", details=details)
    return None
