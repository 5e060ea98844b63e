"""Least privilege beside the stores: each call to SageMaker, AWS Backup, RDS, EMR or Redshift is one role's work, no role has more."""

import fnmatch
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from orchestrai_tests.deploy.service_actions import (
    HERE,
    RESOURCES,
    SERVICES,
    asked_by_the_product,
    judged_on,
    operations,
    s3_asked_in,
)

POLICIES = Path(__file__).resolve().parents[2] / "deploy" / "policies" / "services"
ROLES = sorted(path.stem for path in POLICIES.glob("*.json"))
ARN = "arn:aws:{service}:eu-west-1:123456789012:{name}"
RDS, POINTS = "arn:aws:rds:eu-west-1:123456789012", "arn:aws:backup:eu-west-1:123456789012:recovery-point"
SOURCES = (f"{RDS}:db:restored-by-name-alone", f"{RDS}:cluster:shop", "arn:aws:dynamodb:eu-west-1:123456789012:table/orders")
GIVEN = {
    **HERE,
    "names": "churn",
    "output": "t-lake/sagemaker",
    "role": "arn:aws:iam::123456789012:role/lent",
    "backup_vault": "daily",
    "copy_region": "eu-central-1",
    "copy_account": "210987654321",
    "copy_vault": "far",
    "restored": "restored-",
    "sources": '", "'.join(SOURCES),
    "application": "00abc",
    "exchange": "t-lake/spark/exchange",
    "exchange_bucket": "t-lake",
    "exchange_folder": "spark/exchange",
    "workgroup": "0a1b-2c3d",
    "staging": "t-lake/redshift",
    "staging_bucket": "t-lake",
    "staging_folder": "redshift",
}
LENT_TO = {
    "trainer": "sagemaker",
    "deployer": "sagemaker",
    "managed_backup": "backup",
    "restore_tester": "backup",
    "spark_launcher": "emr-serverless",
}
# whose work each action is
WORK = {
    "trainer": "sagemaker: CreateTrainingJob DescribeTrainingJob StopTrainingJob ListTrainingJobs",
    "deployer": "sagemaker: ListModelPackageGroups CreateModelPackageGroup ListModelPackages CreateModelPackage DescribeModelPackage "
    "ListModels CreateModel DeleteModel ListEndpointConfigs CreateEndpointConfig ListEndpoints DescribeEndpoint CreateEndpoint "
    "UpdateEndpoint DeleteEndpoint ListTransformJobs CreateTransformJob DescribeTransformJob StopTransformJob "
    "lambda: GetAlias GetFunctionConfiguration UpdateFunctionCode PublishVersion InvokeFunction UpdateAlias",
    "managed_backup": "backup: ListBackupJobs StartBackupJob DescribeBackupJob ListCopyJobs StartCopyJob DescribeCopyJob "
    "DescribeRecoveryPoint DescribeBackupVault",
    "restore_tester": "backup: ListRestoreJobsByProtectedResource StartRestoreJob DescribeRestoreJob GetRecoveryPointRestoreMetadata "
    "PutRestoreValidationResult rds: DescribeDBInstances ModifyDBInstance DeleteDBInstance DescribeDBClusters ModifyDBCluster "
    "DeleteDBCluster dynamodb: DescribeTable UpdateTable DeleteTable elasticfilesystem: DescribeFileSystems",
    "spark_launcher": "emr-serverless: GetApplication ListJobRuns StartJobRun GetJobRun CancelJobRun",
    "warehouse": "redshift-data: ExecuteStatement BatchExecuteStatement DescribeStatement GetStatementResult CancelStatement",
}
# asked for, and given to nobody: the service names a restored file system, so no policy can tell it from a live one; it is left and told
REFUSED = {"elasticfilesystem:DeleteFileSystem"}
# the rest of what a role's work needs: tags of what is made, a login, and S3 where its modules ask for it
TAGS = {
    "trainer": {"sagemaker:AddTags"},
    "deployer": {"sagemaker:AddTags"},
    # the Data API logs in for whoever asks
    "warehouse": {"redshift-serverless:GetCredentials"},
}
S3_MODULES: dict[str, tuple[str, ...]] = {
    "trainer": ("models/remote/sagemaker.py",),
    "deployer": (
        "models/registry/sagemaker_registry.py",
        "models/remote/sagemaker_batch.py",
        "pipeline/accounts/aws_steps.py",
    ),
    "managed_backup": ("backup/managed/aws_backup.py",),
    "restore_tester": ("backup/managed/aws_resources.py",),
    "spark_launcher": ("defs/spark/emr_pipes.py",),
    "warehouse": (),
}
# the exchange is a store: what is written and read there goes by obstore, as PutObject and GetObject
STORE = {
    "spark_launcher": {"s3:PutObject", "s3:GetObject"},
    # and what is staged for a warehouse
    "warehouse": {"s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:ListBucket"},
}
# whoever asks is whose statement it is
CONTEXT = {"redshift-data_statement-owner-iam-userid": "${aws:userid}"}
# a request of each kind, by the names that the product gives
REQUEST: dict[str, Any] = {
    "TrainingJobName": "churn-0a1b-1",
    "TransformJobName": "churn-batch-0a1b-1",
    "ModelName": "churn-0a1b-2c3d",
    "EndpointName": "churn",
    "EndpointConfigName": "churn-0a1b-2c3d",
    "ModelPackageGroupName": "churn-models",
    "FunctionName": "churn-batch",
    "ModelPackageName": ARN.format(service="sagemaker", name="model-package/churn-models/3"),
    "BackupVaultName": "daily",
    "RecoveryPointArn": f"{RDS}:snapshot:awsbackup:job-1",
    "DBInstanceIdentifier": "restored-shop",
    "DBClusterIdentifier": "restored-shop",
    "TableName": "restored-orders",
    "FileSystemId": "fs-1",
    "applicationId": "00abc",
    "jobRunId": "run1",
    "workgroup": "0a1b-2c3d",
}


