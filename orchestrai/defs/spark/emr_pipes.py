"""Spark jobs on EMR Serverless by Dagster's Pipes client: the run's log hears of them over S3, while they run."""

import random
import string
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from orchestrai.errors import ObjectExists, OrchestraiError
from orchestrai.features.jobs.cluster_job import SparkJob, Tell, read_file
from orchestrai.features.jobs.emr import EmrFile, serverless_parameters
from orchestrai.features.jobs.exchange import sent_script
from orchestrai.features.jobs.serverless_runs import WatchedRuns
from orchestrai.pipeline.engines import cluster_url
from orchestrai.settings import Settings
from orchestrai.storage.cloud.aws import aws_client
from orchestrai.storage.cloud.cloud_errors import aws_errors
from orchestrai.storage.url import open_store

if TYPE_CHECKING:
    from dagster_aws.pipes import PipesS3MessageReader

S3 = "s3://"


def messages_at(settings: Settings, file: EmrFile) -> str:
    """The S3 folder of messages: `messages` in the file, else the exchange; "" where that is no S3."""
    folder = file.messages or cluster_url(settings.spark_exchange)
    return folder.rstrip("/") if folder.startswith(S3) else ""


def emr_serverless_launcher(settings: Settings, context: dg.AssetExecutionContext) -> Callable[[str], None] | None:
    """What starts a job by `PipesEMRServerlessClient` and returns when it has ended; None without a place for messages on S3."""
    where, _, name = settings.spark_url.partition(":")
    file = read_file(EmrFile, where, name)
    folder = messages_at(settings, file)
    if not folder:
        return None
    exchange, url = open_store(settings.spark_exchange), cluster_url(settings.spark_exchange)
    script, pipes = sent_script(exchange, url), _sent_pipes(settings)

    def launch(job_url: str) -> None:
        from dagster_aws.pipes import PipesEMRServerlessClient

        job = SparkJob(job_url.rsplit("/", 2)[-2], script, job_url)
        minutes = max(1, round(file.time_limit.total_seconds() / 60))
        runs = WatchedRuns(aws_client("emr-serverless", region=file.region), file, context.log.info)
        client = PipesEMRServerlessClient(
            client=runs,
            message_reader=_reader(folder, file, context.log.warning),
            poll_interval=file.poll.total_seconds(),
        )
        parameters: Any = _with_pipes(serverless_parameters(file.given, job, minutes), pipes)
        done = client.run(context=context, start_job_run_params=parameters)
        for told in done.get_custom_messages():
            context.log.info(
                f"EMR Serverless: {job.token} told of {len(told.get('outputs', ()))} file(s) on Spark {told['spark']}"
            )

    return launch


def _sent_pipes(settings: Settings) -> str:
    """The one file of dagster-pipes in the exchange, so that the job can tell; returns its URL for the cluster."""
    import dagster_pipes
    from dagster_pipes.version import __version__

    source, key = Path(dagster_pipes.__file__), f"scripts/pipes-{__version__}/dagster_pipes.py"
    try:
        open_store(settings.spark_exchange).write_file(key, source, create=True)
    except ObjectExists:
        pass
    return f"{cluster_url(settings.spark_exchange)}/{key}"


def _with_pipes(parameters: Mapping[str, Any], pipes: str) -> dict[str, Any]:
    """The job with the file of dagster-pipes, unless its parameters bring Python files of their own."""
    submit = dict(parameters["jobDriver"]["sparkSubmit"])
    given = str(submit.get("sparkSubmitParameters", ""))
    if "--py-files" not in given and "spark.submit.pyFiles" not in given:
        submit["sparkSubmitParameters"] = f"{given} --py-files {pipes}".strip()
    return {**parameters, "jobDriver": {"sparkSubmit": submit}}


def _reader(folder: str, file: EmrFile, tell: Tell) -> "PipesS3MessageReader":
    from dagster_aws.pipes import PipesS3MessageReader

    bucket, _, prefix = folder.removeprefix(S3).partition("/")

    class Messages(PipesS3MessageReader):
        """Messages below our own folder, and gone once they were read: Pipes leaves them at the root of the bucket."""

        @contextmanager
        def get_params(self) -> Iterator[Mapping[str, Any]]:
            with super().get_params() as params:
                # never the same for two tries: the messages of one must not be read by the other
                name = "".join(random.choices(string.ascii_lowercase, k=20))
                own = f"{prefix}/pipes/{name}".lstrip("/")
                try:
                    yield {**params, "key_prefix": own}
                finally:
                    _clear(self.client, bucket, f"{own}/", tell)

    client = aws_client("s3", region=file.region, url=folder)
    return Messages(bucket=bucket, client=client, interval=file.poll.total_seconds())


def _clear(s3: Any, bucket: str, prefix: str, tell: Tell) -> None:
    """Delete messages that were read; what stays costs next to nothing and must not fail a job that is done."""
    try:
        with aws_errors(f"AWS to delete the messages below {prefix}"):
            for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                for one in page.get("Contents", ()):
                    s3.delete_object(Bucket=bucket, Key=one["Key"])
    except OrchestraiError as exc:
        tell(exc.message)
