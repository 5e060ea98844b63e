"""What a user declares about where a model trains, and where its champion is registered and served."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Self

from pydantic import Field, model_validator

from orchestrai.core.time.duration_cron import Duration, DurationOrZero
from orchestrai.core.yaml.declaration import Declaration

# the objectives that a place trains; of a place that is not named, all that a declaration takes but those over groups
TRAINED_BY: dict[str, tuple[str, ...]] = {
    "sagemaker": ("binary:logistic", "multi:softprob", "reg:squarederror", "count:poisson"),
    "spark": ("binary:logistic", "multi:softprob", "reg:squarederror"),
}


def is_trained_by(place: str, objective: str) -> bool:
    """Whether a place of `train_on` trains an objective."""
    return objective in TRAINED_BY[place] if place in TRAINED_BY else not objective.startswith("rank:")


# Amazon's container, which knows XGBoost alone
_XGBOOST_IMAGE = re.compile(r"[^\s]+sagemaker-xgboost:[^\s]+")


def image_problem(kind: str, image: str) -> str:
    """What is wrong with the image that is to serve an estimator of this kind at SageMaker; nothing where it may."""
    amazon = _XGBOOST_IMAGE.fullmatch(image) is not None
    if kind == "xgboost" and not amazon:
        return f"expected Amazon's container sagemaker-xgboost for an xgboost model, found {image}: name its ECR address"
    if kind == "lightgbm" and amazon:
        return f"expected an image of your own with lightgbm for a lightgbm model, found {image}: name one (docs/models.md)"
    return ""


class RemoteLimits(Declaration):
    """What every training job elsewhere is held to.

    `time_limit` ends the job; with `spot` it may also wait `spot_wait` for a machine. `price_per_hour` (USD) turns the seconds
    it ran, or those that are billed, into the cost in the receipt.
    """

    time_limit: Duration = timedelta(hours=2)
    spot: bool = False
    spot_wait: DurationOrZero = timedelta(hours=1)
    price_per_hour: float | None = Field(default=None, gt=0)
    poll: DurationOrZero = timedelta(seconds=15)

    @property
    def allowed(self) -> timedelta:
        """How long to wait: a spot job may wait for its machine before its own clock starts."""
        return self.time_limit + self.poll + (self.spot_wait if self.spot else timedelta())


class SageMakerNetwork(Declaration):
    """The subnets and security groups of an own network; with `encrypt_between` what a job's containers say to each other is encrypted."""

    subnets: list[Annotated[str, Field(pattern=r"^[-0-9a-zA-Z]{1,32}$")]] = Field(min_length=1, max_length=16)
    security_groups: list[Annotated[str, Field(pattern=r"^[-0-9a-zA-Z]{1,32}$")]] = Field(min_length=1, max_length=5)
    encrypt_between: bool = False


class SageMakerPlace(Declaration):
    """What everything that SageMaker makes for us is given: a network, the key of its volumes (`volume_kms_key`), and tags.

    Instances with disks of their own encrypt them themselves, and AWS refuses a key for them.
    """

    region: str | None = None
    network: SageMakerNetwork | None = None
    volume_kms_key: str | None = Field(default=None, max_length=2048)
    tags: Mapping[Annotated[str, Field(min_length=1, max_length=128)], Annotated[str, Field(max_length=256)]] | None = Field(
        default=None, max_length=50
    )


