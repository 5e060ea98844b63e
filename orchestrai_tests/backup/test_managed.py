"""AWS Backup in the graph: started or adopted, copied across regions, tested, listed in the catalog."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import orchestrai.backup.managed.run as managed
from orchestrai.backup.managed.aws_backup import AwsBackup, backup_waiting
from orchestrai.backup.managed.aws_resources import Restored, problem_of, remove
from orchestrai.backup.managed.recovery_points import points_of
from orchestrai.errors import ConfigError, DeclarationError, StorageError, TransientStorageError
from orchestrai.pipeline.runtime import Runtime
from orchestrai.storage.cloud.job_wait import Clock
from orchestrai_tests.backup.kept_shop import fresh, materialize
from orchestrai_tests.servers.aws_backup import BackupServer, aws_backup_server
from orchestrai_tests.servers.s3 import S3Server

TABLE = "arn:aws:dynamodb:eu-west-1:123456789012:table/shop"
RESTORED = "arn:aws:dynamodb:eu-west-1:123456789012:table/shop-drill"
DECLARED = """
managed_backups:
  - name: carts
    resource: arn:aws:dynamodb:eu-west-1:123456789012:table/shop
    vault: main
    role: arn:aws:iam::123456789012:role/backup
    copy_to: arn:aws:backup:eu-central-1:123456789012:backup-vault:second
    after: readings
    test: {metadata: {targetTableName: shop-drill}}
