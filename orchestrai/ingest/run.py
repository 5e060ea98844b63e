"""Landing -> raw events: read, type, set aside, audit, commit."""

import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from operator import attrgetter
from pathlib import Path

from orchestrai.contracts.checks import check_partition
from orchestrai.contracts.contract import Contract
from orchestrai.core.canonical import JsonValue
from orchestrai.core.code_identity import Producer
from orchestrai.core.time.calendar import grain_stats
from orchestrai.core.time.partition_key import segment
from orchestrai.core.tree.ordered_keys import Overlay
from orchestrai.core.verdict import Audit, Verdict
from orchestrai.ingest.anomaly.hold_audit import HoldAudit, hold_check, released
from orchestrai.ingest.anomaly.sketch import lens_of
from orchestrai.ingest.coverage_audit import coverage_finding
from orchestrai.ingest.dead_letters import (
    DeadLetter,
    Unplaced,
    asset_of,
    publish_letters,
    publish_unplaced,
    read_letters,
    retract_unplaced,
)
from orchestrai.ingest.discovery.listing import landed
from orchestrai.ingest.discovery.same_landing import SameLanding, read_as
from orchestrai.ingest.keys.key_audit import KeyAudit
from orchestrai.ingest.originals.published_originals import require_same_cut
from orchestrai.ingest.partition import Partition, PartitionReading
from orchestrai.ingest.plan import Intake
from orchestrai.ingest.readers.object_reader import Typing
from orchestrai.ingest.readers.row_rules import RowRules
from orchestrai.ingest.schema_audit import LACKING, vanished
from orchestrai.ingest.sources.http import pull_http
from orchestrai.ingest.spec import DatasetTask, SourceSpec
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.report import Meter, PartitionOutcome, StageReport
from orchestrai.privacy.ingest_guard import discreet, sealing_of
from orchestrai.stage.context import RunContext
from orchestrai.stage.contract_record import judged_by
from orchestrai.stage.recorded_bytes import as_published, with_standing
from orchestrai.storage.base import ObjectInfo, Store

PRODUCER, LETTERS = Producer("raw_events", __name__), Producer("dead_letters", __name__)


