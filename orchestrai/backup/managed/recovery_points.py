"""Recovery points of AWS Backup as assets: found running or made, copied, tested, published.

Whoever comes second while a job is under way adopts it: the service is asked before anything is started, and the idempotency token
covers what is started twice within one hour.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from orchestrai.backup.managed.aws_backup import AwsBackup, BackupTarget, RecoveryPoint, RestoreTest, Validation, names
from orchestrai.core.canonical import JsonValue
from orchestrai.core.code_identity import Producer
from orchestrai.core.verdict import Verdict
from orchestrai.errors import StorageError
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import canonical_json
from orchestrai.ledger.report import StageReport

RUNNING = ("CREATED", "PENDING", "RUNNING")
POINT = Producer("recovery_point", __name__)
TEST = Producer("restore_test", __name__)


@dataclass(frozen=True)
class ManagedBackup:
    """A recovery point and its copy; `adopted` names the kinds of job that were found rather than started."""

    point: RecoveryPoint
    copied: RecoveryPoint | None = None
    adopted: tuple[str, ...] = ()
    fault: str = ""


def make_point(service: AwsBackup, target: BackupTarget) -> ManagedBackup:
    """Wait for the resource's running backup job, or start one. Raises StorageError."""
    job = running_backup(service, target)
    point = service.finish(target, job or service.start(target, _hour(service)))
    return ManagedBackup(point, adopted=("backup",) if job else ())


def copy_point(
    service: AwsBackup, target: BackupTarget, made: ManagedBackup, destination: Callable[[], AwsBackup]
) -> ManagedBackup:
    """Wait for the running or finished copy job of a recovery point, or start one.

    A copy that failed for good leaves the recovery point, with the copy's fault. One that is still under way raises
    TransientStorageError, and the next call takes it up.
    """
    jobs = service.jobs(
        "list_copy_jobs", "CopyJobs", BySourceRecoveryPointArn=made.point.arn, ByDestinationVaultArn=target.copy_to
    )
    job = _newest([entry for entry in jobs if entry.get("State") in (*RUNNING, "COMPLETED")], "CopyJobId")
    adopted = (*made.adopted, "copy") if job else made.adopted
    try:
        # a try after a failed one is another request, also within the hour
        copied = service.copy(target, made.point, destination(), f"{_hour(service)}/{len(jobs)}", job=job)
    except StorageError as exc:
        if exc.retryable:
            raise
        return replace(made, adopted=adopted, fault=exc.message)
    return replace(made, copied=copied, adopted=adopted)


def running_backup(service: AwsBackup, target: BackupTarget) -> str:
    """The newest backup job of a resource that is under way, or ""."""
    jobs = service.jobs("list_backup_jobs", "BackupJobs", ByResourceArn=target.resource, ByBackupVaultName=target.vault)
    return _newest([job for job in jobs if job.get("State") in RUNNING], "BackupJobId")


def _hour(service: AwsBackup) -> str:
    return f"{service.clock().astimezone(UTC):%Y-%m-%dT%H}"


def restores_of(service: AwsBackup, point: RecoveryPoint) -> list[Mapping[str, Any]]:
    """The restore jobs of a recovery point."""
    jobs = service.jobs("list_restore_jobs_by_protected_resource", "RestoreJobs", ResourceArn=point.resource)
    return [job for job in jobs if job.get("RecoveryPointArn") == point.arn]


def unseen_restore(mine: list[Mapping[str, Any]], metadata: Mapping[str, str]) -> str:
    """The newest of a recovery point's restore jobs that runs, or that ended while nobody looked, or "".

    One that ended is a test's when `metadata` names what it created and nobody has told the service of a finding: whatever else was
    restored from the point is somebody's own.
    """
    left = [
        job
        for job in mine
        if job.get("Status") == "COMPLETED"
        and not job.get("ValidationStatus")
        and job.get("DeletionStatus") is None
        and names(str(job.get("CreatedResourceArn", ":::::")), metadata)
    ]
    return _newest(left + [job for job in mine if job.get("Status") in RUNNING], "RestoreJobId")


