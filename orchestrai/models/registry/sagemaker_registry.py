"""The champion in SageMaker: a model package of its group and, where declared, the endpoint that serves it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrai.errors import ModelError, ObjectNotFound
from orchestrai.ledger.ledger import Ledger
from orchestrai.models.estimators.artifact import INFO_FILE
from orchestrai.models.registry.sagemaker_archive import Served, archive, served_model
from orchestrai.models.registry.sagemaker_endpoint import Endpoint
from orchestrai.models.registry.target_port import RECEIPT_FILE, Champion, Registered, open_champion
from orchestrai.models.remote.sagemaker import Clients, boto_clients
from orchestrai.models.remote.sagemaker_requests import listed, split_url, tags_of
from orchestrai.models.spec import SageMakerServing
from orchestrai.storage.cloud.cloud_errors import Fault, Meaning, aws_errors
from orchestrai.storage.cloud.job_wait import Clock, Phase, Waiting, phase_of

VERSION_KEY = "orchestrai_version"


@dataclass(frozen=True)
class Deployment:
    """What SageMaker holds of a champion afterwards; `changed` is False when it all was there."""

    model_version: str
    model_package: str
    artifact: str
    endpoint: str | None
    changed: bool

    def as_json(self) -> dict[str, Any]:
        """For receipts and `--json`."""
        return dict(self.__dict__)


class SageMakerRegistry:
    """Registers champions as approved model packages of one group and moves the endpoint where one is declared."""

    def __init__(self, where: SageMakerServing, *, clients: Clients | None = None, clock: Clock | None = None) -> None:
        self.where = where
        self.url = f"sagemaker://{where.group}"
        self._clients = clients
        self._waiting = Waiting(
            where.time_limit, where.poll, "deploy again, it is taken up, or raise serve_on.sagemaker.time_limit",
            clock or Clock(), ModelError,
        )  # fmt: skip

    def register(self, champion: Champion) -> Registered:
        """Upload, register and point the endpoint; idempotent per model version. Raises ModelError, StorageError.

        It returns when the package is complete and the endpoint in service with this version. Where it does not come into service it
        has what it had before, and ModelError says why; one that is still under way is a TransientStorageError.
        """
        where, scorer = self.where, champion.scorer
        model = served_model(scorer, where.image)
        make = self._clients or boto_clients(where)
        s3, api = make("s3"), make("sagemaker")
        earlier = _package(api, where, scorer.version)
        # what is registered was stored before that; it may have been removed since
        artifact = _stored(s3, where, scorer.version) if earlier else None
        artifact = artifact or _upload(s3, where, champion, model)
        package = earlier or _register(api, where, champion, artifact)
        self._completed(api, package)
        moved = where.endpoint is not None and Endpoint(api, where, where.endpoint, self._waiting).point(
            scorer.version, artifact
        )
        return Registered(
            self.url, where.group, package, "Approved", artifact, earlier is None or moved, where.endpoint or ""
        )

    def _completed(self, api: Any, package: str) -> None:
        def look() -> tuple[Phase, str]:
            with aws_errors("AWS to describe a model package"):
                described = api.describe_model_package(ModelPackageName=package)
            details = described.get("ModelPackageStatusDetails", {}).get("ValidationStatuses") or [{}]
            return phase_of(described["ModelPackageStatus"], "Completed", ("Failed",), details[0].get("FailureReason"))

        self._waiting.until_done(package, look, None, what="model package")


def deploy(
    ledger: Ledger, where: SageMakerServing, *, champion: str, clients: Clients | None = None, clock: Clock | None = None
) -> Deployment:
    """Register the champion as an approved model package and point the endpoint at it; idempotent per model version.

    The model is checked as on any load first. Raises ModelError for a model that the container cannot serve, StorageError
    for AWS itself. The package's properties carry the versions of model and training set and the receipt's digest.
    """
    opened = open_champion(ledger, champion)
    held = SageMakerRegistry(where, clients=clients, clock=clock).register(opened)
    return Deployment(opened.scorer.version, held.version, held.artifact, where.endpoint, held.changed)


def _place(where: SageMakerServing, version: str) -> tuple[str, str]:
    """The bucket and the folder of a version's files."""
    bucket, prefix = split_url(where.output)
    return bucket, f"{prefix}models/{version.removeprefix('sha256:')}/"


def _stored(s3: Any, where: SageMakerServing, version: str) -> str | None:
    """Where a version's model is stored, of which the receipt is written last; None where it is not."""
    bucket, folder = _place(where, version)

    def none_there(fault: Fault) -> ObjectNotFound | None:
        return ObjectNotFound(f"expected {folder} in {bucket}") if fault.meaning is Meaning.MISSING else None

    try:
        with aws_errors(f"AWS to look for the model in {bucket}", own=none_there):
            for name in ("model.tar.gz", RECEIPT_FILE):
                s3.head_object(Bucket=bucket, Key=f"{folder}{name}")
    except ObjectNotFound:
        return None
    return f"s3://{bucket}/{folder}model.tar.gz"


def _upload(s3: Any, where: SageMakerServing, champion: Champion, model: Served) -> str:
    scorer = champion.scorer
    bucket, folder = _place(where, scorer.version)
    with aws_errors(f"AWS to store the model in {bucket}"):
        # the key names the version, so writing it again writes the same bytes
        s3.put_object(Bucket=bucket, Key=f"{folder}model.tar.gz", Body=archive(model))
        s3.put_object(Bucket=bucket, Key=f"{folder}{INFO_FILE}", Body=scorer.info.encode())
        s3.put_object(Bucket=bucket, Key=f"{folder}{RECEIPT_FILE}", Body=champion.receipt)
    return f"s3://{bucket}/{folder}model.tar.gz"


def _package(api: Any, where: SageMakerServing, version: str) -> str | None:
    """The package that holds this version and did not fail; the group is made where there is none."""
    with aws_errors("AWS to list model packages"):
        groups = listed(api, "list_model_package_groups", "ModelPackageGroupSummaryList", NameContains=where.group)
        if not any(one["ModelPackageGroupName"] == where.group for one in groups):
            api.create_model_package_group(ModelPackageGroupName=where.group, **tags_of(where))
            return None
        packages = listed(api, "list_model_packages", "ModelPackageSummaryList", ModelPackageGroupName=where.group)
        for one in packages:
            if one["ModelPackageStatus"] not in ("Failed", "Deleting"):
                described = api.describe_model_package(ModelPackageName=one["ModelPackageArn"])
                if described.get("CustomerMetadataProperties", {}).get(VERSION_KEY) == version:
                    return str(one["ModelPackageArn"])
        return None


def _register(api: Any, where: SageMakerServing, champion: Champion, artifact: str) -> str:
    scorer = champion.scorer
    properties = {**champion.labels(), "orchestrai_score_offset": repr(scorer.info.offset)}
    with aws_errors("AWS to register a model package"):
        answer: Mapping[str, Any] = api.create_model_package(
            ModelPackageGroupName=where.group,
            ModelPackageDescription=f"{scorer.info.recipe['name']} {scorer.version}",
            InferenceSpecification={
                "Containers": [{"Image": where.image, "ModelDataUrl": artifact}],
                "SupportedContentTypes": ["text/csv"],
                "SupportedResponseMIMETypes": ["text/csv"],
            },
            ModelApprovalStatus="Approved",
            CustomerMetadataProperties=properties,
        )
    return str(answer["ModelPackageArn"])