"""
POINT, TEST = "shop/carts/recovery_point", "shop/carts/restore_test"


@pytest.fixture
def server() -> Iterator[BackupServer]:
    with aws_backup_server() as found:
        found.service.created_as = RESTORED
        yield found
        assert found.faults == []


@pytest.fixture
def runtime(server: BackupServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    monkeypatch.setenv("AWS_ENDPOINT_URL_BACKUP", server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    slept: list[float] = []

    without_waiting = Clock(sleep=slept.append)
    monkeypatch.setattr(managed, "backup_waiting", lambda limit: backup_waiting(limit, without_waiting))
    return fresh(tmp_path / "home", tmp_path / "declared", DECLARED)


def checks(report: Any) -> dict[str, bool]:
    return {verdict.check: verdict.passed for outcome in report.outcomes for verdict in outcome.verdicts}


def test_a_recovery_point_and_its_copy_are_published_with_their_facts(runtime: Runtime, server: BackupServer) -> None:
    report = materialize(runtime, POINT)
    assert checks(report) == {"recovery_point": True, "copy": True}
    (point,) = points_of(runtime.ledger.open(POINT)).values()
    assert (point.resource, point.size, point.arn.split(":")[3]) == (TABLE, 4096, "eu-west-1")
    assert report.facts["copy"]["arn"].split(":")[3] == "eu-central-1"  # type: ignore[index, call-overload, union-attr]
    assert report.facts["adopted"] == []
    lines = {line["asset"]: line for line in materialize(runtime, "shop/catalog").facts["catalog"]}  # type: ignore[union-attr, call-overload, index]
    assert lines[POINT]["recovery_point"]["arn"] == point.arn
    assert server.service.calls[0] == "ListBackupJobs"


@pytest.mark.parametrize("kind", ["backup", "copy"])
def test_a_second_run_adopts_the_job_that_the_first_one_left_running(
    runtime: Runtime, server: BackupServer, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    server.service.plan[kind] = ["RUNNING"] * 50 + ["COMPLETED"]
    real = AwsBackup._wait

    def dies(self: AwsBackup, of: str, *arguments: Any) -> Any:
        if of == kind:
            raise TransientStorageError("the process was killed")
        return real(self, of, *arguments)

    monkeypatch.setattr(AwsBackup, "_wait", dies)
    with pytest.raises(TransientStorageError):
        materialize(runtime, POINT)
    monkeypatch.setattr(AwsBackup, "_wait", real)
    # an hour later, so that no idempotency token is the same
    late = runtime.clock() + timedelta(hours=1, minutes=5)
    report = materialize(Runtime(runtime.settings, runtime.project, clock=lambda: late), POINT)
    assert report.facts["adopted"] == (["backup"] if kind == "backup" else ["recovery_point", "copy"])
    assert (len(server.service.started("backup")), len(server.service.started("copy"))) == (1, 1)
    assert checks(report) == {"recovery_point": True, "copy": True}
    assert len(runtime.ledger.open(POINT).partitions) == 1


def test_a_finished_job_is_not_adopted_by_the_next_backup(runtime: Runtime, server: BackupServer) -> None:
    materialize(runtime, POINT)
    late = runtime.clock() + timedelta(hours=24)
    report = materialize(Runtime(runtime.settings, runtime.project, clock=lambda: late), POINT)
    assert report.facts["adopted"] == [] and report.facts["points"] == 2
    assert len(server.service.started("backup")) == 2
    assert len(runtime.ledger.open(POINT).partitions) == 2


def test_a_failed_copy_is_a_failed_check_beside_its_recovery_point(runtime: Runtime, server: BackupServer) -> None:
    server.service.plan["copy"] = ["RUNNING", "FAILED"]
    report = materialize(runtime, POINT)
    assert checks(report) == {"recovery_point": True, "copy": False}
    message = next(v.message for o in report.outcomes for v in o.verdicts if v.check == "copy")
    assert "FAILED" in message and "as planned" in message
    server.service.plan.pop("copy")
    again = materialize(runtime, POINT)
    assert checks(again) == {"recovery_point": True, "copy": True}
    assert (len(server.service.started("backup")), len(server.service.started("copy"))) == (1, 2)


def test_a_failed_backup_publishes_nothing(runtime: Runtime, server: BackupServer) -> None:
    server.service.plan["backup"] = ["RUNNING", "ABORTED"]
    with pytest.raises(StorageError, match="ABORTED"):
        materialize(runtime, POINT)
    assert runtime.ledger.find(POINT) is None


def test_points_that_the_service_has_deleted_leave_the_list(runtime: Runtime, server: BackupServer) -> None:
    materialize(runtime, POINT)
    late = server.service.now + timedelta(days=40)
    server.service.now = late
    report = materialize(Runtime(runtime.settings, runtime.project, clock=lambda: late), POINT)
    assert report.facts["points"] == 1
    assert len(runtime.ledger.open(POINT).partitions) == 1


def make_table(moto: S3Server, name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    import boto3

    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", moto.endpoint)
    client = boto3.client("dynamodb", region_name="eu-west-1")
    key = {"AttributeName": "id", "KeyType": "HASH"}
    client.create_table(
        TableName=name,
        KeySchema=[key],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return client


@pytest.mark.emulator
def test_a_restore_test_looks_at_the_restored_table_and_removes_it(
    runtime: Runtime, server: BackupServer, moto: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_table(moto, "shop-drill", monkeypatch)
    materialize(runtime, POINT)
    report = materialize(runtime, TEST)
    assert checks(report) == {"restore_test": True, "cleanup": True}
    assert server.service.validations == ["SUCCESSFUL"]
    assert "shop-drill" not in client.list_tables()["TableNames"]
    assert isinstance(report.facts["rto_seconds"], float)


@pytest.mark.emulator
def test_a_second_test_within_the_hour_restores_again(
    runtime: Runtime, server: BackupServer, moto: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_table(moto, "shop-drill", monkeypatch)
    materialize(runtime, POINT)
    materialize(runtime, TEST)
    make_table(moto, "shop-drill", monkeypatch)
    assert checks(materialize(runtime, TEST)) == {"restore_test": True, "cleanup": True}
    assert len(server.service.started("restore")) == 2


@pytest.mark.emulator
def test_a_restored_table_that_is_not_there_fails_the_test(
    runtime: Runtime, server: BackupServer, moto: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", moto.endpoint)
    server.service.created_as = RESTORED + "-lost"
    materialize(runtime, POINT)
    assert checks(materialize(runtime, TEST)) == {"restore_test": False, "cleanup": False}
    assert server.service.validations == ["FAILED"]


OTHER_ACCOUNT = "arn:aws:backup:eu-central-1:999999999999:backup-vault:second"


def test_a_copy_in_another_account_is_read_back_by_that_account(
    server: BackupServer, runtime: Runtime, tmp_path: Path
) -> None:
    declared = DECLARED.replace("arn:aws:backup:eu-central-1:123456789012:backup-vault:second", OTHER_ACCOUNT)
    elsewhere = fresh(tmp_path / "other", tmp_path / "other_declared", declared)
    report = materialize(elsewhere, POINT)
    assert checks(report) == {"recovery_point": True, "copy": True}
    assert report.facts["copy"]["vault_arn"] == OTHER_ACCOUNT  # type: ignore[index, call-overload]


@pytest.mark.parametrize(
    ("vault", "told"),
    [
        ({"VaultType": "LOGICALLY_AIR_GAPPED_BACKUP_VAULT", "MinRetentionDays": 7, "MaxRetentionDays": 90}, ""),
        ({"VaultType": "BACKUP_VAULT"}, "to be logically air-gapped, found BACKUP_VAULT"),
        ({"VaultType": "LOGICALLY_AIR_GAPPED_BACKUP_VAULT", "MinRetentionDays": 40, "MaxRetentionDays": 90}, "40 to 90"),
    ],
)
def test_a_copy_that_is_to_be_air_gapped_goes_into_no_other_vault(
    server: BackupServer, runtime: Runtime, tmp_path: Path, vault: dict[str, Any], told: str
) -> None:
    server.service.vaults[OTHER_ACCOUNT] = vault
    declared = DECLARED.replace(
        "copy_to: arn:aws:backup:eu-central-1:123456789012:backup-vault:second",
        f"copy_to: {OTHER_ACCOUNT}\n    air_gapped: true",
    )
    report = materialize(fresh(tmp_path / "other", tmp_path / "other_declared", declared), POINT)
    messages = {v.check: v.message for o in report.outcomes for v in o.verdicts}
    assert checks(report) == {"recovery_point": True, "copy": not told} and told in messages["copy"]
    assert len(server.service.started("copy")) == (0 if told else 1)


@pytest.mark.emulator
def test_a_restored_table_is_removed_also_when_the_service_does_not_take_the_finding(
    runtime: Runtime, server: BackupServer, moto: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_table(moto, "shop-drill", monkeypatch)
    client.update_table(TableName="shop-drill", DeletionProtectionEnabled=True)
    materialize(runtime, POINT)
    server.service.deaf = True
    report = materialize(runtime, TEST)
    assert checks(report) == {"restore_test": True, "cleanup": True}
    assert "InvalidRequestException" in str(report.facts["restore_test"])
    assert "shop-drill" not in client.list_tables()["TableNames"]


@pytest.mark.emulator
def test_a_restore_that_ended_while_nobody_waited_is_looked_at_and_removed_by_the_next_test(
    runtime: Runtime, server: BackupServer, moto: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_table(moto, "shop-drill", monkeypatch)
    materialize(runtime, POINT)
    real = AwsBackup._wait

    def late(self: AwsBackup, of: str, *arguments: Any) -> Any:
        raise TransientStorageError("the limit is over")

    monkeypatch.setattr(AwsBackup, "_wait", late)
    with pytest.raises(TransientStorageError):
        materialize(runtime, TEST)
    (job,) = server.service.started("restore")
    job.state, job.states = "COMPLETED", []
    monkeypatch.setattr(AwsBackup, "_wait", real)
    moved = runtime.clock() + timedelta(days=1)
    report = materialize(Runtime(runtime.settings, runtime.project, clock=lambda: moved), TEST)
    assert checks(report) == {"restore_test": True, "cleanup": True}
    assert len(server.service.started("restore")) == 1 and "shop-drill" not in client.list_tables()["TableNames"]
    materialize(Runtime(runtime.settings, runtime.project, clock=lambda: moved + timedelta(days=1)), TEST)
    assert len(server.service.started("restore")) == 2, "one that was looked at is not taken up again"


@pytest.mark.emulator
def test_what_somebody_else_restored_from_the_point_is_never_removed(
    runtime: Runtime, server: BackupServer, moto: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_table(moto, "shop-rescued", monkeypatch)
    materialize(runtime, POINT)
    server.service.created_as = "arn:aws:dynamodb:eu-west-1:123456789012:table/shop-rescued"
    (point,) = (
        server.service.points.values() if len(server.service.points) == 1 else [next(iter(server.service.points.values()))]
    )
    given = {"RecoveryPointArn": point["RecoveryPointArn"], "Metadata": {}}
    server.service.StartRestoreJob({**given, "IdempotencyToken": "by hand"}, "eu-west-1")
    report = materialize(runtime, TEST)
    assert checks(report) == {"restore_test": True, "cleanup": False}
    assert "shop-rescued" in client.list_tables()["TableNames"]


def test_a_restore_test_without_a_recovery_point_is_refused(runtime: Runtime) -> None:
    report = materialize(runtime, TEST)
    assert "make one first" in report.refused[0].verdicts[0].message


def test_the_graph_puts_a_managed_backup_after_what_it_names(runtime: Runtime) -> None:
    nodes = runtime.project.nodes
    assert nodes[POINT].deps == ("shop/readings/snapshot",)
    assert nodes[TEST].deps == (POINT,)
    assert POINT in nodes["shop/catalog"].deps


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("arn:aws:dynamodb:eu-west-1:123456789012:table/shop", "shop"), "expected the ARN of a resource"),
        (("arn:aws:dynamodb:eu-west-1:123456789012:table/shop", "arn:aws:s3:::bucket"), "add region"),
        (
            ("arn:aws:dynamodb:eu-west-1:123456789012:table/shop", "arn:aws:rds:eu-west-1:1:snapshot:x"),
            r"instance \(db\) or a cluster",
        ),
        (("after: readings", "after: nothing"), "expected one of"),
    ],
)
def test_a_mistaken_declaration_is_told_in_one_line(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    with pytest.raises(DeclarationError, match=told) as caught:
        fresh(tmp_path / "home", tmp_path / "declared", DECLARED.replace(*change))
    assert "\n" not in caught.value.message


@pytest.mark.emulator
@pytest.mark.parametrize("service", ["rds", "aurora", "dynamodb", "elasticfilesystem"])
def test_each_kind_of_resource_is_described_and_removed(
    moto: S3Server, monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    def client(name: str) -> Any:
        return moto.client(name)

    if service == "rds":
        client("rds").create_db_instance(
            DBInstanceIdentifier="drill", DBInstanceClass="db.t3.micro", Engine="postgres", DeletionProtection=True
        )
        arn = "arn:aws:rds:us-east-1:123456789012:db:drill"
    elif service == "aurora":
        # the instance of the cluster's own name is another thing, and stays
        rds = client("rds")
        rds.create_db_instance(DBInstanceIdentifier="drill", DBInstanceClass="db.t3.micro", Engine="postgres")
        rds.create_db_cluster(
            DBClusterIdentifier="drill", Engine="aurora-postgresql", MasterUsername="root", MasterUserPassword="password",
            DeletionProtection=True,
        )  # fmt: skip
        rds.create_db_instance(
            DBInstanceIdentifier="drill-1",
            DBInstanceClass="db.r6g.large",
            Engine="aurora-postgresql",
            DBClusterIdentifier="drill",
        )
        arn = "arn:aws:rds:us-east-1:123456789012:cluster:drill"
    elif service == "dynamodb":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", moto.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", moto.secret_key)
        client("dynamodb").create_table(
            TableName="drill",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        arn = "arn:aws:dynamodb:us-east-1:123456789012:table/drill"
    else:
        made = client("efs").create_file_system(CreationToken="drill")
        arn = f"arn:aws:elasticfilesystem:us-east-1:123456789012:file-system/{made['FileSystemId']}"
    found = Restored(arn, client)
    assert problem_of(found) is None
    with pytest.raises(ConfigError, match="never removed"):
        remove(found, arn)
    assert remove(found, "arn:aws:other") == ""
    assert "expected" in str(problem_of(found))
    if service == "aurora":
        left = [one["DBInstanceIdentifier"] for one in rds.describe_db_instances()["DBInstances"]]
        assert left == ["drill"]
        rds.delete_db_instance(DBInstanceIdentifier="drill", SkipFinalSnapshot=True)


def test_a_restored_bucket_is_the_owners_to_delete() -> None:
    assert "yours to delete" in remove(Restored("arn:aws:s3:::restored", lambda name: None), "arn:aws:s3:::live")
