"""Landing -> raw events: read, type, set aside, audit, commit."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrai.contracts.calendar import Grain
from orchestrai.contracts.checks import check_partition
from orchestrai.contracts.contract import Contract
from orchestrai.contracts.tokens import TokenKeys
from orchestrai.contracts.verdict import Verdict
from orchestrai.errors import UnreadableObject
from orchestrai.ingest.arrived import Arrival, Intake
from orchestrai.ingest.chunks import Untidy
from orchestrai.ingest.discovery import landed
from orchestrai.ingest.letters import DeadLetter, asset_of, letters_of, publish_letters, read_letters
from orchestrai.ingest.parts import PartWriter
from orchestrai.ingest.personal import Sealing, discreet, sealing_of
from orchestrai.ingest.pull import pull_http
from orchestrai.ingest.pull_sql import pull_sql
from orchestrai.ingest.reading import SMALL_BYTES, ObjectOutcome, Typing, unpacked
from orchestrai.ingest.refusal import Mark, Refused
from orchestrai.ingest.source import SourceSpec
from orchestrai.ledger import FileEntry, Ledger, Meter, Override, Session, StageReport
from orchestrai.storage.base import Store

if TYPE_CHECKING:
    import pyarrow as pa

Progress = Callable[[str, int, int], None]


@dataclass
class _Partition:
    """One partition on its way to the commit."""

    key: str
    arrivals: list[Arrival] = field(default_factory=list)
    outcomes: list[ObjectOutcome] = field(default_factory=list)
    parts: list[Path] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    objects: dict[str, dict[str, str]] = field(default_factory=dict)
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
    persons: TokenKeys | None = None,
    overrides: Sequence[Override] = (),
) -> StageReport:
    """Make raw events of some partitions from all objects landed for them, and publish those that pass their audit.

    Idempotent: objects already taken are not taken again (identity is URI and etag), and the same objects give the same
    version. Rows that cannot be typed go to `<dataset>/dead_letters`. A partition that is not due and has no object is left
    out. `recover` also takes originals of refused runs that have left the landing. A contract that tokenises columns needs the
    keys of `persons` and keeps no originals. Raises StorageError when the landing or the lake fails, ConfigError without keys;
    what is wrong with data is told in verdicts, and published all the same only where one of `overrides` waives it.
    """
    sealing = sealing_of(contract, persons)
    with Meter() as meter, tempfile.TemporaryDirectory(prefix="orchestrai-ingest-") as folder:
        session = ledger.session(asset, "raw_events")
        intake = Intake(ledger, session, landing, source, grain, Path(folder), keep=sealing is None)
        dead = ledger.find(asset_of(asset)) if sealing else None
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
            kept = list(read_letters(dead, key))
            _Reading(part, Typing(source, contract), session, Path(folder) / "parts" / key, sealing, kept).read()
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
            overrides=overrides,
            facts={
                "objects": sum(len(part.arrivals) for part in done),
                "dead_letters": sum(len(part.letters) for part in done),
                **({"erased_rows": sum(o.erased for part in done for o in part.outcomes)} if sealing else {}),
            },
        )
        if progress:
            progress(asset, len(partitions), len(partitions))
        return report


@dataclass
class _Reading:
    """Writes a partition's rows to Parquet parts: small objects share one, a large one has its own.

    With `sealing` every object has a part of its own, as no original tells later what came from where.
    """

    part: _Partition
    typing: Typing
    session: Session
    folder: Path
    sealing: Sealing | None = None
    earlier_letters: Sequence[DeadLetter] = ()
    writer: PartWriter | None = None
    total: int = 0

    def read(self) -> None:
        """Read all arrivals, and note what of them is refused."""
        part = self.part
        self.folder.mkdir(parents=True, exist_ok=True)
        for arrival in part.arrivals:
            outcome = ObjectOutcome()
            part.outcomes.append(outcome)
            if arrival.part is not None:
                self._keep(arrival, arrival.part, outcome)
                continue
            try:
                self._one(arrival, outcome)
            except UnreadableObject as exc:
                outcome.unreadable = exc.message
            part.letters += letters_of(self.typing.contract, arrival.material, outcome)
            if self.sealing:
                self._close(arrival)
        self._close()
        if self.sealing:
            self.session.add_stats(part.key, **self.sealing.stats(part.objects))

    def _target(self) -> Path:
        return self.folder / f"part-{len(self.part.parts):05d}.parquet"

    def _one(self, arrival: Arrival, outcome: ObjectOutcome) -> None:
        source = self.typing.source
        path = unpacked(arrival.path, arrival.material.uri, source.max_object_bytes)
        self.total += path.stat().st_size
        if self.total > source.max_partition_bytes:
            raise UnreadableObject(
                f"expected at most {source.max_partition_bytes} bytes in a partition, found more: use a finer grain"
            )
        if path.stat().st_size > SMALL_BYTES:
            self._close()
            self.writer = _large(self.typing, path, outcome, self._target(), self.sealing)
            self._close(arrival)
            return
        self.writer = self.writer or PartWriter(self._target(), self.typing.contract.arrow_schema())
        for batch in self.typing.batches(path, outcome):
            self.writer.write(_sealed(batch, outcome, self.sealing))

    def _close(self, arrival: Arrival | None = None) -> None:
        writer, part = self.writer, self.part
        if writer is None:
            return
        self.writer = None
        writer.close()
        part.parts.append(writer.path)
        part.rows += writer.rows
        self.session.add_file(part.key, writer.path.name, writer.path, rows=writer.rows)
        if arrival and self.sealing:
            part.objects[writer.path.name] = {"name": arrival.name, "uri": arrival.material.uri}

    def _keep(self, arrival: Arrival, entry: FileEntry, outcome: ObjectOutcome) -> None:
        """Take over the part of an object that left the landing and of which no original was kept."""
        part, contract = self.part, self.typing.contract
        if arrival.columns != contract.tokenised_columns:
            outcome.unreadable = (
                f"expected the object sent again, to tokenise {', '.join(contract.tokenised_columns) or 'nothing'} in it instead of "
                f"{', '.join(arrival.columns)}, found it gone: have the producer send it again"
            )
            part.letters += letters_of(contract, arrival.material, outcome)
            return
        name = self._target().name
        self.session.add_entry(part.key, replace(entry, path=name))
        part.objects[name] = {"name": arrival.name, "uri": arrival.material.uri}
        part.parts.append(arrival.path)
        part.rows += entry.rows
        letters = [letter for letter in self.earlier_letters if letter.uri == arrival.material.uri]
        outcome.rows = entry.rows
        outcome.refused = [Refused(Mark(x.record, x.line, x.offset, x.text), x.reason, x.column) for x in letters]
        part.letters += letters


def _large(typing: Typing, path: Path, outcome: ObjectOutcome, target: Path, sealing: Sealing | None = None) -> PartWriter:
    for careful in (False, True):
        writer = PartWriter(target, typing.contract.arrow_schema())
        outcome.rows, outcome.erased, outcome.refused, outcome.unreadable = 0, 0, [], ""
        try:
            for batch in typing.large(path, outcome, careful=careful):
                writer.write(_sealed(batch, outcome, sealing))
            return writer
        except Untidy:
            writer.close()
    raise UnreadableObject("expected rows as declared, found none that can be read")


def _sealed(batch: "pa.RecordBatch", outcome: ObjectOutcome, sealing: Sealing | None) -> "pa.RecordBatch":
    if sealing is None:
        return batch
    batch, erased = sealing.seal(batch)
    outcome.erased += erased
    return batch


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
                "schema",
                False,
                f"{arrival.name}: {discreet(contract, outcome.unreadable)}",
                details={"uri": arrival.material.uri},
            )
    refused = sum(len(outcome.refused) for outcome in part.outcomes)
    seen = sum(outcome.seen for outcome in part.outcomes)
    details = {"refused_rows": refused, "rows": seen - refused}
    if refused and refused > source.max_refused_share * seen:
        first = next(outcome.refused[0] for outcome in part.outcomes if outcome.refused)
        message = (
            f"expected at most {source.max_refused_share:.2%} refused rows, found {refused} of {seen} "
            f"(line {first.mark.line}: {first.column} {discreet(contract, first.reason)}): see the dead letters"
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
