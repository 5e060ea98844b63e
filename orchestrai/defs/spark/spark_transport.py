"""Spark's transport in Dagster: dagster-pyspark gives sessions, Dagster Pipes start a process, clusters are told of in the run's log."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg

from orchestrai.features.jobs.exchange import SCRIPT
from orchestrai.pipeline.engines import JOBS, job_launcher, session_settings
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings

if TYPE_CHECKING:
    from dagster_pyspark import LazyPySparkResource

    from orchestrai.features.jobs.cluster_job import Size

KEY = "orchestrai_pyspark"


def spark_resources(runtime: Runtime) -> dict[str, "LazyPySparkResource"]:
    """dagster-pyspark's session as the resource `orchestrai_pyspark`, where settings or a view ask for Spark; nothing elsewhere.

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
    """Let the runtime start Spark jobs from a step, where settings ask for jobs; the run's log hears of them."""
    where = runtime.settings.spark_url.partition(":")[0]
    if where in JOBS:
        runtime.launch = launcher(where, runtime.settings, context, runtime.workers)
    try:
        yield
    finally:
        runtime.launch = None


def launcher(
    where: str, settings: Settings, context: dg.AssetExecutionContext, size: "Size | None" = None
) -> Callable[[str], None]:
    """What starts a job and returns when it has ended. A run that is cancelled meanwhile cancels its job."""
    if where == "subprocess":
        return lambda url: _subprocess(context, url)
    if where == "emr-serverless":
        from orchestrai.defs.spark.emr_pipes import emr_serverless_launcher

        pipes = emr_serverless_launcher(settings, context)
        if pipes is not None:
            return pipes
    return lambda url: job_launcher(settings, context.log.info, size)(url)


def _subprocess(context: dg.AssetExecutionContext, url: str) -> None:
    # a job that failed leaves its reason in the exchange, and there it is read
    command = [
        sys.executable,
        "-c",
        f"import runpy, sys; sys.argv = ['job', {url!r}]\n{_TOLERANT.format(script=str(SCRIPT))}",
    ]
    dg.PipesSubprocessClient().run(command=command, context=context)


_TOLERANT = "try:\n    runpy.run_path({script!r}, run_name='__main__')\nexcept SystemExit:\n    pass"
