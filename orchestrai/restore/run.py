"""snapshot -> restored dataset: read from the vault alone, proven equal, published atomically."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path

from orchestrai.contracts.checks import check_names, check_partition
from orchestrai.contracts.same_version import same_version
from orchestrai.core.canonical import JsonValue
from orchestrai.core.code_identity import Producer
from orchestrai.core.time.calendar import Grain
from orchestrai.core.tree.ordered_keys import Overlay
from orchestrai.core.verdict import Audit, Verdict
from orchestrai.errors import DigestMismatch, MissingObject
from orchestrai.ingest.ports import LandedDataset
from orchestrai.ledger.dataset import Dataset, verified
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import FileEntry
from orchestrai.ledger.receipt import InputRef
from orchestrai.ledger.report import Meter, PartitionOutcome, StageReport
from orchestrai.ledger.session import Session
from orchestrai.restore.open_partitions.closed_partitions import ClosedPartitions, closing_check
from orchestrai.restore.open_partitions.growing_partitions import NOTHING, GrowingPartitions, RestoredFiles
from orchestrai.restore.plan import PartitionPlan, plan_restore
from orchestrai.stage.context import RunContext
from orchestrai.stage.contract_record import judged_by
from orchestrai.stage.outcomes import published, settle, with_outcomes
from orchestrai.stage.stage import AssetNode, Stage
from orchestrai.stage.staleness import Places, StalePartition, difference
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.run import VERSION_CHECK
from orchestrai.vault.vault import Vault

PRODUCER = Producer("restored", __name__)
# looks at a partition's staged data files, and which of them were found sound before; its verdicts
Judge = Callable[[str, list[Path], list[Path]], Sequence[Verdict]]


@dataclass(frozen=True)
class RestoreTask:
    """Partitions of a published `snapshot` to restore as `asset`; `restored` is what stands of those that still grow."""

    snapshot: str
    asset: str
    partitions: Sequence[str]
    restored: Mapping[str, RestoredFiles] = field(default_factory=dict)


def restore(
    context: RunContext,
    vault: Vault,
    task: RestoreTask,
    audit: Judge | None = None,
    parameters: Mapping[str, JsonValue] | None = None,
    closing: ClosedPartitions | None = None,
) -> StageReport:
    """Restore partitions of `snapshot` from the vault's bytes, and publish them as `asset`.

    Every byte is hashed on the way; what the task says is restored already stands, its data hashed where it lies. Each partition's root
    must equal the snapshot's and the raw events', which `same_version` judges before the commit: where one differs, nothing is published.
    `audit` sees the staged data files, and what it refuses is not published, unless an override of the run waives it; `closing` holds
    what is over and unlike the partitions before it. The receipt carries the `parameters`. Raises RestoreError, MissingObject,
    DigestMismatch, IntegrityError: then nothing is published. Never writes over live data.
    """
    from orchestrai.restore.warm_up import require_warm, survey
    from orchestrai.storage.cloud.control import control_plane

    ledger, snapshot, asset = context.ledger, task.snapshot, task.asset
    context.begin(f"{asset}@{task.partitions[0]}" if task.partitions else asset)
    begun = time.perf_counter()
    with Meter() as meter:
        session = ledger.session(asset, PRODUCER)
        plan = plan_restore(
            ledger, vault, snapshot=snapshot, asset=asset, partitions=task.partitions, restored=task.restored
        )
        require_warm(survey([file for part in plan.partitions for file in part.lacking], control_plane(vault.store)))
        source = ledger.open(snapshot)
        verdicts, here = Audit(), asset.rsplit("/", 1)[-1]
        above = snapshot.rsplit("/", 1)[-1]
        roots: dict[str, dict[str, str | None]] = {}
        _stage(context, vault, session, plan.partitions)
        for part in plan.partitions:
            session.add_stats(part.partition, **source.files(part.partition).stats)
            staged = session.staged(part.partition).root
            roots[part.partition] = {part.source: part.source_root, above: part.root, here: staged}
        equal = same_version(roots)
        proven = all(verdict.passed for verdict in equal.values())
        for partition, verdict in equal.items():
            verdicts.add(partition, verdict)
            if audit is not None and proven:
                with _staged_data(ledger, session, partition) as data:
                    files, known = list(data.values()), task.restored.get(partition, NOTHING)
                    sound = [data[entry.key] for entry in known.files.values() if known.sound and entry.key in data]
                    verdicts.add(partition, *audit(partition, files, sound))
                    if closing is not None and verdicts.is_open(partition):
                        verdicts.add(partition, *closing.judge(session, partition, files))
        meter.read = meter.written = plan.bytes
        facts: dict[str, JsonValue] = {
            "rto_seconds": round(time.perf_counter() - begun, 6),
            "predicted_seconds": plan.predicted_seconds,
            "bytes": plan.bytes,
            "objects": plan.objects,
            "drill_id": session.id,
            "vault": vault.identity(),
            "snapshots": [*sorted({part.snapshot.snapshot_id for part in plan.partitions})],
        }
        if task.restored:
            # of partitions that still grow; each of these files has a receipt before this one that tells of its copying
            facts["restored_before"] = sum(len(part.standing) for part in plan.partitions)
        inputs = [InputRef(snapshot, source.version, source.roots([part.partition for part in plan.partitions]))]
        report = session.commit(
            verdicts,
            inputs=inputs,
            parameters=parameters,
            cost=meter.cost(),
            facts=facts,
            overrides=[*context.overrides, *(closing.released(session, verdicts) if closing else ())],
        )
        return report if closing is None else closing.without_held(ledger, report, session)


def _stage(context: RunContext, vault: Vault, session: Session, parts: Sequence[PartitionPlan]) -> None:
    """Write the files of some partitions, each hashed on the way, and add them to the session."""
    files = [(file, session.key(part.partition, file.path)) for part in parts for file in part.lacking]
    spread, lake = vault.spread, context.ledger.lake
    if spread is not None and spread.takes_copies(sum(file.size for file, _ in files), lake):
        packed = dict(zip((key for _, key in files), spread.copy_out(vault, lake, files, context.progress), strict=True))
    else:
        packed = {}
        for part in parts:
            packed |= _copied(context, vault, session, part)
    for part in parts:
        for standing in part.standing.values():
            session.add_entry(part.partition, standing)
        for file in part.lacking:
            key = session.key(part.partition, file.path)
            role = "landed" if file.role == "landed" else "data"
            entry = FileEntry(file.path, file.size, file.rows, file.sha256, key, "lake", role, packed[key])  # type: ignore[arg-type]
            session.add_entry(part.partition, entry)


def _copied(context: RunContext, vault: Vault, session: Session, part: PartitionPlan) -> dict[str, int]:
    """Write the files of a partition here; how long each lies compressed, 0 where it does not, by its key."""
    from orchestrai.restore.read_back import copy_out
    from orchestrai.vault.spread.copy_tasks import put_out

    lake = context.ledger.lake
    packed: dict[str, int] = {}

    def put(file: StoredFile, data: Iterable[bytes]) -> None:
        key = session.key(part.partition, file.path)
        packed[key] = put_out(lake, key, file, data, vault.clone)

    done = 0
    # a store on this disk writes each chunk at once; another may gather them
    reuse = lake.local_path(session.key(part.partition, "probe")) is not None
    for count in copy_out(vault, part.lacking, put, workers=vault.workers, reuse=reuse):
        done += count
        context.told(f"restore {part.partition}", done, len(part.lacking))
    return packed


@contextmanager
def _staged_data(ledger: Ledger, session: Session, partition: str) -> Iterator[dict[str, Path]]:
    """The data files as they lie in the lake now, verified, for who judges them before the commit; by their keys."""
    with ExitStack() as stack:
        entries = [entry for entry in session.staged(partition).files if entry.role == "data"]
        remedy = "it was altered since it was written, nothing was published; restore it again"
        yield {entry.key: stack.enter_context(verified(ledger, entry, remedy)).path for entry in entries}


# -- the stage ---------------------------------------------------------------------------------------------------


def _run(context: RunContext, node: AssetNode[LandedDataset], partitions: Sequence[str]) -> StageReport:
    from orchestrai.stage.recorded_bytes import with_standing

    dataset, ledger = node.subject, context.ledger
    upstream = dataset.asset("snapshot")
    ready, missing = published(ledger, upstream, dataset, partitions)
    if not ready:
        return settle(StageReport(node.asset, None, missing), dataset, partitions)
    current, parameters = ledger.find(node.asset), judged_by(ledger, dataset.contract)
    standing = [] if context.again else _restored_already(context, node, ready, parameters)
    todo = [key for key in ready if key not in {outcome.partition for outcome in standing}]
    if todo:
        vault = context.port(Vault)
        growing = GrowingPartitions(context, dataset, PRODUCER, parameters).standing(current, vault, todo)

        def attempt(restored: Mapping[str, RestoredFiles]) -> StageReport:
            # both that judge remember what they accepted, so each attempt has its own
            closing, audit = ClosedPartitions.of(dataset, current, context.now()), _audit(context, node)
            return restore(context, vault, RestoreTask(upstream, node.asset, todo, restored), audit, parameters, closing)

        try:
            report = attempt(growing)
        except (DigestMismatch, MissingObject):
            if not growing:
                raise
            # what stood is not what was restored, or the vault lacks a byte: a whole restore mends the one and tells the other
            report = attempt({})
    else:
        report = StageReport(node.asset, None, ())
    report = with_standing(report, current, standing)
    return settle(with_outcomes(report, missing), dataset, partitions)


def _restored_already(
    context: RunContext, node: AssetNode[LandedDataset], ready: Sequence[str], parameters: Mapping[str, JsonValue]
) -> list[PartitionOutcome]:
    """The partitions that are restored from what the snapshot holds of them now, as published: the same root under the same contract
    and code, judged when the partition was over, and every byte of it still here.

    What batches feed is judged anew, since its own rules say when it is over. A run that is a proof restores all of it again.
    """
    from orchestrai.ledger.quarantine import closed_gates
    from orchestrai.stage.recorded_bytes import as_published, intact

    dataset, ledger = node.subject, context.ledger
    current, snapshot = ledger.find(node.asset), ledger.find(dataset.asset("snapshot"))
    if current is None or snapshot is None or context.overrides or dataset.positioned or node.grain == "all":
        return []
    held = closed_gates(ledger, node.asset, current)
    same = [
        key
        for key in ready
        if key not in held and key in current.partitions and current.partitions[key].root == snapshot.partitions[key].root
    ]
    return [as_published(current, key) for key in same if _made_so(current, key, node, parameters) and intact(current, key)]


def _made_so(current: Dataset, key: str, node: AssetNode[LandedDataset], parameters: Mapping[str, JsonValue]) -> bool:
    from orchestrai.stage.recorded_bytes import made_when_over

    receipt = made_when_over(current, key, node.grain, PRODUCER.code)
    return receipt is not None and dict(receipt.parameters) == dict(parameters)


def _audit(context: RunContext, node: AssetNode[LandedDataset]) -> Judge:
    from orchestrai.ingest.coverage_audit import coverage_finding

    dataset = node.subject
    raw = context.ledger.find(dataset.asset("raw_events"))
    history = Overlay[int](raw.partitions if raw else None, attrgetter("rows"))
    restored, before = context.ledger.find(node.asset), Audit()

    def audit(partition: str, files: list[Path], sound: list[Path]) -> Sequence[Verdict]:
        contract, grain, now = dataset.contract, node.grain, context.now()
        verdicts = check_partition(contract, files, partition=partition, grain=grain, history=history, now=now, sound=sound)
        before.combine(partition, *verdicts, *coverage_finding(verdicts, contract, partition, grain, now, restored, before))
        return before[partition]

    return audit


def _stale(context: RunContext, node: AssetNode[LandedDataset], above: Places) -> tuple[StalePartition, ...]:
    """Restored partitions of which the raw events have another version: not backed up and restored yet."""
    restored, source = context.ledger.find(node.asset), node.subject.asset("raw_events")
    raw = context.ledger.find(source)
    if restored is None or raw is None or restored.version == raw.version:
        return ()
    mine, landed = restored.roots_unlike(raw)
    causes = {
        key: difference({source: {key: root}}, {source: {key: landed[key]}})
        for key, root in sorted(mine.items())
        if key in landed
    }
    return tuple(StalePartition(node.asset, key, why) for key, why in causes.items() if why)


def _grain(dataset: LandedDataset) -> Grain:
    return dataset.grain


RESTORED = Stage(
    "restored",
    ("dataset",),
    "Files written from vault bytes only, every hash checked on the way. Its version equals the snapshot's; "
    "everything downstream reads this and nothing else.",
    frozenset({"parquet"}),
    PRODUCER,
    _run,
    deps=lambda dataset: (dataset.asset("snapshot"),),
    checks=lambda dataset: (VERSION_CHECK, *check_names(dataset.contract), *closing_check(dataset)),
    grain=_grain,
    gate=True,
    verbatim=True,
    stale=_stale,
    proven=True,
    tried=True,
)