class SageMakerTraining(RemoteLimits, SageMakerPlace):
    """A SageMaker training job in Amazon's built-in XGBoost container (`image`: its ECR address, 3.0 or newer).

    Categories go as their codes.
    """

    role: str = Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$")
    image: str = Field(pattern=r"^[^\s]+sagemaker-xgboost:[^\s]+$")
    output: str = Field(pattern=r"^s3://[^/\s]+(/[^\s]*)?$")
    instance_type: str = Field(default="ml.m5.xlarge", pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$")
    volume_gb: int = Field(default=30, ge=1, le=16384)
    kms_key: str | None = None


class SageMakerServing(SageMakerPlace):
    """The SageMaker Model Registry group and, optionally, the endpoint that follow the champion.

    `image` is Amazon's built-in XGBoost container or, for LightGBM, one of your own that starts `/opt/ml/model/serve.py`.
    With `batch` predictions are made by a batch transform job, in rows of CSV without entity or time. `time_limit` ends such a job, and is
    how long to wait for the endpoint. `kms_key` encrypts what a batch writes.
    """

    role: str | None = Field(default=None, pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$")
    image: str = Field(pattern=r"^[^\s]+:[^\s]+$", max_length=255)
    output: str = Field(pattern=r"^s3://[^/\s]+(/[^\s]*)?$")
    group: str = Field(pattern=r"^[A-Za-z0-9](-*[A-Za-z0-9]){0,62}$")
    endpoint: str | None = Field(default=None, pattern=r"^[A-Za-z0-9](-*[A-Za-z0-9]){0,40}$")
    batch: bool = False
    kms_key: str | None = None
    instance_type: str = Field(default="ml.m5.large", pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$")
    instance_count: int = Field(default=1, ge=1)
    time_limit: Duration = timedelta(hours=1)
    poll: DurationOrZero = timedelta(seconds=15)
    price_per_hour: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _role(self) -> Self:
        if self.role is None and (self.endpoint is not None or self.batch):
            raise ValueError("role: an endpoint and a batch transform need one, found none")
        return self


class LambdaServing(Declaration):
    """A function of AWS Lambda that scores batches with the champion, and the alias by which it is called.

    Function, role, layers (numpy and xgboost, or lightgbm) and alias are there before; its handler is `orchestrai_batch.handler`.
    `time_limit` is how long to wait until new code is taken and a version is active.
    """

    function: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    alias: str = Field(default="live", pattern=r"^[A-Za-z_-][A-Za-z0-9_-]{0,127}$")
    region: str | None = None
    time_limit: Duration = timedelta(minutes=10)
    poll: DurationOrZero = timedelta(seconds=2)


class ServeOn(Declaration):
    """Where the champion is registered and served besides the lake; at least one place."""

    sagemaker: SageMakerServing | None = None
    function: LambdaServing | None = Field(default=None, alias="lambda")

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.sagemaker is None and self.function is None:
            raise ValueError("expected sagemaker or lambda, found none: declare one, or leave serve_on out")
        return self

    @property
    def batch(self) -> SageMakerServing | None:
        """Where batches are scored in place of here; None for here."""
        return self.sagemaker if self.sagemaker is not None and self.sagemaker.batch else None


class AzureMLTraining(RemoteLimits):
    """A command job of Azure Machine Learning in an environment that has xgboost 3.0 or newer.

    `staging` is the store we write to (az://...), `datastore` the same folder as the workspace names it. Without `compute` the
    job is serverless on `instance_type`, and only there `spot` has an effect.
    """

    subscription: str = Field(pattern=r"^[0-9a-fA-F-]{36}$")
    resource_group: str = Field(pattern=r"^[-\w.()]{1,90}$")
    workspace: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{2,32}$")
    environment: str = Field(min_length=1, description="azureml:NAME:VERSION or a full resource id")
    staging: str = Field(min_length=1)
    datastore: str = Field(pattern=r"^(azureml://datastores/[\w-]+/paths/|https://|abfss://).*$")
    compute: str | None = Field(default=None, pattern=r"^[A-Za-z0-9-]{1,63}$")
    instance_type: str = "Standard_DS3_v2"
    experiment: str = "orchestrai"
    endpoint: str = Field(default="https://management.azure.com", pattern=r"^https?://[^/\s]+$")

    @model_validator(mode="after")
    def _spot_is_serverless(self) -> Self:
        if self.spot and self.compute is not None:
            raise ValueError("spot: a named compute has its own priority, found compute: remove one of the two")
        return self


class VertexTraining(RemoteLimits):
    """A custom job of Vertex AI in an image that has Python and xgboost 3.0 or newer.

    `bucket` is gs://BUCKET/FOLDER, which the job sees below /gcs; `staging` another URL of the same folder, where it has one.
    """

    project: str = Field(pattern=r"^[a-z][a-z0-9:.-]{4,61}[a-z0-9]$")
    location: str = Field(pattern=r"^[a-z]+-[a-z]+[0-9]+$")
    image: str = Field(min_length=1)
    bucket: str = Field(pattern=r"^gs://[^/\s]+(/[^\s]*)?$")
    staging: str | None = None
    machine_type: str = "n1-standard-4"
    disk_gb: int = Field(default=100, ge=100, le=64000)
    service_account: str | None = None
    kms_key: str | None = None
    endpoint: str | None = Field(default=None, pattern=r"^https?://[^/\s]+$")


class SparkTraining(Declaration):
    """The Spark session that the settings name, by xgboost.spark, in as many parallel tasks as `workers`.

    `staging` is a store that the executors read (s3://, abfss://, gs:// or a shared folder); on a local session it may stay away.
    """

    workers: int = Field(default=2, ge=1, le=1000)
    staging: str | None = None


class TrainOn(Declaration):
    """Where to train when not in the step's own process; exactly one place."""

    sagemaker: SageMakerTraining | None = None
    azure_ml: AzureMLTraining | None = None
    vertex: VertexTraining | None = None
    spark: SparkTraining | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        named = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(named) != 1:
            raise ValueError(
                f"expected exactly one of {', '.join(type(self).model_fields)}, found {', '.join(named) or 'none'}"
            )
        return self
