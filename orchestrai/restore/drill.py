"""Drills: restore to scratch, prove every byte, measure how long it took and how much would be lost."""

import hashlib
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from orchestrai.core.canonical import JsonValue
from orchestrai.core.time.duration_cron import format_duration
from orchestrai.core.verdict import Verdict
from orchestrai.errors import IntegrityError, RestoreError
from orchestrai.restore.read_back import copy_out
from orchestrai.storage.local import LocalStore
from orchestrai.vault.format.lists import StoredFile, partition_root
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.spec import BackupSpec
from orchestrai.vault.vault import Vault


@dataclass(frozen=True)
class RestoredPartition:
    """A partition as a drill restored it: where its files lie, and what the snapshot says of them."""

    folder: Path
    files: Sequence[StoredFile]


# looks into what was restored and returns what is wrong with it, or ""; `chosen` is "latest" or "random"
Prove = Callable[[Mapping[str, RestoredPartition], str], str]


@dataclass(frozen=True)
class DrillRun:
    """One snapshot restored whole to scratch; `problem` is empty when every byte and row was proven."""

    snapshot_id: str
    seq: int
    chosen: str
    bytes: int
    files: int
    rows: int
    seconds: float
    problem: str = ""

    def as_json(self) -> dict[str, JsonValue]:
        """The form shown to people and programs."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True)
class DrillReport:
    """What a drill found; RTO is the slowest run's, RPO the age of the newest snapshot (0 when nothing came since)."""

    drill_id: str
    dataset: str
    started: datetime
    runs: tuple[DrillRun, ...]
    rto_seconds: float
    rpo_seconds: float
    verdicts: tuple[Verdict, ...]

    @property
    def passed(self) -> bool:
        """True when all was proven within the declared targets."""
        return all(verdict.passed for verdict in self.verdicts)

    def exposed(self, landed: Verdict | None) -> "DrillReport":
        """The same with what landed and is in no snapshot, where that is worse than what the snapshots themselves tell."""
        seconds = None if landed is None else landed.details.get("rpo_seconds")
        if landed is None or (landed.passed and (not isinstance(seconds, int | float) or seconds <= self.rpo_seconds)):
            return self
        known = float(seconds) if isinstance(seconds, int | float) else self.rpo_seconds
        own = next(verdict for verdict in self.verdicts if verdict.check == landed.check)
        passed = own.passed and landed.passed
        details = {**own.details, **landed.details, "seconds": max(known, self.rpo_seconds)}
        worst = Verdict(own.check, passed, landed.message, own.severity, details)
        verdicts = tuple(worst if verdict is own else verdict for verdict in self.verdicts)
        return replace(self, rpo_seconds=max(known, self.rpo_seconds), verdicts=verdicts)

    def as_json(self) -> dict[str, JsonValue]:
        """The form shown to people and programs."""
        return {
            "drill_id": self.drill_id,
            "dataset": self.dataset,
            "started": self.started.isoformat(),
            "runs": [run.as_json() for run in self.runs],
            "rto_seconds": self.rto_seconds,
            "rpo_seconds": self.rpo_seconds,
            "passed": self.passed,
            "verdicts": [verdict.as_json() for verdict in self.verdicts],
        }


def drill(
    vault: Vault,
    *,
    dataset: str,
    spec: BackupSpec | None = None,
    current_version: str | None = None,
    seed: int | None = None,
    prove: Prove | None = None,
) -> DrillReport:
    """Restore the latest and a random snapshot of `dataset` to a scratch folder, prove them, and remove them again.

    Bytes, rows and roots are compared with what the commit says; `prove` opens the restored files as their users would.
    `current_version` is the version now published: when the newest snapshot has it, nothing would be lost and RPO is 0.
    A damaged snapshot gives a failed verdict, not an error; raises RestoreError when there is no snapshot at all.
    """
    spec = spec or BackupSpec()
    drill_id = vault.new_id()
    started = vault.clock().astimezone(UTC)
    snapshots = vault.snapshots(dataset)
    if not snapshots:
        raise RestoreError(f"expected a snapshot of {dataset} to drill, found none: take one first", dataset=dataset)
    older = snapshots[:-1] or snapshots
    chosen = {"latest": snapshots[-1], "random": random.Random(drill_id if seed is None else seed).choice(older)}
    runs = []
    for why, commit in chosen.items():
        if why == "latest" or commit.seq != snapshots[-1].seq:
            with tempfile.TemporaryDirectory(prefix="orchestrai-drill-") as folder:
                runs.append(_run(vault, commit, why, Path(folder), prove))
    rto = max(run.seconds for run in runs)
    rpo = 0.0 if snapshots[-1].version == current_version else (vault.store_time() - snapshots[-1].committed).total_seconds()
    return DrillReport(
        drill_id, dataset, started, tuple(runs), rto, max(0.0, rpo), _verdicts(spec, runs, rto, max(0.0, rpo))
    )


def _run(vault: Vault, commit: SnapshotCommit, why: str, folder: Path, prove: Prove | None) -> DrillRun:
    target = LocalStore(folder)
    restored: dict[str, RestoredPartition] = {}
    begun = time.perf_counter()
    size = files = rows = 0
    problem = ""
    try:
        for partition, entry in sorted(vault.partitions(commit).items()):
            listing = vault.catalog.files(entry)
            prefix = hashlib.sha256(partition.encode()).hexdigest()[:16]

            def put(file: StoredFile, data: Iterable[bytes], prefix: str = prefix) -> None:
                target.write(f"{prefix}/{file.path}", data)

            files += sum(copy_out(vault, listing, put, workers=vault.workers, reuse=True))
            if partition_root(listing) != entry.root:
                raise IntegrityError(f"expected {partition} to give {entry.root}, found another root: verify the vault")
            restored[partition] = RestoredPartition(folder / prefix, listing)
            size += sum(file.size for file in listing)
            rows += sum(file.rows for file in listing if file.role == "data")
        target.sync()
        if (files, rows, size) != (commit.files, commit.rows, commit.size):
            problem = (
                f"expected {commit.files} files, {commit.rows} rows, {commit.size} bytes, found {files}, {rows}, {size}"
            )
        elif prove is not None:
            problem = prove(restored, why)
    except (IntegrityError, RestoreError) as exc:
        problem = exc.message
    seconds = round(time.perf_counter() - begun, 6)
    return DrillRun(commit.snapshot_id, commit.seq, why, size, files, rows, seconds, problem)


def _verdicts(spec: BackupSpec, runs: Iterable[DrillRun], rto: float, rpo: float) -> tuple[Verdict, ...]:
    problems = [f"{run.chosen} snapshot {run.seq}: {run.problem}" for run in runs if run.problem]
    checks = [Verdict("proof", not problems, "; ".join(problems) or "every byte and row was proven")]
    for name, seconds, target in (("rto", rto, spec.rto), ("rpo", rpo, spec.rpo)):
        limit = target.total_seconds()
        message = f"{seconds:.1f} s measured, {format_duration(target)} declared"
        checks.append(Verdict(name, seconds <= limit, message, "warn", {"seconds": seconds, "target_seconds": limit}))
    return tuple(checks)
