"""raw events -> snapshot: receipted partitions, and whatever else is to be kept, go into the vault; the ledger publishes that they
are there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrai.core.canonical import JsonValue
from orchestrai.core.code_identity import Producer
from orchestrai.core.progress import Progress
from orchestrai.core.time.calendar import Grain
from orchestrai.core.verdict import Audit, CheckInfo, Verdict, gate_open
from orchestrai.errors import KeyRefused, RetentionLocked
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import FileEntry, dataset_version
from orchestrai.ledger.receipt import InputRef
from orchestrai.ledger.report import Meter, StageReport
from orchestrai.ledger.session import Session
from orchestrai.stage.context import RunContext
from orchestrai.stage.contract_record import handed_on
from orchestrai.stage.outcomes import published, settle, with_outcomes
from orchestrai.stage.stage import AssetNode, Stage
from orchestrai.vault.change.unusual_change import INFO as UNUSUAL_CHANGE
from orchestrai.vault.change.unusual_change import change_verdict
from orchestrai.vault.commit.source import SourceFile
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.ports import BackedUpDataset
from orchestrai.vault.vault import Vault

PRODUCER = Producer("snapshot", __name__)
VERSION_CHECK = CheckInfo("same_version", True, "The version equals that of the stage before, byte for byte.")


@dataclass(frozen=True)
class SnapshotTask:
    """Partitions of a published `source` to back up as `asset`; those in `drop` are left out of it from now on.

    With `alarm` the check `unusual_change` says whether a snapshot of it is unlike those before.
    """

    source: str
    asset: str
    partitions: Sequence[str]
    drop: Sequence[str] = ()
    tags: Sequence[str] = ()
    facts: Mapping[str, JsonValue] | None = None
    producer: Producer = PRODUCER
    version: str | None = None
    alarm: bool = False


@dataclass(frozen=True)
class KeepTask:
    """Contents of any kind to keep as the whole of `dataset` and to publish as `asset`, with what was judged of them.

    `only_changes` is for what the ledger has the times of: no commit needs to say that it was so at this one.
    """

    dataset: str
    asset: str
    producer: Producer
    contents: Mapping[str, Sequence[SourceFile]]
    verdicts: Mapping[str, Sequence[Verdict]] = field(default_factory=dict)
    inputs: Sequence[InputRef] = ()
    facts: Mapping[str, JsonValue] = field(default_factory=dict)
    only_changes: bool = False


def snapshot(context: RunContext, vault: Vault, task: SnapshotTask) -> StageReport:
    """Back up receipted partitions of `source` and publish `asset`, whose version is equal by construction.

    Partitions in `drop` are left out of the new snapshot and of `asset`. Content the vault holds is not read again. With a `version`
    of `source` it is that one, and `asset` as a whole must then have it. What was staged is judged by `same_version` before the
    ledger's commit: where a root differs nothing is published, and the vault's commit, which no receipt names, is forgotten again.
    Raises NotReceipted, DigestMismatch, SessionExpired; then nothing is published.
    """
    from orchestrai.contracts.same_version import same_version
    from orchestrai.vault.commit.published_files import sources_of

    ledger, source, drop = context.ledger, task.source, task.drop
    with Meter() as meter:
        session = ledger.session(task.asset, task.producer)
        dataset = ledger.open(source, task.version)
        manifests = {partition: dataset.files(partition) for partition in sorted(set(task.partitions))}
        inputs = InputRef(source, dataset.version, dataset.roots(sorted(manifests)))
        commit = vault.commit(
            source,
            {partition: sources_of(ledger, manifest) for partition, manifest in manifests.items()},
            drop=drop,
            tags=task.tags,
            source={"asset": source, "version": dataset.version},
            facts=task.facts,
            after=_known_commit(session, vault, source),
            progress=context.progress,
        )
        listed = vault.partitions(commit)
        for partition, manifest in manifests.items():
            for file in vault.files(commit, partition):
                session.add_entry(partition, _entry(file))
            session.add_stats(partition, **manifest.stats)
        roots: dict[str, dict[str, str | None]] = {}
        above, here = (name.rsplit("/", 1)[-1] for name in (source, task.asset))
        for partition, manifest in manifests.items():
            staged, vault_root = session.staged(partition).root, listed[partition].root
            roots[partition] = {
                above: manifest.root,
                here: staged,
                **({} if vault_root == staged else {"vault": vault_root}),
            }
        whole = {above: dataset.version, here: _version_after(ledger, session, [*manifests], drop)} if task.version else {}
        audit = Audit.of({key: [verdict] for key, verdict in same_version(roots, whole).items()})
        if task.alarm:
            change = change_verdict(vault, source, commit.seq)
            for key in manifests:
                audit.add(key, change)
        meter.read = meter.written = commit.new_bytes
        if audit.closed:
            # what was to be dropped stays too: nothing of this run is published
            disowned = _disowned(ledger, vault, task.asset, commit)
            return session.commit(audit, inputs=[inputs], cost=meter.cost(), facts=disowned)
        return session.commit(
            audit,
            inputs=[inputs],
            parameters=handed_on(dataset, [*manifests]),
            cost=meter.cost(),
            facts={**_facts(vault, commit), **dict(task.facts or {})},
            drop=[key for key in drop if session.fence and key in ledger.dataset(session.fence).partitions],
        )


def _version_after(ledger: Ledger, session: Session, staged: Sequence[str], drop: Sequence[str]) -> str:
    """The version that the asset has once what is staged is published."""
    before = ledger.dataset(session.fence).roots() if session.fence else {}
    after = {key: root for key, root in before.items() if key not in drop}
    return dataset_version(after | {key: session.staged(key).root for key in staged})


def _disowned(ledger: Ledger, vault: Vault, asset: str, commit: SnapshotCommit) -> dict[str, JsonValue]:
    """Forget a commit that was refused publication, unless a receipt names it; what was done, as facts.

    A snapshot is what a receipt names. One that none names is found by nobody but the vault's next writer, who would build on it,
    and the tombstone keeps that from happening; under a legal hold it stays, and is said to.
    """
    facts: dict[str, JsonValue] = {"refused_snapshot": commit.snapshot_id, "forgotten": False}
    named = {ledger.receipt(head.receipt).facts.get("snapshot_id") for head in ledger.history(asset)}
    if commit.snapshot_id in named:
        return facts
    try:
        vault.forget_record(commit.dataset, commit.seq, reason=f"{asset} was refused: its root is not what it was made from")
    except (RetentionLocked, KeyRefused) as exc:
        return facts | {"kept_because": exc.message}
    return facts | {"forgotten": True}


def keep(context: RunContext, vault: Vault, task: KeepTask) -> StageReport:
    """Commit files of any kind as the whole of `dataset`, and publish `asset` over the vault's own bytes.

    For what has no receipts of its own, such as a database's dump; partitions that are not in the contents are dropped. Each call is a
    commit, tagged with the stage of its producer, also when nothing changed, unless the task wants only changes: it says that the source
    was so at that time. Content the vault holds is not read again, and what the verdicts refuse never reaches the vault. Raises as
    `snapshot`.
    """
    ledger, contents = context.ledger, task.contents
    with Meter() as meter:
        session = ledger.session(task.asset, task.producer)
        if not all(map(gate_open, task.verdicts.values())):
            return session.commit(task.verdicts, inputs=task.inputs, cost=meter.cost(), facts=task.facts)
        after = _known_commit(session, vault, task.dataset)
        before = vault.catalog.recent(task.dataset, 1, after)
        gone = sorted({*(vault.partitions(before[-1]) if before else ())} - {*contents})
        tell = None if context.progress is None else _named(context.progress, f"store {task.dataset}")
        commit = vault.commit(
            task.dataset,
            contents,
            drop=gone,
            tags=[task.producer.stage],
            source={"asset": task.asset},
            after=after,
            only_changes=task.only_changes,
            progress=tell,
        )
        for partition in contents:
            for file in vault.files(commit, partition):
                session.add_entry(partition, _entry(file))
        there = ledger.dataset(session.fence).partitions if session.fence else {}
        meter.read = meter.written = commit.new_bytes
        return session.commit(
            task.verdicts,
            inputs=task.inputs,
            cost=meter.cost(),
            facts={**_facts(vault, commit), **dict(task.facts)},
            drop=[key for key in there if key not in contents],
        )


def _known_commit(session: Session, vault: Vault, dataset: str) -> int:
    """The number of the commit that the newest version of the asset came from; 0 where there is none in this vault."""
    facts = session.ledger.receipt(session.fence.receipt).facts if session.fence else {}
    seq = facts.get("snapshot_seq")
    here = (facts.get("dataset"), facts.get("vault")) == (dataset, vault.identity())
    return seq if here and isinstance(seq, int) else 0


def _named(progress: Progress, name: str) -> Progress:
    """One line of progress for all partitions."""
    return lambda _, done, total: progress(name, done, total)


def _entry(file: StoredFile) -> FileEntry:
    role = "landed" if file.role == "landed" else "data"
    return FileEntry(file.path, file.size, file.rows, file.sha256, file.key, "vault", role)  # type: ignore[arg-type]


def _facts(vault: Vault, commit: SnapshotCommit) -> dict[str, JsonValue]:
    return {
        "dataset": commit.dataset,
        "vault": vault.identity(),
        "snapshot_id": commit.snapshot_id,
        "snapshot_seq": commit.seq,
        "commit": commit.digest,
        "committed": commit.committed.isoformat(),
        "new_bytes": commit.new_bytes,
        "reused_bytes": commit.reused_bytes,
        "encrypted": commit.encrypted,
        "tags": list(commit.tags),
    }


# -- the stage ---------------------------------------------------------------------------------------------------


def _run(context: RunContext, node: AssetNode[BackedUpDataset], partitions: Sequence[str]) -> StageReport:
    from orchestrai.vault.dead_letter_copy import DEAD_LETTERS, keep_dead_letters
    from orchestrai.vault.protection import protect, protection_of, require_ready

    dataset = node.subject
    ready, missing = published(context.ledger, dataset.asset("raw_events"), dataset, partitions)
    letters = dataset.asset(DEAD_LETTERS)
    if not ready and context.ledger.find(letters) is None:
        return settle(StageReport(node.asset, None, missing), dataset, partitions)
    vault = context.port(Vault)
    wanted = protection_of(dataset.backup, context.settings)
    require_ready(vault, wanted, dataset.prefix)
    kept = keep_dead_letters(context.ledger, vault, letters, context.progress)
    if kept is not None:
        # the replica and the anchor are brought up to date once, after the events
        protect(vault, _facts(vault, kept), wanted if not ready else wanted.of_side_chain())
    if not ready:
        return settle(StageReport(node.asset, None, missing), dataset, partitions)
    report = snapshot(context, vault, SnapshotTask(dataset.asset("raw_events"), node.asset, ready, alarm=True))
    done = protect(vault, report.facts, wanted, progress=context.progress)
    told: dict[str, JsonValue] = {"dead_letters_snapshot": kept.snapshot_id} if kept is not None else {}
    report = replace(report, facts={**report.facts, **done, **told})
    return settle(with_outcomes(report, missing), dataset, partitions)


def _grain(dataset: BackedUpDataset) -> Grain:
    return dataset.grain


SNAPSHOT = Stage(
    "snapshot",
    ("dataset",),
    "The partition as committed to the vault: write-once, chained, signed. Its version equals the raw events'.",
    frozenset({"vault"}),
    PRODUCER,
    _run,
    deps=lambda dataset: (dataset.asset("raw_events"),),
    checks=lambda dataset: (VERSION_CHECK, UNUSUAL_CHANGE),
    grain=_grain,
    verbatim=True,
    tried=True,
)
