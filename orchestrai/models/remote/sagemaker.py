"""Remote training on SageMaker: the same declaration in Amazon's built-in XGBoost container.

What leaves for S3 is the encoded matrix with the label in front (no entity, no event time), as Parquet; what comes back is a
tar with one file, `xgboost-model`, in UBJ (containers 3.0 and newer; older ones write a format that is refused here).
"""

import io
import tarfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from orchestrai.errors import ModelError
from orchestrai.models.estimators.boosting import BoostedTrees, centre, feature_types, settings, xgboost
from orchestrai.models.remote.sagemaker_requests import attempts_at, network_of, next_attempt, split_url, tags_of, taken_up
from orchestrai.models.remote.spec import TRAINED_BY, is_trained_by
from orchestrai.models.remote.training_job import RemoteJob, job_name, training_wait
from orchestrai.models.rows import Rows
from orchestrai.models.spec import SageMakerServing, SageMakerTraining, XGBoostParams
from orchestrai.models.task import Task
from orchestrai.storage.cloud.aws import aws_client
from orchestrai.storage.cloud.cloud_errors import aws_errors
from orchestrai.storage.cloud.job_wait import Clock, Phase, phase_of

ENDED = ("Failed", "Stopped")
MODEL_MEMBER = "xgboost-model"
MAX_MODEL_BYTES = 2 * 1024**3
RENAMED = {"reg_lambda": "lambda", "reg_alpha": "alpha"}
# the container refuses names it does not know; these decide nothing for a matrix of numbers on its processors
LEFT_OUT = ("max_cat_to_onehot", "max_cat_threshold", "device", "verbosity")
Clients = Callable[[str], Any]


def boto_clients(where: SageMakerTraining | SageMakerServing) -> Clients:
    """boto3 clients in the declared region, by the connection that covers the service; S3 by that of the place that is written to."""
    return lambda service: aws_client(service, region=where.region, url=where.output if service == "s3" else None)


