"""What is tried in an account of AWS."""

import secrets
from typing import Any

from orchestrai.pipeline.accounts.account_proof import Given, Step, declared
from orchestrai.pipeline.accounts.common_steps import common_steps
from orchestrai.pipeline.accounts.warehouse_steps import SNOWFLAKE, warehouse_step
from orchestrai.storage.cloud.aws import aws_client
from orchestrai.storage.cloud.cloud_errors import aws_errors


def aws_steps() -> tuple[Step, ...]:
    """The steps, cheapest first."""
    registry, serving = ("region", "image", "output", "group"), ("region", "role", "image", "output", "group")
    return (
        *common_steps(
            "s3://BUCKET/FOLDER", "awskms://alias/NAME", "sqs://sqs.REGION.amazonaws.com/ACCOUNT/NAME", "awssm://NAME"
        ),
        Step("sagemaker", "list model packages and endpoints to the last page", registry, _sagemaker),
        Step(
            "sagemaker model",
            "make a model of an image and an artifact, find it by its name, delete it",
            serving,
            _model,
            "one model, which costs nothing",
        ),
        Step("lambda", "describe a function, and its alias live", ("region", "function"), _function),
        Step(
            "backup",
            "describe the vault, and list the backup jobs of a resource",
            ("region", "backup_vault", "resource"),
            _backup,
        ),
        Step(
            "emr serverless",
            "describe the application, and list its job runs to the last page",
            ("region", "application"),
            _serverless,
        ),
        warehouse_step(f"redshift-data://WORKGROUP/DATABASE?staging=s3://BUCKET/FOLDER&role=ARN or {SNOWFLAKE}"),
    )


def _sagemaker(given: Given) -> str:
    from orchestrai.models.remote.sagemaker_requests import listed

    api = aws_client("sagemaker", region=given["region"])
    with aws_errors("SageMaker to list"):
        groups = listed(api, "list_model_package_groups", "ModelPackageGroupSummaryList", NameContains=given["group"])
        endpoints = listed(api, "list_endpoints", "Endpoints")
    return f"{len(groups)} group(s) like {given['group']}, {len(endpoints)} endpoint(s)"


def _model(given: Given) -> str:
    from orchestrai.models.registry.sagemaker_endpoint import ensure_model
    from orchestrai.models.remote.sagemaker_requests import split_url
    from orchestrai.models.remote.spec import SageMakerServing

    where = declared(SageMakerServing, given)
    api, s3 = aws_client("sagemaker", region=where.region), aws_client("s3", region=where.region, url=where.output)
    bucket, prefix = split_url(where.output)
    key, version = f"{prefix}prove/{secrets.token_hex(8)}/model.tar.gz", secrets.token_hex(32)
    made: list[str] = []
    with aws_errors(f"S3 to take {key}"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    try:
        with aws_errors("SageMaker to make a model"):
            # the second time it is found: one of a name is refused
            for _ in range(2):
                name = ensure_model(api, where, "orchestrai-prove", version, f"s3://{bucket}/{key}")
                made += [name] if name not in made else []
    finally:
        _remove(api, s3, made, bucket, key)
    return f"{made[0]} was made once, found and deleted"


def _remove(api: Any, s3: Any, made: list[str], bucket: str, key: str) -> None:
    with aws_errors(f"AWS to delete {', '.join([*made, key])}", "delete it"):
        for name in made:
            api.delete_model(ModelName=name)
        s3.delete_object(Bucket=bucket, Key=key)


def _function(given: Given) -> str:
    from orchestrai.models.registry.functions.lambda_function import LambdaFunction
    from orchestrai.models.remote.spec import LambdaServing

    where = declared(LambdaServing, given)
    handler, version = LambdaFunction(where).seen()
    return f"{where.function} with the handler {handler}, {where.alias} is version {version}"


def _backup(given: Given) -> str:
    from datetime import UTC, datetime

    from orchestrai.backup.managed.aws_backup import open_aws_backup

    service = open_aws_backup(given["region"], lambda: datetime.now(UTC))
    vault = service.describe_vault(given["backup_vault"])
    jobs = service.jobs("list_backup_jobs", "BackupJobs", ByResourceArn=given["resource"])
    return f"{vault.get('VaultType')}, {len(jobs)} backup job(s) of the resource"


def _serverless(given: Given) -> str:
    emr = aws_client("emr-serverless", region=given["region"])
    with aws_errors("EMR Serverless to tell of the application"):
        application = emr.get_application(applicationId=given["application"])["application"]
        pages = emr.get_paginator("list_job_runs").paginate(applicationId=given["application"])
        runs = sum(len(page["jobRuns"]) for page in pages)
    return f"{application['type']} {application['releaseLabel']}, {application['state']}, {runs} job run(s)"
