"""AWS Backup as a second engine, for what it alone can snapshot: RDS, EFS, DynamoDB and S3.

Start, wait, copy to another region, restore to a new resource and validate it. Every answer of the service is read back, every
wait has a limit, and what ended otherwise than completed is told with the job's own words. Recovery points become assets.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from orchestrai.core.canonical import JsonValue
from orchestrai.errors import ConfigError, OrchestraiError, RestoreError, StorageError
from orchestrai.storage.cloud.aws import aws_client
from orchestrai.storage.cloud.cloud_errors import Fault, aws_errors
from orchestrai.storage.cloud.job_wait import Clock, Phase, Waiting

SERVICES = {"rds": "RDS or Aurora", "elasticfilesystem": "EFS", "dynamodb": "DynamoDB", "s3": "S3"}
AIR_GAPPED = "LOGICALLY_AIR_GAPPED_BACKUP_VAULT"
ENDED = ("FAILED", "ABORTED", "ABORTING", "EXPIRED", "PARTIAL")
Validation = Callable[[str], str | None]


@dataclass(frozen=True)
class BackupTarget:
    """A resource and the AWS Backup vault its recovery points go to; `role` is assumed by the service.

    `delete_after_days` 0 keeps recovery points for ever. `copy_to` is the ARN of a vault in another region or account; with
    `air_gapped` that vault must be a logically air-gapped one.
    """

    resource: str
    vault: str
    role: str
    delete_after_days: int = 0
    copy_to: str = ""
    air_gapped: bool = False

    def __post_init__(self) -> None:
        parts = self.resource.split(":")
        if len(parts) < 6 or parts[0] != "arn" or parts[2] not in SERVICES:
            kinds = ", ".join(sorted(SERVICES.values()))
            raise ConfigError(f"expected the ARN of a resource of {kinds}, found {self.resource!r}: correct it")
        if parts[2] == "rds" and parts[5] not in ("db", "cluster"):
            raise ConfigError(
                f"expected the ARN of an instance (db) or a cluster of RDS, found {self.resource!r}: correct it"
            )
        if self.copy_to and (not self.copy_to.startswith("arn:") or ":backup-vault:" not in self.copy_to):
            raise ConfigError(f"expected the ARN of a backup vault to copy to, found {self.copy_to!r}: correct it")
        if self.air_gapped and not (self.copy_to and self.delete_after_days):
            raise ConfigError("expected copy_to and delete_after_days beside air_gapped, found one missing: add it")

    @property
    def copy_account(self) -> str:
        """The account of the vault to copy to, where it is another than the role's; else ""."""
        account = self.copy_to.split(":")[4] if self.copy_to else ""
        return account if account != self.role.split(":")[4] else ""

    @property
    def lifecycle(self) -> dict[str, int]:
        """The lifecycle as the service takes it."""
        return {"DeleteAfterDays": self.delete_after_days} if self.delete_after_days else {}


def backup_waiting(limit: timedelta = timedelta(hours=12), clock: Clock | None = None) -> Waiting:
    """How to wait for a job of AWS Backup: it is never stopped, and a look that fails says nothing of it."""
    return Waiting(
        limit,
        timedelta(seconds=5),
        "wait for it again, it is not started twice",
        clock or Clock(),
        after_failure="mend the cause and start it again",
        longest=timedelta(minutes=2),
        patient=True,
    )


@dataclass(frozen=True)
class RecoveryPoint:
    """A recovery point as the service describes it."""

    arn: str
    vault: str
    vault_arn: str
    resource: str
    resource_type: str
    size: int
    created: datetime
    completed: datetime
    encrypted: bool
    delete_at: datetime | None = None
    job: str = ""

    def as_json(self) -> dict[str, JsonValue]:
        """Facts for receipts."""
        facts: dict[str, JsonValue] = {}
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            facts[name] = value.isoformat() if isinstance(value, datetime) else value
        return facts


@dataclass(frozen=True)
class RestoreTest:
    """What a restore test gave; `fault` is empty when the restored resource passed its validation.

    `untold` says why the service was not told of the finding. `ours` is False for a restore that may be somebody else's.
    """

    job: str
    created: str
    seconds: float
    fault: str = ""
    untold: str = ""
    ours: bool = True

    def as_json(self) -> dict[str, JsonValue]:
        """Facts for receipts."""
        facts: dict[str, JsonValue] = {"job": self.job, "created": self.created, "seconds": round(self.seconds, 3)}
        return {**facts, "fault": self.fault, **({"untold": self.untold} if self.untold else {})}


