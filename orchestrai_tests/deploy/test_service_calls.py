"""Managed backups, restore tests and Spark runs with each request judged by the policy of the role that it is the work of."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrai.backup.managed.aws_backup import AwsBackup, BackupTarget, backup_waiting
from orchestrai.backup.managed.aws_resources import Restored, problem_of, remove
from orchestrai.backup.managed.recovery_points import copy_point, make_point, try_point
from orchestrai.errors import AccessRefused
from orchestrai.features.jobs.emr import EmrFile
from orchestrai.features.jobs.serverless_runs import WatchedRuns
from orchestrai.storage.cloud.job_wait import Clock
from orchestrai_tests.clouds.aws_server import AwsServer, aws_server
from orchestrai_tests.clouds.emr_serverless import APPLICATION, play
from orchestrai_tests.deploy.judged import judged, refusals
from orchestrai_tests.deploy.service_actions import action_of
from orchestrai_tests.deploy.test_service_policies import GIVEN, SOURCES
from orchestrai_tests.servers.aws_backup import Service

FAR = f"arn:aws:backup:{GIVEN['copy_region']}:{GIVEN['copy_account']}:backup-vault:{GIVEN['copy_vault']}"
TARGET = BackupTarget(SOURCES[2], GIVEN["backup_vault"], GIVEN["role"], delete_after_days=35, copy_to=FAR, air_gapped=True)
NOW = datetime(2026, 11, 23, 2, tzinfo=UTC)


@pytest.fixture
def server() -> Iterator[AwsServer]:
    regions = (GIVEN["region"], GIVEN["copy_region"])
    with aws_server("backup", "emr-serverless", regions=regions) as found:
        yield found
    assert found.faults == []


def take(server: AwsServer, service: Service, role: str) -> tuple[AwsBackup, AwsBackup]:
    """AWS Backup here and there, as a role sees it."""
    server.answers["backup"] = service.answer
    judged(server, "backup", role)
    waiting = backup_waiting(timedelta(hours=1), Clock(lambda _: None, lambda: 0.0))
    here, there = (AwsBackup(server.client("backup", r), lambda: NOW, waiting) for r in server.regions)
    return here, there


def test_a_backup_s_policy_makes_and_copies_a_point_and_a_restore_test_s_restores_it(server: AwsServer) -> None:
    service = Service(created_as=SOURCES[2].replace("orders", "restored-orders"))
    service.vaults[FAR] = {"VaultType": "LOGICALLY_AIR_GAPPED_BACKUP_VAULT", "MinRetentionDays": 7, "MaxRetentionDays": 99}
    here, there = take(server, service, "restore_tester")
    with pytest.raises(AccessRefused, match="backup:ListBackupJobs"):
        make_point(here, TARGET)
    with pytest.raises(AccessRefused, match="backup:StartBackupJob"):
        here.start(TARGET, "token")
    here, there = take(server, service, "managed_backup")
    made = copy_point(here, TARGET, make_point(here, TARGET), lambda: there)
    assert made.copied is not None and made.copied.vault_arn == FAR and not made.fault
    metadata = {"targetTableName": "restored-orders"}
    with pytest.raises(AccessRefused, match="backup:ListRestoreJobsByProtectedResource"):
        try_point(here, TARGET, made.point, metadata, lambda _: None)
    here, _ = take(server, service, "restore_tester")
    tested = try_point(here, TARGET, made.point, metadata, lambda _: None)
    assert (
        tested.created == service.created_as
        and not tested.fault
        and not tested.untold
        and service.validations == ["SUCCESSFUL"]
    )


def test_a_backup_goes_into_the_vault_that_is_declared_by_the_role_that_is(server: AwsServer) -> None:
    here, _ = take(server, Service(), "managed_backup")
    with pytest.raises(AccessRefused, match=r"backup:StartBackupJob on .*:backup-vault:other"):
        here.start(replace(TARGET, vault="other"), "token")
    admin = "arn:aws:iam::123456789012:role/admin"
    with pytest.raises(AccessRefused, match=f"iam:PassRole on {admin}"):
        here.start(replace(TARGET, role=admin), "token")


def test_a_launcher_s_policy_runs_and_cancels_jobs_of_its_application_and_lends_its_role_alone(server: AwsServer) -> None:
    runs = play(server, lambda _: ["true"])
    runs.endless = True
    judged(server, "emr-serverless", "spark_launcher")
    watched = WatchedRuns(server.client("emr-serverless"), EmrFile(), lambda _: None)
    asked: dict[str, Any] = {
        "applicationId": APPLICATION,
        "name": "t1",
        "clientToken": "t1",
        "executionRoleArn": GIVEN["role"],
        "jobDriver": {"sparkSubmit": {"entryPoint": "s3://t-lake/spark/exchange/job.py"}},
    }
    run = watched.start_job_run(**asked)["jobRunId"]
    place = {"applicationId": APPLICATION, "jobRunId": run}
    assert watched.get_job_run(**place)["jobRun"]["state"] == "RUNNING"
    assert watched.get_application(applicationId=APPLICATION)["application"]["state"] == "STARTED"
    watched.cancel_job_run(**place)
    assert runs.runs[0].state == "CANCELLED"
    with pytest.raises(AccessRefused, match="iam:PassRole"):
        watched.start_job_run(**{**asked, "name": "t2", "clientToken": "t2", "executionRoleArn": f"{GIVEN['role']}-else"})
    with pytest.raises(AccessRefused, match="emr-serverless:GetApplication"):
        watched.get_application(applicationId="00other")


# what each service says of a restored resource that is ready, and protected as its source was
READY: dict[str, dict[str, Any]] = {
    "describe_db_instances": {"DBInstances": [{"DBInstanceStatus": "available", "DeletionProtection": True}]},
    "describe_db_clusters": {
        "DBClusters": [
            {
                "Status": "available",
                "DeletionProtection": True,
                "DBClusterMembers": [{"DBInstanceIdentifier": "restored-shop-1"}],
            }
        ]
    },
    "describe_table": {"Table": {"TableStatus": "ACTIVE", "DeletionProtectionEnabled": True}},
    "describe_file_systems": {"FileSystems": [{"LifeCycleState": "available"}]},
}


class Client:
    """A client of any service that refuses what a restore test's role may not do, and notes what it did."""

    def __init__(self, done: list[str]) -> None:
        self._done = done

    def __getattr__(self, operation: str) -> Callable[..., dict[str, Any]]:
        from botocore.exceptions import ClientError

        def call(**given: Any) -> dict[str, Any]:
            service, _, name = str(action_of(operation)).partition(":")
            if refusals("restore_tester", service, name, given, GIVEN["region"]):
                raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "not authorized"}}, name)
            self._done.append(name)
            return READY.get(operation, {})

        return call