def ingest(
    context: RunContext,
    task: DatasetTask,
    landing: Store,
    *,
    recover: bool = False,
    spark: Callable[[], object] | None = None,
) -> StageReport:
    """Make raw events of some partitions from all objects landed for them, and publish those that pass their audit.

    Idempotent: objects already taken are not taken again (known by URI and etag), those of one content are one arrival, and the
    same objects give the same version. A partition of which the landing says nothing new is reported as published and not read. Rows
    that cannot be typed go to `<dataset>/dead_letters`, and so do whole objects that no partition can take or that the landing does
    not hand out: they end nothing. A partition that is not due and has no object is left out. `recover` also takes originals of
    refused runs that have left the landing. A contract that tokenises columns needs the keys of persons and keeps no originals. A
    partition of more than `source.spark_above` bytes is typed in the session that `spark` gives, to the same bytes. Raises
    StorageError when the landing or the lake fails, ConfigError without keys; what is wrong with data is told in verdicts, and
    published all the same only where an override of the run waives it.
    """
    ledger, now = context.ledger, context.now()
    asset, source, contract, grain = task.asset, task.source, task.contract, task.grain
    sealing = sealing_of(contract, context.keys_for(contract))
    with Meter() as meter, ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="orchestrai-ingest-"))
        session = ledger.session(asset, PRODUCER)
        intake = Intake(context, session, landing, task, Path(folder), keep=sealing is None)
        require_same_cut(intake.dataset, grain)
        dead = ledger.find(asset_of(asset)) if sealing else None
        history = Overlay[int](intake.dataset.partitions if intake.dataset else None, attrgetter("rows"))
        for key in task.partitions if source.kind == "http" else ():
            context.begin(f"what an API has for {asset}@{key}")
            pull_http(source, landing, key, grain, now)
        present = landed(landing, source, grain, task.partitions)
        done: list[Partition] = []
        as_it_was = {} if recover or sealing or spark else _unchanged(context, task, landing, present.objects)
        todo = [key for key in sorted(set(task.partitions)) if key not in as_it_was]
        audit = Audit()
        keys = KeyAudit.of(context, task, intake.dataset)
        ordinary = HoldAudit(contract, grain, now, intake.dataset)
        on_spark, aside, opened = 0, dict[str, list[DeadLetter]](), stack.enter_context(ExitStack())
        for number, key in enumerate(todo):
            context.told(f"{asset}@{key}", number, len(todo))
            opened.close()
            if present.objects[key] or contract.closed.due(key, grain):
                context.begin(f"{asset}@{key}")
            gathered = intake.gather(key, present.objects[key], recover=recover)
            part = Partition(key, list(gathered.arrivals), repeats=gathered.repeats)
            denied = intake.copies.denied.get(key, [])
            part.letters += [item.letter(contract, key) for item in (*denied, *intake.copies.nameless.get(key, ()))]
            if not part.arrivals and not denied and not contract.closed.due(key, grain):
                aside |= {key: part.letters} if part.letters else {}
                continue
            letters = list(read_letters(dead, key))
            lens = lens_of(contract, key, grain) if hold_check(contract, grain) else None
            typing = Typing(source, contract, RowRules(contract, key, grain), lens)
            reading = PartitionReading(
                part, typing, session, Path(folder) / "parts" / segment(key), sealing, letters, opened=opened
            )
            if spark and sealing is None and source.needs_spark(sum(arrival.material.size for arrival in part.arrivals)):
                reading.read_on_spark(spark())
                on_spark += 1
            else:
                reading.read()
            session.add_stats(key, **grain_stats(grain))
            judged = check_partition(contract, part.parts, partition=key, grain=grain, history=history, now=now)
            coverage = coverage_finding(judged, contract, key, grain, now, intake.dataset, audit)
            audit.combine(
                key,
                *judged,
                *(_denied(denied) or _source_findings(part, source, contract)),
                *_absence(part, judged, landing.url),
                *_vanished(part, contract, intake.dataset, audit, history),
                *coverage,
            )
            root = session.staged(key).root
            if audit.is_open(key):
                audit.add(key, *keys.judge(key, root, part.parts))
            if audit.is_open(key) and part.profile is not None:
                audit.add(key, *ordinary.judge(key, root, part.profile))
            if audit.is_open(key):
                keys.accept(key, root, part.parts)
                if part.profile is not None:
                    ordinary.accept(key, part.profile)
                history.put(key, part.rows)
            done.append(part)
        intake.copies.require_readable()
        meter.read += intake.copies.bytes_read
        publish_unplaced(ledger, asset, contract, present.unplaced, LETTERS)
        publish_letters(ledger, asset_of(asset), aside | {part.key: part.letters for part in done}, LETTERS)
        repeated = sum(len(part.repeats) for part in done)
        report = session.commit(
            audit,
            materials=[material for part in done for material in part.materials],
            parameters={
                "contract": contract.name,
                "contract_version": contract.version,
                "format": source.format,
                **judged_by(ledger, contract),
                **read_as(source),
            },
            cost=meter.cost(),
            overrides=[*context.overrides, *released(contract, session, audit, now)],
            facts={
                "objects": sum(len(part.arrivals) for part in done),
                "dead_letters": sum(len(part.letters) for part in done),
                **({"repeated_objects": repeated} if repeated else {}),
                **({"partitions_on_spark": on_spark} if on_spark else {}),
                **({"erased_rows": sum(o.erased for part in done for o in part.outcomes)} if sealing else {}),
            },
        )
        retract_unplaced(ledger, asset, (arrival.material for part in done for arrival in part.arrivals), LETTERS)
        context.told(asset, len(todo), len(todo))
        return with_standing(report, intake.dataset, list(as_it_was.values()))


