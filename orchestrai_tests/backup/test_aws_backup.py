"""AWS Backup through botocore's Stubber, which checks every call and answer against the service's model."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from orchestrai.backup.managed.aws_backup import AwsBackup, BackupTarget, RecoveryPoint, RestoreTest, backup_waiting
from orchestrai.backup.managed.recovery_points import ManagedBackup, points_of, publish_backup, publish_test
from orchestrai.errors import AccessRefused, ConfigError, RestoreError, StorageError, TransientStorageError
from orchestrai.ledger.ledger import Ledger
from orchestrai.storage.cloud.job_wait import Clock

NOW = datetime(2026, 11, 22, 2, tzinfo=UTC)
DATABASE = "arn:aws:rds:eu-west-1:123456789012:db:shop"
VAULT = "arn:aws:backup:eu-west-1:123456789012:backup-vault:main"
COPY_VAULT = "arn:aws:backup:eu-central-1:123456789012:backup-vault:second"
POINT = "arn:aws:backup:eu-west-1:123456789012:recovery-point:1"
COPIED = "arn:aws:backup:eu-central-1:123456789012:recovery-point:2"
ROLE = "arn:aws:iam::123456789012:role/backup"
TARGET = BackupTarget(DATABASE, "main", ROLE, delete_after_days=35, copy_to=COPY_VAULT)


@dataclass
class Time:
    """A clock that sleeping moves."""

    now: datetime = NOW
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds)


@dataclass
class Service:
    """A stubbed region."""

    backup: AwsBackup
    stub: Stubber
    time: Time

    def answers(self, operation: str, answer: dict[str, Any], expected: dict[str, Any] | None = None) -> None:
        self.stub.add_response(operation, answer, expected)

    def fails(self, operation: str, code: str, status: int = 400) -> None:
        self.stub.add_client_error(operation, code, f"{code} it is", status)

    def job(self, *states: str, **more: Any) -> None:
        for state in states:
            done = {"RecoveryPointArn": POINT} if state == "COMPLETED" else {}
            self.answers("describe_backup_job", {"State": state, **done, **more}, {"BackupJobId": "job-1"})

    def described(self, arn: str = POINT, vault: str = "main", **changes: Any) -> None:
        answer = {
            "RecoveryPointArn": arn,
            "BackupVaultArn": VAULT,
            "ResourceArn": DATABASE,
            "ResourceType": "RDS",
            "Status": "COMPLETED",
            "CreationDate": NOW,
            "CompletionDate": NOW + timedelta(minutes=9),
            "BackupSizeInBytes": 4096,
            "IsEncrypted": True,
            "CalculatedLifecycle": {"DeleteAt": NOW + timedelta(days=35)},
        }
        expected = {"BackupVaultName": vault, "RecoveryPointArn": arn}
        self.answers("describe_recovery_point", {**answer, **changes}, expected)


def make() -> Service:
    client = boto3.client("backup", region_name="eu-west-1", aws_access_key_id="k", aws_secret_access_key="s")
    stub, time = Stubber(client), Time()
    stub.activate()
    clock = Clock(time.sleep, lambda: time.now.timestamp(), lambda: 0.0)
    waiting = replace(backup_waiting(timedelta(minutes=10), clock), longest=timedelta(seconds=60))
    return Service(AwsBackup(client, time, waiting), stub, time)


@pytest.fixture
def service() -> Iterator[Service]:
    made = make()
    yield made
    made.stub.assert_no_pending_responses()


def a_point() -> RecoveryPoint:
    return RecoveryPoint(POINT, "main", VAULT, DATABASE, "RDS", 4096, NOW, NOW, True)


# -- backup ------------------------------------------------------------------------------------------------------


def test_a_backup_is_started_waited_for_and_read_back(service: Service) -> None:
    expected = {
        "BackupVaultName": "main",
        "ResourceArn": DATABASE,
        "IamRoleArn": ROLE,
        "IdempotencyToken": ANY,
        "Lifecycle": {"DeleteAfterDays": 35},
    }
    service.answers("start_backup_job", {"BackupJobId": "job-1"}, expected)
    service.job("CREATED", "PENDING", "RUNNING", "RUNNING", "RUNNING", "RUNNING", "COMPLETED")
    service.described()
    job = service.backup.start(TARGET, "2026-11-22")
    point = service.backup.finish(TARGET, job)
    assert (point.arn, point.size, point.encrypted, point.job) == (POINT, 4096, True, "job-1")
    assert point.delete_at == NOW + timedelta(days=35)
    assert service.time.slept == [5, 10, 20, 40, 60, 60]


def test_the_same_partition_gives_the_same_token_and_another_one_another(service: Service) -> None:
    tokens: list[str] = []
    client = service.backup.client
    client.meta.events.register(
        "provide-client-params.backup.StartBackupJob", lambda params, **_: tokens.append(params["IdempotencyToken"])
    )
    for partition in ("2026-11-22", "2026-11-22", "2026-11-23"):
        service.answers("start_backup_job", {"BackupJobId": "job-1"})
        service.backup.start(TARGET, partition)
    assert tokens[0] == tokens[1] != tokens[2]


@pytest.mark.parametrize("state", ["FAILED", "ABORTED", "ABORTING", "EXPIRED", "PARTIAL"])
def test_a_backup_that_did_not_complete_is_an_error_in_its_own_words(service: Service, state: str) -> None:
    service.job("RUNNING")
    service.job(state, StatusMessage="disk on fire")
    with pytest.raises(StorageError, match=f"{state}.*disk on fire") as caught:
        service.backup.finish(TARGET, "job-1")
    assert not caught.value.retryable


def test_a_wait_ends_at_its_limit_and_can_be_taken_up_again(service: Service) -> None:
    service.job(*["RUNNING"] * 14)
    with pytest.raises(TransientStorageError, match=r"job-1.*RUNNING") as caught:
        service.backup.finish(TARGET, "job-1")
    assert caught.value.fields["job"] == "job-1" and service.time.now - NOW >= timedelta(minutes=10)
    service.job("COMPLETED")
    service.described()
    assert service.backup.finish(TARGET, "job-1").arn == POINT


def test_a_failing_look_at_a_job_does_not_end_the_wait(service: Service) -> None:
    service.fails("describe_backup_job", "ServiceUnavailableException", 503)
    service.fails("describe_backup_job", "ThrottlingException")
    service.job("COMPLETED")
    service.described()
    assert service.backup.finish(TARGET, "job-1").arn == POINT


def test_an_outage_longer_than_the_limit_is_transient(service: Service) -> None:
    for _ in range(14):
        service.fails("describe_backup_job", "ServiceUnavailableException", 503)
    with pytest.raises(TransientStorageError, match="unseen"):
        service.backup.finish(TARGET, "job-1")


@pytest.mark.parametrize(
    "change", [{"Status": "PARTIAL", "StatusMessage": "half"}, {"Status": "DELETING"}, {"ResourceArn": DATABASE + "2"}]
)
def test_a_recovery_point_that_is_not_whole_or_of_another_resource_is_refused(service: Service, change: Any) -> None:
    service.job("COMPLETED")
    service.described(**change)
    with pytest.raises(StorageError, match="expected a completed recovery point"):
        service.backup.finish(TARGET, "job-1")


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("ResourceNotFoundException", 400, StorageError),
        ("LimitExceededException", 400, StorageError),
        ("AccessDeniedException", 403, AccessRefused),
        ("ServiceUnavailableException", 500, TransientStorageError),
        ("InternalFailure", 500, TransientStorageError),
    ],
)
def test_refusals_of_the_service_are_translated(service: Service, code: str, status: int, kind: type[Exception]) -> None:
    service.fails("start_backup_job", code, status)
    with pytest.raises(kind, match=code) as caught:
        service.backup.start(TARGET, "p")
    assert type(caught.value) is kind


def test_wrong_arns_are_refused_before_any_call(service: Service) -> None:
    for wrong in ("shop", "arn:aws:ec2:eu-west-1:1:instance/i", "arn:aws:rds"):
        with pytest.raises(ConfigError):
            replace(TARGET, resource=wrong)
    with pytest.raises(ConfigError):
        replace(TARGET, copy_to="eu-central-1")


# -- copy --------------------------------------------------------------------------------------------------------


def test_a_point_is_copied_to_another_region_and_read_back_there(service: Service) -> None:
    far = make()
    expected = {
        "RecoveryPointArn": POINT,
        "SourceBackupVaultName": "main",
        "DestinationBackupVaultArn": COPY_VAULT,
        "IamRoleArn": ROLE,
        "IdempotencyToken": ANY,
        "Lifecycle": {"DeleteAfterDays": 35},
    }
    service.answers("start_copy_job", {"CopyJobId": "copy-1"}, expected)
    service.answers("describe_copy_job", {"CopyJob": {"State": "RUNNING"}}, {"CopyJobId": "copy-1"})
    done = {"State": "COMPLETED", "DestinationRecoveryPointArn": COPIED}
    service.answers("describe_copy_job", {"CopyJob": done}, {"CopyJobId": "copy-1"})
    far.described(COPIED, "second", BackupVaultArn=COPY_VAULT)
    copied = service.backup.copy(TARGET, a_point(), far.backup, "p")
    assert (copied.arn, copied.vault, copied.vault_arn) == (COPIED, "second", COPY_VAULT)
    far.stub.assert_no_pending_responses()


@pytest.mark.parametrize("state", ["FAILED", "PARTIAL"])
def test_a_copy_that_did_not_complete_is_an_error(service: Service, state: str) -> None:
    service.answers("start_copy_job", {"CopyJobId": "copy-1"})
    service.answers("describe_copy_job", {"CopyJob": {"State": state, "StatusMessage": "no key"}})
    with pytest.raises(StorageError, match=f"copy job copy-1.*{state}.*no key"):
        service.backup.copy(TARGET, a_point(), service.backup, "p")


# -- restore -----------------------------------------------------------------------------------------------------

RESTORED = "arn:aws:rds:eu-west-1:123456789012:db:shop-drill"


def restoring(service: Service, created: str | None = RESTORED, status: str = "COMPLETED") -> None:
    own = {"DBInstanceIdentifier": "shop", "Engine": "postgres"}
    service.answers(
        "get_recovery_point_restore_metadata",
        {"RestoreMetadata": own},
        {"BackupVaultName": "main", "RecoveryPointArn": POINT},
    )
    expected = {
        "RecoveryPointArn": POINT,
        "Metadata": {"DBInstanceIdentifier": "shop-drill", "Engine": "postgres"},
        "IamRoleArn": ROLE,
        "IdempotencyToken": ANY,
        "ResourceType": "RDS",
    }
    service.answers("start_restore_job", {"RestoreJobId": "r-1"}, expected)
    service.answers("describe_restore_job", {"Status": "RUNNING"}, {"RestoreJobId": "r-1"})
    answer = {"Status": status, **({"CreatedResourceArn": created} if created else {}), "StatusMessage": "why"}
    service.answers("describe_restore_job", answer, {"RestoreJobId": "r-1"})


@pytest.mark.parametrize(("fault", "status"), [(None, "SUCCESSFUL"), ("3 rows lack", "FAILED")])
def test_a_restore_is_validated_and_the_finding_told_to_the_service(
    service: Service, fault: str | None, status: str
) -> None:
    restoring(service)
    told = {"RestoreJobId": "r-1", "ValidationStatus": status, **({"ValidationStatusMessage": fault} if fault else {})}
    service.answers("put_restore_validation_result", {}, told)
    seen: list[str] = []

    def validate(arn: str) -> str | None:
        seen.append(arn)
        service.time.sleep(30)
        return fault

    tested = service.backup.test_restore(TARGET, a_point(), {"DBInstanceIdentifier": "shop-drill"}, validate, "p")
    assert seen == [RESTORED] and tested == RestoreTest("r-1", RESTORED, 35.0, fault or "")


@pytest.mark.parametrize("status", ["FAILED", "ABORTED"])
def test_a_restore_that_did_not_complete_is_an_error(service: Service, status: str) -> None:
    restoring(service, None, status)
    with pytest.raises(StorageError, match=f"restore job r-1.*{status}.*why"):
        service.backup.test_restore(TARGET, a_point(), {"DBInstanceIdentifier": "shop-drill"}, lambda arn: None, "p")


def test_a_restore_into_a_file_system_that_exists_is_refused_before_it_starts(service: Service) -> None:
    own = {"file-system-id": "fs-live", "newFileSystem": "false"}
    service.answers("get_recovery_point_restore_metadata", {"RestoreMetadata": own})
    with pytest.raises(ConfigError, match="new file system"):
        service.backup.test_restore(TARGET, a_point(), {"file-system-id": "fs-other"}, lambda arn: None, "p")
    service.stub.assert_no_pending_responses()


@pytest.mark.parametrize("created", [None, DATABASE])
def test_a_restore_over_the_live_resource_is_an_error_and_not_validated(service: Service, created: str | None) -> None:
    restoring(service, created)

    def never(arn: str) -> str | None:
        raise AssertionError("nothing to validate")

    with pytest.raises(RestoreError, match="beside"):
        service.backup.test_restore(TARGET, a_point(), {"DBInstanceIdentifier": "shop-drill"}, never, "p")


# -- assets ------------------------------------------------------------------------------------------------------


def test_points_are_published_with_what_is_missing_told(ledger: Ledger) -> None:
    asset, point = "platform/carts/recovery_point", a_point()
    lacking = ManagedBackup(point, None, (), "no key")
    (outcome,) = publish_backup(ledger, asset=asset, target=TARGET, done=lacking, now=NOW).outcomes
    assert outcome.published and {v.check: v.passed for v in outcome.verdicts} == {"recovery_point": True, "copy": False}
    assert "no key" in outcome.verdicts[1].message
    copied = ManagedBackup(point, replace(point, arn=COPIED, vault="second"), ("copy",))
    good = publish_backup(ledger, asset=asset, target=TARGET, done=copied, now=NOW)
    assert all(verdict.passed for verdict in good.outcomes[0].verdicts)
    assert list(points_of(ledger.open(asset)).values()) == [point]
    with ledger.open(asset).fetched([outcome.partition]) as files:
        record = json.loads(files[outcome.partition][0].path.read_bytes())
    assert record["recovery_point"]["arn"] == POINT and record["copy"]["arn"] == COPIED


def test_a_failed_restore_test_is_published_as_failed(ledger: Ledger) -> None:
    tested = RestoreTest("r-1", RESTORED, 35.0, "3 rows lack")
    report = publish_test(
        ledger, asset="p/c/restore_test", partition="x", point=a_point(), tested=tested, left="still there"
    )
    (outcome,) = report.outcomes
    assert outcome.published and {v.check: v.passed for v in outcome.verdicts} == {"restore_test": False, "cleanup": False}