@dataclass(frozen=True)
class AwsBackup:
    """The service in one region; `client` is boto3's `backup` client (`open_aws_backup` makes one)."""

    client: Any
    clock: Callable[[], datetime]
    waiting: Waiting = field(default_factory=backup_waiting)

    def start(self, target: BackupTarget, token: str) -> str:
        """Start a backup job and return its id; the same `token` gives the same job again."""
        answer = self._call(
            "start_backup_job",
            BackupVaultName=target.vault,
            ResourceArn=target.resource,
            IamRoleArn=target.role,
            IdempotencyToken=_token(token, target.resource, target.vault),
            **({"Lifecycle": target.lifecycle} if target.lifecycle else {}),
        )
        return str(answer["BackupJobId"])

    def finish(self, target: BackupTarget, job: str) -> RecoveryPoint:
        """Wait for a backup job; raises StorageError when it ends otherwise, TransientStorageError when the time is up."""
        description = self._wait("backup", job, lambda: self._call("describe_backup_job", BackupJobId=job), "State")
        return self.point(target.vault, str(description["RecoveryPointArn"]), target.resource, job)

    def copy(
        self, target: BackupTarget, point: RecoveryPoint, destination: "AwsBackup", token: str, *, job: str = ""
    ) -> RecoveryPoint:
        """Copy a recovery point to the vault `target.copy_to`, and read it back there; `destination` is that vault's region.

        With `job`, that copy job is waited for and none is started.
        """
        if target.air_gapped:
            destination.require_air_gap(target)
        if not job:
            answer = self._call(
                "start_copy_job",
                RecoveryPointArn=point.arn,
                SourceBackupVaultName=point.vault,
                DestinationBackupVaultArn=target.copy_to,
                IamRoleArn=target.role,
                IdempotencyToken=_token(token, point.arn, target.copy_to),
                **({"Lifecycle": target.lifecycle} if target.lifecycle else {}),
            )
            job = str(answer["CopyJobId"])
        description = self._wait("copy", job, lambda: self._call("describe_copy_job", CopyJobId=job)["CopyJob"], "State")
        vault, copied = target.copy_to.rpartition(":")[2], str(description["DestinationRecoveryPointArn"])
        return destination.point(vault, copied, target.resource, job, target.copy_account)

    def test_restore(
        self,
        target: BackupTarget,
        point: RecoveryPoint,
        metadata: Mapping[str, str],
        validate: Validation,
        token: str,
        *,
        job: str = "",
    ) -> RestoreTest:
        """Restore a recovery point to a new resource, let `validate` look at it and report its finding to the service.

        `metadata` overrides what the point's own restore metadata says (a new name, a private subnet). `validate` is given the
        created resource's ARN and returns what is wrong, or None. The restored resource is the caller's to delete, so that nothing is
        raised any more once it is there. With `job`, that restore job is waited for and none is started; what it created counts as ours
        when `metadata` names it.
        """
        began, adopted = self.clock(), bool(job)
        job = job or self._start_restore(target, point, metadata, token)
        description = self._wait("restore", job, lambda: self._call("describe_restore_job", RestoreJobId=job), "Status")
        created = str(description.get("CreatedResourceArn", ""))
        if not created or created == point.resource:
            raise RestoreError(
                f"expected restore job {job} to create a resource beside {point.resource}, found {created or 'none'}: "
                "look at the job before you trust either"
            )
        fault = validate(created) or ""
        status: Literal["FAILED", "SUCCESSFUL"] = "FAILED" if fault else "SUCCESSFUL"
        arguments = {"ValidationStatusMessage": fault[:1000]} if fault else {}
        untold = ""
        try:
            self._call("put_restore_validation_result", RestoreJobId=job, ValidationStatus=status, **arguments)
        except OrchestraiError as exc:
            untold = exc.message
        ours = not adopted or names(created, metadata)
        return RestoreTest(job, created, (self.clock() - began).total_seconds(), fault, untold, ours)

    def _start_restore(self, target: BackupTarget, point: RecoveryPoint, metadata: Mapping[str, str], token: str) -> str:
        own = self._call("get_recovery_point_restore_metadata", BackupVaultName=point.vault, RecoveryPointArn=point.arn)
        wanted = {**own.get("RestoreMetadata", {}), **metadata}
        # of EFS alone: what exists would be written into, and then be removed as what was restored
        if str(wanted.get("newFileSystem", True)).lower() == "false":
            raise ConfigError(
                f"expected a restore test of {point.resource} to make a new file system, found newFileSystem false: set it to true in the "
                "test's metadata"
            )
        answer = self._call(
            "start_restore_job",
            RecoveryPointArn=point.arn,
            Metadata=wanted,
            IamRoleArn=target.role,
            IdempotencyToken=_token(token, point.arn, "restore"),
            ResourceType=point.resource_type,
        )
        return str(answer["RestoreJobId"])

    def describe_vault(self, vault: str, account: str = "") -> Mapping[str, Any]:
        """A vault as the service describes it; `account` owns it where that is not the caller."""
        found: Mapping[str, Any] = self._call("describe_backup_vault", BackupVaultName=vault, **_owner(account))
        return found

    def require_air_gap(self, target: BackupTarget) -> None:
        """Raises StorageError unless the vault to copy to is logically air-gapped and takes so long a retention."""
        vault = target.copy_to.rpartition(":")[2]
        found = self.describe_vault(vault, target.copy_account)
        shortest, longest = int(found.get("MinRetentionDays", 0)), int(found.get("MaxRetentionDays", 0))
        if found.get("VaultType") != AIR_GAPPED:
            raise StorageError(
                f"expected {target.copy_to} to be logically air-gapped, found {found.get('VaultType')}: make such a vault, "
                "its kind cannot be changed"
            )
        if not shortest <= target.delete_after_days <= (longest or target.delete_after_days):
            raise StorageError(
                f"expected {target.copy_to} to keep for {target.delete_after_days} days, found {shortest} to {longest}: "
                "change delete_after_days"
            )

    def point(self, vault: str, arn: str, resource: str, job: str = "", account: str = "") -> RecoveryPoint:
        """Read a recovery point back; raises StorageError unless it is whole and of `resource`.

        `account` owns the vault where that is not the caller.
        """
        description = self._call("describe_recovery_point", BackupVaultName=vault, RecoveryPointArn=arn, **_owner(account))
        status, of = description.get("Status"), description.get("ResourceArn")
        if status not in ("COMPLETED", "AVAILABLE") or of != resource:
            raise StorageError(
                f"expected a completed recovery point of {resource}, found {arn} {status} of {of}"
                f"{_quoted(description.get('StatusMessage'))}: back the resource up again",
                status=status,
            )
        delete_at = description.get("CalculatedLifecycle", {}).get("DeleteAt")
        return RecoveryPoint(
            arn,
            vault,
            str(description.get("BackupVaultArn", "")),
            resource,
            str(description.get("ResourceType", "")),
            int(description.get("BackupSizeInBytes", 0)),
            _utc(description["CreationDate"]),
            _utc(description.get("CompletionDate", description["CreationDate"])),
            bool(description.get("IsEncrypted", False)),
            None if delete_at is None else _utc(delete_at),
            job,
        )

    def jobs(self, operation: str, member: str, **arguments: Any) -> list[Mapping[str, Any]]:
        """All entries of a listing of jobs, page after page."""
        entries: list[Mapping[str, Any]] = []
        token = ""
        while True:
            page = self._call(operation, **arguments, **({"NextToken": token} if token else {}))
            entries += page.get(member, ())
            token = page.get("NextToken", "")
            if not token:
                return entries

    def _wait(self, kind: str, job: str, describe: Callable[[], Mapping[str, Any]], field: str) -> Mapping[str, Any]:
        described: Mapping[str, Any] = {}

        def look() -> tuple[Phase, str]:
            nonlocal described
            described = describe()
            state = str(described.get(field))
            if state in ENDED:
                return "ended", f"{state}{_quoted(described.get('StatusMessage'))}"
            return ("completed" if state == "COMPLETED" else "running"), state

        self.waiting.until_done(job, look, None, what=f"{kind} job")
        return described

    def _call(self, operation: str, **arguments: Any) -> Any:
        asked = f"AWS Backup to {operation.replace('_', ' ')}"

        def over_quota(fault: Fault) -> StorageError | None:
            # elsewhere a word for too many requests, here for a quota, which no retry raises
            message = f"expected {asked}, found {fault.words}: raise the quota"
            return StorageError(message, code=fault.code) if fault.code == "LimitExceededException" else None

        with aws_errors(asked, "check the resource, the vault and the role", over_quota):
            return getattr(self.client, operation)(**arguments)


def open_aws_backup(region: str, clock: Callable[[], datetime]) -> AwsBackup:
    """The service in `region`, with the standard credentials."""
    return AwsBackup(aws_client("backup", region=region), clock)


def names(arn: str, metadata: Mapping[str, str]) -> bool:
    """Whether a restore's metadata names the resource with this ARN, as that of RDS, DynamoDB and S3 does."""
    return arn.split(":", 5)[5].rpartition("/")[2].rpartition(":")[2] in metadata.values()


def _owner(account: str) -> dict[str, str]:
    return {"BackupVaultAccountId": account} if account else {}


def _token(*parts: str) -> str:
    """An idempotency token of 64 hex digits: the same request is the same job."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def _quoted(text: object) -> str:
    return f" ({str(text)[:300]})" if text else ""
