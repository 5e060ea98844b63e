"""Spark's transport in Dagster: dagster-pyspark gives sessions, Dagster Pipes start jobs on clusters.

The parameters of a cluster lie in a JSON file of the deployment; what a job needs is put on top of them here.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from orchestrai.errors import ConfigError
from orchestrai.features.remote import SCRIPT
from orchestrai.pipeline import Runtime
from orchestrai.pipeline.engines import JOBS, cluster_url, session_settings
from orchestrai.settings import Settings
from orchestrai.storage import open_store

if TYPE_CHECKING:
    from dagster_pyspark import LazyPySparkResource

KEY = "pyspark"


def spark_resources(runtime: Runtime) -> dict[str, "LazyPySparkResource"]:
    """dagster-pyspark's session as the resource `pyspark`, where settings or a view ask for Spark; nothing elsewhere.

    Its import costs each process what PySpark costs.
    """
    settings = runtime.settings
    views = [view.view for pipeline in runtime.project.pipelines for view in pipeline.views]
    wanted = settings.engine == "spark" or settings.spark_threshold_bytes or settings.spark_url
    if not wanted and not any(view.spec.engine == "spark" for view in views):
        return {}
    if settings.spark_url.partition(":")[0] in JOBS:
        return {}
    from dagster_pyspark import LazyPySparkResource

    resource = LazyPySparkResource(spark_config=session_settings(settings.spark_url))
    runtime.spark_session = lambda: resource.spark_session  # type: ignore[method-assign]
    return {KEY: resource}


@contextmanager
def launching(runtime: Runtime, context: dg.AssetExecutionContext) -> Iterator[None]:
    """Let the runtime start Spark jobs from a step, where settings ask for jobs."""
    where, _, file = runtime.settings.spark_url.partition(":")
    if where in JOBS:
        runtime.launch = launcher(where, file, runtime.settings, context)
    try:
        yield
    finally:
        runtime.launch = None


def launcher(
    where: str, file: str, settings: Settings, context: dg.AssetExecutionContext, client: Any = None
) -> Callable[[str], None]:
    """What starts a job and returns when it has ended; `client` stands in for boto3's."""
    if where == "subprocess":
        return lambda url: _subprocess(context, url)
    parameters = _parameters(where, file)
    script = script_url(settings.spark_exchange)
    if where == "emr":
        return lambda url: _emr(context, cluster_parameters(parameters, script, url), settings.spark_exchange, client)
    return lambda url: _emr_serverless(context, serverless_parameters(parameters, script, url), client)


def _subprocess(context: dg.AssetExecutionContext, url: str) -> None:
    # a job that failed leaves its reason in the exchange, and there it is read
    command = [
        sys.executable,
        "-c",
        f"import runpy, sys; sys.argv = ['job', {url!r}]\n{_TOLERANT.format(script=str(SCRIPT))}",
    ]
    dg.PipesSubprocessClient().run(command=command, context=context)


_TOLERANT = "try:\n    runpy.run_path({script!r}, run_name='__main__')\nexcept SystemExit:\n    pass"


def _emr(context: dg.AssetExecutionContext, parameters: dict[str, Any], exchange: str, client: Any) -> None:
    import boto3
    from dagster_aws.pipes import PipesEMRClient, PipesS3MessageReader

    reader = PipesS3MessageReader(bucket=exchange.split("/")[2], client=boto3.client("s3"))
    PipesEMRClient(message_reader=reader, client=client).run(context=context, run_job_flow_params=parameters)


def _emr_serverless(context: dg.AssetExecutionContext, parameters: dict[str, Any], client: Any) -> None:
    from dagster_aws.pipes import PipesEMRServerlessClient

    PipesEMRServerlessClient(client=client).run(context=context, start_job_run_params=parameters)


def script_url(exchange: str) -> str:
    """Put the job's script into the exchange; returns its URL for the cluster."""
    open_store(exchange).write_file("spark_job.py", SCRIPT)
    return f"{cluster_url(exchange)}/spark_job.py"


def cluster_parameters(given: dict[str, Any], script: str, url: str) -> dict[str, Any]:
    """`run_job_flow` for a cluster of its own that ends after the job; workers are spot instances unless the file says more.

    The file gives `ReleaseLabel`, `ServiceRole`, `JobFlowRole`, and whatever else EMR takes.
    """
    instances = {
        "InstanceFleets": [
            {
                "InstanceFleetType": "MASTER",
                "TargetOnDemandCapacity": 1,
                "InstanceTypeConfigs": [{"InstanceType": "m6g.xlarge"}],
            },
            {
                "InstanceFleetType": "CORE",
                "TargetSpotCapacity": 2,
                "InstanceTypeConfigs": [{"InstanceType": kind} for kind in ("r6g.2xlarge", "r7g.2xlarge", "r6gd.2xlarge")],
                "LaunchSpecifications": {
                    "SpotSpecification": {
                        "TimeoutDurationMinutes": 20,
                        "TimeoutAction": "SWITCH_TO_ON_DEMAND",
                        "AllocationStrategy": "price-capacity-optimized",
                    }
                },
            },
        ],
        **given.get("Instances", {}),
        "KeepJobFlowAliveWhenNoSteps": False,
        "TerminationProtected": False,
    }
    step = {
        "Name": "features",
        "ActionOnFailure": "TERMINATE_CLUSTER",
        "HadoopJarStep": {"Jar": "command-runner.jar", "Args": ["spark-submit", "--deploy-mode", "cluster", script, url]},
    }
    return {
        "Name": "orchestrai features",
        "Applications": [{"Name": "Spark"}],
        "AutoTerminationPolicy": {"IdleTimeout": 900},
        **given,
        "Instances": instances,
        "Steps": [step],
    }


def serverless_parameters(given: dict[str, Any], script: str, url: str) -> dict[str, Any]:
    """`start_job_run`; the file gives `applicationId` and `executionRoleArn`."""
    return {
        "name": "orchestrai features",
        "executionTimeoutMinutes": 720,
        **given,
        "jobDriver": {"sparkSubmit": {"entryPoint": script, "entryPointArguments": [url]}},
    }


def _parameters(where: str, file: str) -> dict[str, Any]:
    path = Path(file).expanduser()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise ConfigError(
            f"expected ORCHESTRAI_SPARK_URL={where}:FILE with a JSON file of parameters, found {file!r}: {exc}"
        ) from exc
    if not isinstance(found, dict):
        raise ConfigError(f"expected an object of parameters in {file}, found {type(found).__name__}")
    return found