@cache
def policy(role: str) -> Mapping[str, Any]:
    """As templatefile() fills it in."""
    text = (POLICIES / f"{role}.json").read_text()
    for name, value in GIVEN.items():
        text = text.replace(f"${{{name}}}", value)
    text = text.replace("$${", "${")
    assert "${" not in text.replace("${aws:userid}", "")
    found: Mapping[str, Any] = json.loads(text)
    return found


def permitted(role: str, action: str, arn: str, **context: str) -> bool:
    """By IAM's own rule: an explicit denial wins, else what is allowed; a condition on what the request does not carry is not met."""
    verdict = False
    for statement in policy(role)["Statement"]:
        matches = (
            action in statement["Action"]
            and any(_like(pattern, arn) for pattern in statement["Resource"])
            and _holds(statement.get("Condition", {}), context)
        )
        if matches and statement["Effect"] == "Deny":
            return False
        verdict = verdict or matches
    return verdict


def _like(pattern: str, text: str) -> bool:
    assert "[" not in pattern and "?" not in pattern
    return fnmatch.fnmatchcase(text, pattern)


def _holds(conditions: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    assert {*conditions} <= {"StringEquals", "StringLike"}
    for operator, keys in conditions.items():
        for key, wanted in keys.items():
            values = [wanted] if isinstance(wanted, str) else wanted
            found = context.get(key.replace(":", "_"))
            if found is None or not any(_like(v, found) if operator == "StringLike" else v == found for v in values):
                return False
    return True


def work(role: str) -> set[str]:
    """The actions that are a role's work."""
    actions, service = set(), ""
    for word in WORK[role].split():
        if word.endswith(":"):
            service = word
        else:
            actions.add(service + word)
    return actions


def test_what_the_product_asks_of_these_services_is_some_role_s_work_and_nothing_else_is() -> None:
    asked = asked_by_the_product()
    assert {*asked} - REFUSED == set().union(*map(work, ROLES)), "give the new call to a role, or take the action away"
    assert REFUSED <= {*asked} == {*RESOURCES}
    assert sum(len(work(role)) for role in ROLES) == len({*asked} - REFUSED)


@pytest.mark.parametrize("action", sorted(RESOURCES))
def test_each_call_is_allowed_by_exactly_the_role_that_it_is_the_work_of(action: str) -> None:
    # the product deletes the models of a proof alone
    request = {**REQUEST, "ModelName": "orchestrai-prove-0a1b-2c3d"} if action == "sagemaker:DeleteModel" else REQUEST
    arns = judged_on(action, request)
    allowed = {role for role in ROLES if all(permitted(role, action, arn, **CONTEXT) for arn in arns)}
    assert allowed == {role for role in ROLES if action in work(role)}, arns


@pytest.mark.parametrize("role", ROLES)
def test_a_role_s_policy_names_its_work_and_no_other_action(role: str) -> None:
    statements = policy(role)["Statement"]
    named = {action for one in statements if one["Effect"] == "Allow" for action in one["Action"]}
    s3 = s3_asked_in(*S3_MODULES[role]) | STORE.get(role, set())
    assert named == work(role) | TAGS.get(role, set()) | s3 | ({"iam:PassRole"} if role in LENT_TO else set())
    known = {action for service in SERVICES for action in operations(service).values()}
    for one in statements:
        beside = ("s3:", "iam:PassRole", "redshift-serverless:GetCredentials")
        assert all(a in known or a.startswith(beside) for a in one["Action"]), "an action that AWS has"
        free = {action for action in one["Action"] if one["Effect"] == "Allow" and "*" in one["Resource"]}
        # everything of a kind only where the reference knows no resource
        assert free <= {action for action, places in RESOURCES.items() if places == ("*",)}
    assert len((POLICIES / f"{role}.json").read_text()) < 6_144


@pytest.mark.parametrize("role", LENT_TO)
def test_a_role_is_lent_to_its_service_alone(role: str) -> None:
    lent, service = GIVEN["role"], f"{LENT_TO[role]}.amazonaws.com"
    assert permitted(role, "iam:PassRole", lent, iam_PassedToService=service)
    assert not permitted(role, "iam:PassRole", lent)
    for other in ("lambda.amazonaws.com", "ec2.amazonaws.com", *(f"{one}.amazonaws.com" for one in LENT_TO.values())):
        if other != service:
            assert not permitted(role, "iam:PassRole", lent, iam_PassedToService=other)
    assert not permitted(role, "iam:PassRole", "arn:aws:iam::123456789012:role/admin", iam_PassedToService=service)


@pytest.mark.parametrize("role", ROLES)
def test_what_is_somebody_else_s_is_not_changed(role: str) -> None:
    theirs = {key: "production" for key in REQUEST} | {
        "ModelPackageName": ARN.format(service="sagemaker", name="model-package/production/3"),
        "RecoveryPointArn": "arn:aws:backup:us-east-1:999999999999:recovery-point:1",
    }
    for action, places in RESOURCES.items():
        if places != ("*",) and action != "elasticfilesystem:DescribeFileSystems":
            assert not all(permitted(role, action, arn) for arn in judged_on(action, theirs)), action
    for key in ("sagemaker-else/x", "spark/exchange-else/x", "data/x", "heads/a/000000000001.json"):
        for action in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject"):
            assert not permitted(role, action, f"arn:aws:s3:::t-lake/{key}"), key
            assert not permitted(role, action, f"arn:aws:s3:::t-vault/{key}"), key
    assert not permitted(role, "s3:ListBucket", "arn:aws:s3:::t-vault")
    assert not permitted(role, "s3:ListBucket", "arn:aws:s3:::t-lake", s3_prefix="data/")


@pytest.mark.parametrize("role", ROLES)
def test_nothing_that_destroys_is_allowed_beside_what_the_product_calls(role: str) -> None:
    places = [arn for action in RESOURCES for arn in judged_on(action, REQUEST)]
    for service in SERVICES:
        for action in operations(service).values():
            if action not in work(role) | TAGS.get(role, set()):
                assert not any(permitted(role, action, arn) for arn in {*places, *SOURCES}), action


def test_a_restore_test_removes_what_it_restored_and_never_what_is_backed_up() -> None:
    assert permitted("restore_tester", "rds:DeleteDBInstance", f"{RDS}:db:restored-shop")
    assert not permitted("restore_tester", "rds:DeleteDBInstance", f"{RDS}:db:shop")
    # a source that has such a name is denied by its own
    for action, source in zip(("rds:DeleteDBInstance", "rds:DeleteDBCluster", "dynamodb:DeleteTable"), SOURCES, strict=True):
        assert not permitted("restore_tester", action, source)
    denied = {"backup:DeleteRecoveryPoint", "backup:DeleteBackupVault", "backup:UpdateRecoveryPointLifecycle"}
    for role in ("managed_backup", "restore_tester"):
        never = next(one for one in policy(role)["Statement"] if one["Sid"] == "NeverLessens")
        assert never["Effect"] == "Deny" and never["Resource"] == ["*"] and denied <= {*never["Action"]}


def test_statements_of_others_are_neither_read_nor_cancelled_and_no_other_workgroup_is_asked() -> None:
    others = {"redshift-data_statement-owner-iam-userid": "AROA:another"}
    for name in ("DescribeStatement", "GetStatementResult", "CancelStatement"):
        assert permitted("warehouse", f"redshift-data:{name}", "*", **CONTEXT)
        assert not permitted("warehouse", f"redshift-data:{name}", "*", **others)
        assert not permitted("warehouse", f"redshift-data:{name}", "*")
    place = ARN.format(service="redshift-serverless", name="workgroup/")
    for action in ("redshift-data:ExecuteStatement", "redshift-serverless:GetCredentials"):
        assert permitted("warehouse", action, place + "0a1b-2c3d") and not permitted("warehouse", action, place + "9z")
    assert permitted("warehouse", "s3:DeleteObject", "arn:aws:s3:::t-lake/redshift/orchestrai-read/a/0.parquet")
    assert permitted("warehouse", "s3:ListBucket", "arn:aws:s3:::t-lake", s3_prefix="redshift/orchestrai-read/a/")


def test_s3_of_a_job_is_its_own_folder() -> None:
    for role, folder in (("trainer", "sagemaker"), ("deployer", "sagemaker"), ("spark_launcher", "spark/exchange")):
        for action in ("s3:GetObject", "s3:PutObject"):
            assert permitted(role, action, f"arn:aws:s3:::t-lake/{folder}/job-1/x")
    assert not permitted("trainer", "s3:DeleteObject", "arn:aws:s3:::t-lake/sagemaker/job-1/x")
    assert permitted("deployer", "s3:DeleteObject", "arn:aws:s3:::t-lake/sagemaker/prove/a/model.tar.gz")
    assert not permitted("deployer", "s3:DeleteObject", "arn:aws:s3:::t-lake/sagemaker/models/a/model.tar.gz")
    assert permitted("spark_launcher", "s3:ListBucket", "arn:aws:s3:::t-lake", s3_prefix="spark/exchange/pipes/abc/")
    assert permitted("restore_tester", "s3:ListBucket", "arn:aws:s3:::restored-events")
