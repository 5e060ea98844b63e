"""RPO as it is: how old the oldest landed object or record is that no counted snapshot protects, whatever the schedules did.

Protected is what a receipt names of a partition that the newest counted snapshot holds with the very root it has now. All else would be
lost with the lake: what no run has taken, what is refused or held, what was ingested and not yet snapshotted. It landed when its store
says, or when it was first seen here, whichever is older.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from orchestrai.core.canonical import JsonValue
from orchestrai.core.time.duration_cron import format_duration
from orchestrai.core.verdict import CheckInfo, Verdict
from orchestrai.errors import IntegrityError, OrchestraiError
from orchestrai.ingest.discovery.reconciliation import Reconciliation, reconcile
from orchestrai.ingest.incremental import pending
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.receipt import Material
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.reports.landing_status import judge_of
from orchestrai.pipeline.runtime import Runtime
from orchestrai.vault.protection import is_sealed

RPO = "rpo"
INFO = CheckInfo(RPO, False, "Nothing landed longer ago than the declared RPO without a counted snapshot that protects it.")


@dataclass(frozen=True, slots=True)
class Unprotected:
    """Something that would be lost: what it is, since when it lies there, and why no snapshot protects it."""

    name: str
    since: datetime
    why: str


@dataclass(frozen=True, slots=True)
class RecoveryPoint:
    """How much of a dataset would be lost now: the oldest of what nothing protects, and how many there are.

    `problem` is what could not be asked, `error` what was raised then; then nothing counts as protected. `landed` is false while there
    never was anything to lose.
    """

    dataset: str
    declared: timedelta
    now: datetime
    oldest: Unprotected | None = None
    count: int = 0
    landed: bool = True
    problem: str = ""
    error: OrchestraiError | None = None

    @property
    def age(self) -> timedelta:
        """How long the oldest has been without protection; nothing where all is protected."""
        return max(self.now - self.oldest.since, timedelta()) if self.oldest else timedelta()

    @property
    def exposed_until(self) -> datetime | None:
        """When the oldest will be older than declared; None where nothing is exposed, or that is so already."""
        if self.oldest is None or self.problem or not self.passed:
            return None
        return self.oldest.since + self.declared

    @property
    def passed(self) -> bool:
        """Whether no more than declared would be lost, as far as could be asked."""
        return not self.problem and self.age <= self.declared

    @property
    def message(self) -> str:
        """What would be lost, in words."""
        declared = format_duration(self.declared)
        if self.problem:
            return f"expected to ask what is protected, found it impossible, so that nothing counts: {self.problem}"
        if not self.landed:
            return "nothing landed yet: there is nothing to lose"
        if self.oldest is None:
            return f"all that landed is in a counted snapshot; {declared} declared"
        age = format_duration(timedelta(seconds=int(self.age.total_seconds())))
        return (
            f"{self.count} landed without a counted snapshot, the oldest {self.oldest.name} for {age} ({self.oldest.why}); "
            f"{declared} declared"
        )

    @property
    def verdict(self) -> Verdict:
        """The check `rpo`."""
        return Verdict(RPO, self.passed, self.message, "warn", self.as_json())

    def as_json(self) -> dict[str, JsonValue]:
        """For `--json` and the details of a verdict."""
        oldest: JsonValue = None
        if self.oldest is not None:
            oldest = {"name": self.oldest.name, "since": self.oldest.since.isoformat(), "why": self.oldest.why}
        return {
            "rpo_seconds": None if self.problem else self.age.total_seconds(),
            "rpo_target_seconds": self.declared.total_seconds(),
            "rpo_passed": self.passed,
            "rpo": self.message,
            "unprotected": self.count,
            "oldest_unprotected": oldest,
        }


def recovery_point(runtime: Runtime, dataset: DatasetNode, whole: Reconciliation | None = None) -> RecoveryPoint:
    """Look at what of a dataset would be lost now; raises nothing for a store that does not answer, which protects nothing.

    `whole` is a look at its landing that was taken anyway. Costs that look, the newest snapshot's list, and the receipts of partitions
    that it does not hold as they are.
    """
    declared, now = dataset.spec.backup.rpo, runtime.clock()
    try:
        raw = runtime.ledger.find(dataset.asset("raw_events"))
        exposed = [*_ingested(runtime, dataset, raw)]
        waiting, landed = _landed(runtime, dataset, raw, whole)
    except OrchestraiError as exc:
        return RecoveryPoint(dataset.prefix, declared, now, problem=exc.message, error=exc)
    oldest = min([*exposed, *(one for one, _ in waiting)], key=lambda one: (one.since, one.name), default=None)
    count = len(exposed) + sum(number for _, number in waiting)
    return RecoveryPoint(dataset.prefix, declared, now, oldest, count, landed or raw is not None)


def _ingested(runtime: Runtime, dataset: DatasetNode, raw: Dataset | None) -> Iterator[Unprotected]:
    """What is in the raw events and in no counted snapshot as it is now."""
    roots = _kept_roots(runtime, dataset) if raw is not None else {}
    for key, entry in sorted(raw.partitions.items()) if raw is not None else ():
        if roots.get(key) == entry.root:
            continue
        receipt = runtime.ledger.receipt(entry.receipt)
        before = _protected_before(runtime, dataset, key, roots.get(key))
        materials = [m for m in receipt.materials if m.partition in ("", key)]
        left = [m for m in materials if (m.uri, m.etag) not in before]
        for material in left or materials:
            why = f"ingested as {key}, in no counted snapshot"
            yield Unprotected(material.uri, landed_at(material, receipt.finished), why)


def _kept_roots(runtime: Runtime, dataset: DatasetNode) -> dict[str, str]:
    """The roots of the newest snapshot that counts; none where there is no vault yet. Raises StorageError, IntegrityError."""
    store = runtime.ledger.vault
    if store is None or is_sealed(store, runtime.ledger.keyring) is None:
        return {}
    vault = runtime.vault
    commits = vault.catalog.recent(dataset.kept_as, 1)
    return {key: entry.root for key, entry in vault.partitions(commits[-1]).items()} if commits else {}


def _protected_before(runtime: Runtime, dataset: DatasetNode, key: str, root: str | None) -> set[tuple[str, str]]:
    """The objects of a partition that the snapshot holds with an earlier root of it; none where that is not known."""
    kept = runtime.ledger.find(dataset.asset("snapshot")) if root is not None else None
    if kept is None or key not in kept.partitions or kept.partitions[key].root != root:
        return set()
    try:
        source = runtime.ledger.receipt(kept.partitions[key].receipt).inputs[0]
        before = runtime.ledger.open(source.asset, source.version).receipt(key)
    except (IntegrityError, LookupError):
        return set()
    return {(m.uri, m.etag) for m in before.materials if m.partition in ("", key)}


def landed_at(material: Material, noted: str = "") -> datetime:
    """When an object landed, by its store or by when it was first seen, whichever is older; `noted` where neither is told."""
    told = [datetime.fromisoformat(text) for text in (material.modified, material.arrived) if text]
    moments = [moment if moment.tzinfo else moment.replace(tzinfo=UTC) for moment in told]
    return min(moments) if moments else datetime.fromisoformat(noted)


def _landed(
    runtime: Runtime, dataset: DatasetNode, raw: Dataset | None, whole: Reconciliation | None
) -> tuple[list[tuple[Unprotected, int]], bool]:
    """What lies in the source and in no raw events, the oldest of it with how many there are; whether anything lies there at all."""
    source = dataset.spec.source
    if source.kind == "objects":
        whole = whole or reconcile(judge_of(runtime, dataset))
        oldest = whole.oldest
        waits = [(Unprotected(oldest.key, oldest.modified, "no run has taken it, or its partition is refused or held"),
                  whole.counts["waiting"])] if oldest is not None else []  # fmt: skip
        return waits, whole.listed > 0
    if source.kind == "stream":
        ahead = pending(
            runtime.ledger,
            asset=dataset.asset("raw_events"),
            source=source,
            home=runtime.settings.home,
            contract=dataset.contract,
            grain=dataset.grain,
        )
        if ahead is None:
            return [], False
        return [(Unprotected(source.address, ahead.oldest, "records that no run has read"), ahead.lag)], True
    # a table and an API tell no time of what came since they were read last: all of it may be as old as that
    if raw is None:
        return [], False
    read = datetime.fromisoformat(runtime.ledger.receipt(raw.head.receipt).finished)
    return [(Unprotected(source.address, read, "rows may have come since it was read last"), 1)], True