class SageMakerTrainer:
    """Trains boosted trees as a SageMaker training job.

    A job's name is a digest of its data and parameters: a second call while it runs, or after it ended well, takes up the
    same job instead of paying for another.
    """

    def __init__(
        self,
        where: SageMakerTraining,
        *,
        clients: Clients | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.where = where
        make = clients or boto_clients(where)
        self.s3, self.jobs = make("s3"), make("sagemaker")
        self._waiting = training_wait(where, "sagemaker", "instance", clock)

    def train(
        self, name: str, params: XGBoostParams, task: Task, rows: Rows, stop: Rows | None = None
    ) -> tuple[BoostedTrees, RemoteJob]:
        """Run the job to its end; raises ModelError when it fails or passes its time limit, StorageError for AWS itself."""
        hyper, offset = hyperparameters(params, task, rows)
        channels = {"train": _channel(rows, offset)}
        if stop is not None and params.early_stopping_rounds:
            channels["validation"] = _channel(stop, offset)
            hyper["early_stopping_rounds"] = str(params.early_stopping_rounds)
        job = job_name(name, {"hyper": hyper, "image": self.where.image}, channels)
        earlier = attempts_at(self.jobs, "training", job)
        going = taken_up(earlier)
        described = self._wait(going) if going else self._run(next_attempt(job, earlier), hyper, channels)
        data = self._download(described)
        return _booster(data, rows, offset), self._cost(described)

    def _run(self, attempt: str, hyper: Mapping[str, str], channels: Mapping[str, bytes]) -> Mapping[str, Any]:
        bucket, prefix = split_url(self.where.output)
        for channel, data in channels.items():
            with aws_errors(f"AWS to store the {channel} channel in {bucket}"):
                self.s3.put_object(Bucket=bucket, Key=f"{prefix}{attempt}/{channel}/part-0.parquet", Body=data)
        with aws_errors("AWS to start a training job"):
            self.jobs.create_training_job(**self._request(attempt, hyper, list(channels)))
        return self._wait(attempt)

    def _request(self, job: str, hyper: Mapping[str, str], channels: list[str]) -> dict[str, Any]:
        where = self.where
        bucket, prefix = split_url(where.output)
        limit = int(where.time_limit.total_seconds())
        stopping = {"MaxRuntimeInSeconds": limit}
        if where.spot:
            stopping["MaxWaitTimeInSeconds"] = limit + int(where.spot_wait.total_seconds())
        output = {"S3OutputPath": f"s3://{bucket}/{prefix}{job}/output"}
        if where.kms_key:
            output["KmsKeyId"] = where.kms_key
        request: dict[str, Any] = {
            "TrainingJobName": job,
            "AlgorithmSpecification": {"TrainingImage": where.image, "TrainingInputMode": "File"},
            "RoleArn": where.role,
            "HyperParameters": dict(hyper),
            "InputDataConfig": [
                {
                    "ChannelName": channel,
                    "ContentType": "application/x-parquet",
                    "DataSource": {
                        "S3DataSource": {
                            "S3DataType": "S3Prefix",
                            "S3Uri": f"s3://{bucket}/{prefix}{job}/{channel}/",
                            "S3DataDistributionType": "FullyReplicated",
                        }
                    },
                }
                for channel in channels
            ],
            "OutputDataConfig": output,
            "ResourceConfig": {
                "InstanceType": where.instance_type,
                "InstanceCount": 1,
                "VolumeSizeInGB": where.volume_gb,
                **({"VolumeKmsKeyId": where.volume_kms_key} if where.volume_kms_key else {}),
            },
            "StoppingCondition": stopping,
            "EnableManagedSpotTraining": where.spot,
            "EnableNetworkIsolation": True,
            **tags_of(where),
            **network_of(where),
        }
        if where.network is not None and where.network.encrypt_between:
            request["EnableInterContainerTrafficEncryption"] = True
        if where.spot:
            request["CheckpointConfig"] = {"S3Uri": f"s3://{bucket}/{prefix}{job}/checkpoints"}
        return request

    def _wait(self, job: str) -> Mapping[str, Any]:
        described: Mapping[str, Any] = {}

        def look() -> tuple[Phase, str]:
            nonlocal described
            with aws_errors(f"AWS to describe training job {job}"):
                described = self.jobs.describe_training_job(TrainingJobName=job)
            reason = described.get("FailureReason") or described.get("SecondaryStatus")
            return phase_of(described["TrainingJobStatus"], "Completed", ENDED, reason)

        def stop() -> None:
            with aws_errors(f"AWS to stop training job {job}"):
                self.jobs.stop_training_job(TrainingJobName=job)

        self._waiting.until_done(job, look, stop)
        return described

    def _download(self, described: Mapping[str, Any]) -> bytes:
        bucket, key = split_url(described["ModelArtifacts"]["S3ModelArtifacts"], folder=False)
        with aws_errors(f"AWS to read the model artifact {key}"):
            packed = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        try:
            with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
                member = next((one for one in archive if one.name.removeprefix("./") == MODEL_MEMBER), None)
                stream = archive.extractfile(member) if member and member.isreg() and member.size < MAX_MODEL_BYTES else None
                if stream is not None:
                    return stream.read()
        except (tarfile.TarError, OSError, EOFError) as exc:
            raise ModelError(f"expected a model in {key}, found an unreadable archive ({exc}): train again") from exc
        raise ModelError(f"expected a file {MODEL_MEMBER} in {key}, found none: train again")

    def _cost(self, described: Mapping[str, Any]) -> RemoteJob:
        spent = int(described.get("TrainingTimeInSeconds") or 0)
        billed = int(described.get("BillableTimeInSeconds") or spent)
        return RemoteJob(
            name=described["TrainingJobName"],
            place="sagemaker",
            seconds=spent,
            billable_seconds=billed,
            limit_seconds=int(self.where.time_limit.total_seconds()),
            instance_type=described["ResourceConfig"]["InstanceType"],
            spot=bool(described.get("EnableManagedSpotTraining")),
            per_hour=self.where.price_per_hour,
        )


def hyperparameters(params: XGBoostParams, task: Task, rows: Rows) -> tuple[dict[str, str], float]:
    """The container's hyper-parameters as text, and what a regression's labels are centred on."""
    chosen = settings(params, task, rows)
    if not is_trained_by("sagemaker", chosen["objective"]):
        raise ModelError(
            f"expected an objective the container trains ({', '.join(TRAINED_BY['sagemaker'])}), found {chosen['objective']}: train locally"
        )
    offset = centre(chosen["objective"], rows.label)
    container_params = {RENAMED.get(name, name): value for name, value in chosen.items() if name not in LEFT_OUT}
    if "monotone_constraints" in container_params:
        container_params["monotone_constraints"] = (
            "(" + ",".join(str(way) for way in container_params["monotone_constraints"]) + ")"
        )
    container_params["num_round"] = params.num_boost_round
    return {name: str(value) for name, value in sorted(container_params.items())}, offset


def _channel(rows: Rows, offset: float) -> bytes:
    """The label, then the features, as floats; nulls stay nulls."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"label": pa.array((rows.label - offset).astype(np.float32))}
    for place, column in enumerate(rows.columns):
        columns[column.name] = pa.array(rows.matrix[:, place], pa.float32(), from_pandas=True)
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def _booster(data: bytes, rows: Rows, offset: float) -> BoostedTrees:
    library = xgboost()
    if data[:1] != b"{":
        raise ModelError(
            f"expected a model in UBJ from the container, found bytes that begin with {data[:4].hex()}: "
            "use an image of sagemaker-xgboost 3.0 or newer"
        )
    booster = library.Booster()
    try:
        booster.load_model(bytearray(data))
    except library.core.XGBoostError as exc:
        raise ModelError(f"expected an XGBoost model from the container, found: {str(exc).splitlines()[0]}") from exc
    if booster.num_features() != len(rows.columns):
        raise ModelError(
            f"expected a model of {len(rows.columns)} features, found one of {booster.num_features()}: train again"
        )
    booster.feature_names = [column.name for column in rows.columns]
    booster.feature_types = ["q" if letter == "c" else letter for letter in feature_types(rows.columns)]
    return BoostedTrees(booster, offset, len(rows.classes))