@pytest.mark.parametrize(
    ("kind", "calls"),
    [
        ("rds:{here}:db:restored-shop", "DescribeDBInstances DescribeDBInstances ModifyDBInstance DeleteDBInstance"),
        (
            "rds:{here}:cluster:restored-shop",
            "DescribeDBClusters DescribeDBClusters ModifyDBCluster DeleteDBInstance DeleteDBCluster",
        ),
        ("dynamodb:{here}:table/restored-orders", "DescribeTable DescribeTable UpdateTable DeleteTable"),
        ("elasticfilesystem:{here}:file-system/fs-1", "DescribeFileSystems"),
    ],
)
def test_what_was_restored_is_looked_at_and_removed_save_for_a_file_system_which_is_left_and_told(
    kind: str, calls: str
) -> None:
    done: list[str] = []
    restored = Restored("arn:aws:" + kind.format(here=f"{GIVEN['region']}:{GIVEN['account']}"), lambda _: Client(done))
    assert problem_of(restored) is None
    left = remove(restored, SOURCES[1])
    assert done == calls.split()
    assert (
        (f"expected to delete {restored.arn}, found" in left and "AccessDenied" in left)
        if "file-system" in kind
        else left == ""
    )


def test_a_live_database_is_not_removed_by_a_restore_test_s_role() -> None:
    done: list[str] = []
    live = Restored(SOURCES[0].replace("restored-by-name-alone", "shop"), lambda _: Client(done))
    assert "AccessDenied" in str(problem_of(live)) and "AccessDenied" in remove(live, SOURCES[1]) and done == []