def _newest(jobs: list[Mapping[str, Any]], name: str) -> str:
    return str(max(jobs, key=lambda job: job["CreationDate"])[name]) if jobs else ""


def try_point(
    service: AwsBackup, target: BackupTarget, point: RecoveryPoint, metadata: Mapping[str, str], validate: Validation
) -> RestoreTest:
    """Restore a recovery point to a new resource and look at it; a restore of it that nobody has looked at is taken up."""
    mine = restores_of(service, point)
    # a test after one that ended is another request, also within the hour
    token = f"{_hour(service)}/{len(mine)}"
    return service.test_restore(target, point, metadata, validate, token, job=unseen_restore(mine, metadata))


def publish_backup(ledger: Ledger, *, asset: str, target: BackupTarget, done: ManagedBackup, now: datetime) -> StageReport:
    """Publish a recovery point and its copy as a partition named by its time; points that the service has deleted by now go.

    The record is published also when the copy is missing: the recovery point exists. The check `copy` then fails, as a warning.
    """
    session = ledger.session(asset, POINT)
    partition = f"{done.point.created:%Y-%m-%d-%H%M%S}"
    record: dict[str, JsonValue] = {"recovery_point": done.point.as_json()}
    record |= {"copy": done.copied.as_json()} if done.copied else {}
    session.add_bytes(partition, "recovery_point.json", canonical_json(record), rows=1)
    session.add_stats(partition, engine="aws_backup", **record)
    message = f"{done.point.arn} in {done.point.vault}, {done.point.size} bytes"
    verdicts = [Verdict("recovery_point", True, message)]
    if target.copy_to:
        copy_message = (
            done.copied.arn if done.copied else f"expected a copy in {target.copy_to}, found none: {done.fault or 'copy it'}"
        )
        verdicts.append(Verdict("copy", done.copied is not None, copy_message, "warn"))
    current = ledger.dataset(session.fence) if session.fence else None
    known = points_of(current)
    gone = [key for key, point in known.items() if key != partition and point.delete_at and point.delete_at < now]
    points = len({*known, partition}) - len(gone)
    facts: dict[str, JsonValue] = {**record, "adopted": [*done.adopted], "points": points}
    return session.commit({partition: verdicts}, facts=facts, drop=gone)


def publish_test(
    ledger: Ledger, *, asset: str, partition: str, point: RecoveryPoint, tested: RestoreTest, left: str = ""
) -> StageReport:
    """Publish a restore test; `left` says why the restored resource is still there. Failed checks are warnings: it was tried."""
    session = ledger.session(asset, TEST)
    record: dict[str, JsonValue] = {"restore_test": tested.as_json(), "recovery_point": point.as_json()}
    session.add_bytes(partition, "restore_test.json", canonical_json(record), rows=1)
    verdicts = [
        Verdict(
            "restore_test",
            not tested.fault,
            tested.fault or f"restored as {tested.created} in {tested.seconds:.0f} s",
            "warn",
        ),
        Verdict("cleanup", not left, left or "removed again", "warn"),
    ]
    return session.commit({partition: verdicts}, facts={**record, "rto_seconds": round(tested.seconds, 3)})


def points_of(dataset: Dataset | None) -> dict[str, RecoveryPoint]:
    """The recovery points that are published, by partition, oldest first."""
    points = {}
    for key in sorted(dataset.partitions) if dataset else ():
        body = dataset.files(key).stats["recovery_point"] if dataset else {}
        times = {n: datetime.fromisoformat(body[n]) if body[n] else None for n in ("created", "completed", "delete_at")}
        points[key] = RecoveryPoint(**{**body, **times})
    return points


def uncopied(dataset: Dataset | None, since: datetime) -> RecoveryPoint | None:
    """The newest published recovery point, where it was made after `since` and its copy is still to come."""
    points = points_of(dataset)
    newest = max(points, default=None)
    if dataset is None or newest is None or "copy" in dataset.files(newest).stats or points[newest].created < since:
        return None
    return points[newest]