def _unchanged(
    context: RunContext, task: DatasetTask, landing: Store, present: Mapping[str, Sequence[ObjectInfo]]
) -> dict[str, PartitionOutcome]:
    """The partitions of which the landing says nothing new, as published; none where a person asked for what was refused."""
    same = SameLanding(context.ledger, task, landing, PRODUCER)
    current = context.ledger.find(task.asset)
    if current is None or context.overrides:
        return {}
    return {key: as_published(current, key) for key, objects in present.items() if same.holds(key, objects)}


def _denied(denied: Sequence[Unplaced]) -> list[Verdict]:
    """A day of which an object lies there and is not handed out is not whole."""
    return [Verdict("schema", False, item.reason, details={"uri": item.uri}) for item in denied[:1]]


def _absence(part: Partition, judged: Sequence[Verdict], landing: str) -> Iterator[Verdict]:
    """Where one would look for the rows that are missing."""
    if not part.arrivals and any(verdict.check == "row_volume" and not verdict.passed for verdict in judged):
        yield Verdict("row_volume", False, f"no object of it in {landing}")


def _vanished(
    part: Partition,
    contract: Contract,
    dataset: Dataset | None,
    before: Mapping[str, Sequence[Verdict]],
    there: Collection[str],
) -> Iterator[Verdict]:
    """What cannot be seen in the objects of one partition alone: columns that earlier ones had."""
    lacking = sorted({name for outcome in part.outcomes for name in outcome.missing})
    gone = vanished(part.key, lacking, dataset, before, there)
    if gone:
        message = (
            f"expected the columns of {contract.name} {contract.version} that earlier partitions have, found none named "
            f"{', '.join(gone)}: have it sent again, take it out of the contract, or go on without it by `orchestrai gate override`"
        )
        yield Verdict("schema", False, message, details={"change": "breaking", "vanished": list(gone)})


def _source_findings(part: Partition, source: SourceSpec, contract: Contract) -> Iterator[Verdict]:
    """What the objects themselves say of the schema; nothing when all is as declared."""
    for arrival, outcome in zip(part.arrivals, part.outcomes, strict=True):
        if outcome.unreadable:
            yield Verdict(
                "schema",
                False,
                f"{arrival.name}: {discreet(contract, outcome.unreadable)}",
                details={"uri": arrival.material.uri},
            )
            return
    refused = sum(len(outcome.refused) for outcome in part.outcomes)
    seen = sum(outcome.seen for outcome in part.outcomes)
    details: dict[str, JsonValue] = {"refused_rows": refused, "rows": seen - refused}
    belonging = Counter(one.belongs for outcome in part.outcomes for one in outcome.refused if one.belongs)
    if belonging:
        details["belonging"] = dict(sorted(belonging.items()))
    if refused and refused > source.max_refused_share * seen:
        first = next(outcome.refused[0] for outcome in part.outcomes if outcome.refused)
        message = (
            f"expected at most {source.max_refused_share:.2%} refused rows, found {refused} of {seen} "
            f"(line {first.mark.line}: {first.column} {discreet(contract, first.reason)}): see the dead letters"
        )
        yield Verdict("schema", False, message, details=details)
        return
    extra = sorted({name for outcome in part.outcomes for name in outcome.extra})
    lacking = sorted({name for outcome in part.outcomes for name in outcome.missing})
    lines = [*(f"+ {name}" for name in extra), *(f"- {name} (optional, now null)" for name in lacking)]
    if lines:
        message = (
            f"expected the columns of {contract.name} {contract.version}, found a compatible change ({'; '.join(lines[:6])})"
        )
        yield Verdict(
            "schema",
            False,
            message,
            "warn",
            {**details, "diff": list(lines), LACKING: list(lacking), "change": "compatible"},
        )
    elif refused:
        elsewhere = f", {belonging.total()} of them of other partitions" if belonging else ""
        yield Verdict("schema", True, f"{refused} of {seen} rows in the dead letters{elsewhere}", details=details)
