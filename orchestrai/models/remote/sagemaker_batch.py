"""Batch predictions by a SageMaker transform job: rows of CSV in, a score a line out, checked against the champion itself."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from orchestrai.errors import ModelError
from orchestrai.models.estimators.artifact import GOLDEN_ROWS, INFO_FILE, Scorer, differing
from orchestrai.models.registry.sagemaker_archive import Served, archive, served_model
from orchestrai.models.registry.sagemaker_endpoint import ensure_model
from orchestrai.models.remote.sagemaker import ENDED, Clients, boto_clients
from orchestrai.models.remote.sagemaker_requests import attempts_at, next_attempt, split_url, tags_of, taken_up
from orchestrai.models.remote.training_job import RemoteJob
from orchestrai.models.rows import Floats, Rows
from orchestrai.models.spec import SageMakerServing
from orchestrai.storage.cloud.cloud_errors import aws_errors
from orchestrai.storage.cloud.job_wait import Clock, Phase, Waiting, phase_of


class BatchTransform:
    """Scores rows with a champion in a transform job; a job of the same model and rows that runs or completed is taken up."""

    def __init__(
        self,
        where: SageMakerServing,
        *,
        clients: Clients | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.where = where
        make = clients or boto_clients(where)
        self.s3, self.api = make("s3"), make("sagemaker")
        remedy = "raise serve_on.sagemaker.time_limit or take more instances"
        self._waiting = Waiting(where.time_limit, where.poll, remedy, clock or Clock(), ModelError)

    def score(self, scorer: Scorer, rows: Rows) -> tuple[Floats, RemoteJob]:
        """One score per row, in order. Raises ModelError when the job fails, ends late or scores otherwise than the champion."""
        model = served_model(scorer, self.where.image)
        data = _csv(rows)
        digest = hashlib.sha256(scorer.version.encode() + hashlib.sha256(data).digest()).hexdigest()[:20]
        job = f"{str(scorer.info.recipe['name']).replace('_', '-')[:30]}-batch-{digest}"
        bucket, prefix = split_url(self.where.output)
        earlier = attempts_at(self.api, "transform", job)
        going = taken_up(earlier)
        described = self._wait(going) if going else self._run(next_attempt(job, earlier), scorer, model, data)
        job = described["TransformJobName"]
        key = f"{prefix}batch/{job}/output/rows.csv.out"
        with aws_errors(f"AWS to read the scores at {key}"):
            body = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        scores = _scores(body, len(rows), job) + scorer.info.offset
        _check(scorer, rows, scores, job)
        return scores, self._cost(described)

    def _run(self, job: str, scorer: Scorer, model: Served, data: bytes) -> Mapping[str, Any]:
        where = self.where
        bucket, prefix = split_url(where.output)
        folder = f"{prefix}models/{scorer.version.removeprefix('sha256:')}/"
        with aws_errors(f"AWS to store the rows of {job}"):
            self.s3.put_object(Bucket=bucket, Key=f"{folder}model.tar.gz", Body=archive(model))
            self.s3.put_object(Bucket=bucket, Key=f"{folder}{INFO_FILE}", Body=scorer.info.encode())
            self.s3.put_object(Bucket=bucket, Key=f"{prefix}batch/{job}/input/rows.csv", Body=data)
        with aws_errors(f"AWS to start transform job {job}"):
            name = ensure_model(self.api, where, where.group, scorer.version, f"s3://{bucket}/{folder}model.tar.gz")
            self.api.create_transform_job(
                TransformJobName=job,
                ModelName=name,
                BatchStrategy="MultiRecord",
                TransformInput={
                    "DataSource": {
                        "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/{prefix}batch/{job}/input/"}
                    },
                    "ContentType": "text/csv",
                    "SplitType": "Line",
                },
                TransformOutput={
                    "S3OutputPath": f"s3://{bucket}/{prefix}batch/{job}/output/",
                    "Accept": "text/csv",
                    "AssembleWith": "Line",
                    **({"KmsKeyId": where.kms_key} if where.kms_key else {}),
                },
                TransformResources={
                    "InstanceType": where.instance_type,
                    "InstanceCount": where.instance_count,
                    **({"VolumeKmsKeyId": where.volume_kms_key} if where.volume_kms_key else {}),
                },
                **tags_of(where),
            )
        return self._wait(job)

    def _wait(self, job: str) -> Mapping[str, Any]:
        described: Mapping[str, Any] = {}

        def look() -> tuple[Phase, str]:
            nonlocal described
            with aws_errors(f"AWS to describe transform job {job}"):
                described = self.api.describe_transform_job(TransformJobName=job)
            return phase_of(described["TransformJobStatus"], "Completed", ENDED, described.get("FailureReason"))

        self._waiting.until_done(job, look, lambda: self._stop(job))
        return described

    def _stop(self, job: str) -> None:
        with aws_errors(f"AWS to stop transform job {job}"):
            self.api.stop_transform_job(TransformJobName=job)

    def _cost(self, described: Mapping[str, Any]) -> RemoteJob:
        began, ended = described.get("TransformStartTime"), described.get("TransformEndTime")
        seconds = int((ended - began).total_seconds()) if began and ended else 0
        billed = seconds * self.where.instance_count
        return RemoteJob(
            name=described["TransformJobName"],
            place="sagemaker",
            seconds=seconds,
            billable_seconds=billed,
            limit_seconds=int(self.where.time_limit.total_seconds()),
            instance_type=self.where.instance_type,
            spot=False,
            per_hour=self.where.price_per_hour,
        )


def _csv(rows: Rows) -> bytes:
    """The matrix without header, entity or time; a missing value is an empty field, as the container reads it."""
    # the shortest text that gives a float32 back
    lines = (",".join("" if np.isnan(value) else repr(float(np.float32(value))) for value in row) for row in rows.matrix)
    return ("\n".join(lines) + "\n").encode()


def _scores(body: bytes, count: int, job: str) -> Floats:
    try:
        scores = np.array([float(text) for text in body.decode("ascii").split()], dtype=np.float64)
    except (UnicodeDecodeError, ValueError) as exc:
        raise ModelError(f"expected a number a line from transform job {job}, found something else ({exc})") from exc
    if len(scores) != count:
        raise ModelError(f"expected {count} scores from transform job {job}, found {len(scores)}: nothing was published")
    return scores


def _check(scorer: Scorer, rows: Rows, scores: Floats, job: str) -> None:
    """Compare rows spread over the batch with the champion's own scores: a container of another release may differ in silence."""
    places = np.unique(np.linspace(0, len(rows) - 1, min(GOLDEN_ROWS, len(rows))).astype(np.intp))
    ours = scorer.model.score(rows.take(places))
    wrong = int(differing(scores[places], ours).sum())
    if wrong:
        raise ModelError(
            f"expected transform job {job} to score as the champion does, found {wrong} of {len(places)} rows to differ: "
            "use an image of the release of the library it was trained with; nothing was published"
        )
