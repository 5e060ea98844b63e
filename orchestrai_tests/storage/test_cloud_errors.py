"""The tables of errors against what the SDKs themselves publish, and what a person reads."""

import ast
import http
import importlib
import json
from pathlib import Path
from typing import Any

import botocore
import pytest
import requests
from botocore import exceptions as boto
from botocore.loaders import create_loader
from botocore.retries.standard import ThrottledRetryableChecker, TransientRetryableChecker

import orchestrai
from orchestrai.errors import (
    AccessRefused,
    ConfigError,
    ObjectNotFound,
    OrchestraiError,
    PreconditionFailed,
    RetentionLocked,
    StorageError,
    TransientStorageError,
    transient_status,
)
from orchestrai.storage.cloud.cloud_errors import (
    Meaning,
    aws_errors,
    aws_fault,
    azure_errors,
    azure_fault,
    google_errors,
    google_fault,
    rest_fault,
)
from orchestrai.storage.cloud.control import object_error

SERVICES = ("s3", "kms", "sqs", "sns", "sagemaker", "emr", "emr-serverless", "backup", "rds", "dynamodb", "efs", "sts")


def client_error(code: str, status: int = 400, message: str = "") -> boto.ClientError:
    return boto.ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        "Do",
    )


def _retried(node: Any) -> set[str]:
    """Every error code in botocore's retry data."""
    if not isinstance(node, dict):
        return set()
    own = {node["service_error_code"]} if "service_error_code" in node else set()
    return own.union(*(_retried(value) for value in node.values()))


def published() -> set[str]:
    data = json.loads((Path(botocore.__file__).parent / "data" / "_retry.json").read_text())
    codes = _retried(data) | {*TransientRetryableChecker._TRANSIENT_ERROR_CODES}
    return codes | {*ThrottledRetryableChecker._THROTTLED_ERROR_CODES}


def test_whatever_botocore_retries_is_transient() -> None:
    codes = published()
    assert len(codes) > 15
    wrong = {code for code in codes if aws_fault(client_error(code)).meaning is not Meaning.TRANSIENT}
    assert not wrong
    for status in TransientRetryableChecker._TRANSIENT_STATUS_CODES:
        assert aws_fault(client_error("", status)).meaning is Meaning.TRANSIENT
    for kind in TransientRetryableChecker._TRANSIENT_EXCEPTION_CLS:
        assert aws_fault(kind(error="lost")).meaning is Meaning.TRANSIENT


@pytest.mark.parametrize("service", SERVICES)
def test_what_a_service_calls_its_own_fault_is_transient(service: str) -> None:
    shapes = create_loader().load_service_model(service, "service-2")["shapes"]
    for name, shape in shapes.items():
        if shape.get("exception") and (shape.get("fault") or "retryable" in shape):
            error = shape.get("error", {})
            code, status = error.get("code", name), error.get("httpStatusCode", 400)
            assert aws_fault(client_error(code, status)).meaning is Meaning.TRANSIENT, code


def test_whatever_googles_libraries_retry_is_transient() -> None:
    from google.api_core import exceptions as raised
    from google.api_core import retry
    from google.auth.exceptions import TransportError
    from google.cloud.storage import retry as storage_retry

    kinds = [kind for kind in storage_retry._RETRYABLE_TYPES if issubclass(kind, raised.GoogleAPICallError)]
    assert len(kinds) == 5
    errors: list[Exception] = [kind("lost") for kind in kinds]
    errors += [raised.from_http_status(int(status), "lost") for status in storage_retry._RETRYABLE_STATUS_CODES]
    errors += [
        requests.ConnectionError(),
        requests.Timeout(),
        requests.exceptions.ChunkedEncodingError(),
        TransportError("lost"),
    ]
    for error in errors:
        assert google_fault(error).meaning is Meaning.TRANSIENT, error
    assert all(retry.if_transient_error(kind("x")) for kind in (raised.InternalServerError, raised.ServiceUnavailable))


def test_whatever_azures_libraries_retry_is_transient() -> None:
    from azure.core import exceptions as raised
    from azure.core.pipeline.policies import RetryPolicy

    statuses = [status for status in RetryPolicy._RETRY_CODES if status < 600]
    assert {408, 429, 500, 502, 503, 504} <= set(statuses)
    for status in statuses:
        error = raised.HttpResponseError("lost")
        error.status_code = status
        assert azure_fault(error).meaning is Meaning.TRANSIENT, status
        assert rest_fault(status, "", "").meaning is Meaning.TRANSIENT
    for kind in (raised.ServiceRequestError, raised.ServiceResponseError, raised.ServiceResponseTimeoutError):
        assert azure_fault(kind("lost")).meaning is Meaning.TRANSIENT


def test_statuses_that_will_never_do_are_not_retried() -> None:
    assert [status for status in (400, 401, 403, 404, 409, 412, 501, 505) if transient_status(status)] == []
    assert all(transient_status(int(status)) for status in (http.HTTPStatus.TOO_MANY_REQUESTS, 408, 425, 500, 503, 507))


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (client_error("AccessDenied", 403, "no right"), AccessRefused, "check the credentials"),
        (client_error("ExpiredToken", 400, "old"), AccessRefused, "renew the credentials"),
        (client_error("RequestTimeTooSkewed", 403), AccessRefused, "clock"),
        (client_error("SlowDown", 503), TransientStorageError, "try again"),
        (client_error("OverLimit", 403), TransientStorageError, "try again"),
        (client_error("PreconditionFailed", 412), PreconditionFailed, "list it again"),
        (client_error("ObjectLocked", 403), RetentionLocked, "retention"),
        (client_error("NoSuchBucket", 404), StorageError, "create it"),
        (client_error("ConflictException", 409), StorageError, "look at who"),
        (client_error("ValidationException", 400, "bad name"), StorageError, "mend the name"),
        (boto.NoCredentialsError(), ConfigError, "set credentials"),
        (boto.NoRegionError(), ConfigError, "region"),
        (boto.ParamValidationError(report="x"), ConfigError, "correct the declaration"),
        (boto.EndpointConnectionError(endpoint_url="https://x"), TransientStorageError, "try again"),
        (boto.ReadTimeoutError(endpoint_url="https://x"), TransientStorageError, "try again"),
    ],
)
def test_an_error_of_aws_says_what_was_expected_found_and_to_do(error: Exception, kind: type, said: str) -> None:
    with pytest.raises(OrchestraiError, match=said) as caught, aws_errors("AWS to do it", "mend the name"):
        raise error
    assert type(caught.value) is kind
    assert caught.value.message.startswith("expected AWS to do it, found ")
    assert caught.value.retryable is (kind is TransientStorageError)


def test_errors_of_azure_are_read_by_code_then_status_then_kind() -> None:
    from azure.core import exceptions as raised
    from azure.identity import CredentialUnavailableError

    def answered(status: int, code: str = "") -> Exception:
        error = raised.HttpResponseError("said")
        error.status_code, error.error_code = status, code  # type: ignore[attr-defined]
        return error

    cases: list[tuple[Exception, Meaning]] = [
        (answered(404, "ContainerNotFound"), Meaning.NO_CONTAINER),
        (answered(404, "BlobNotFound"), Meaning.MISSING),
        (answered(409, "BlobArchived"), Meaning.COLD),
        (answered(409, "BlobImmutableDueToPolicy"), Meaning.LOCKED),
        (answered(409), Meaning.CONFLICT),
        (answered(403), Meaning.REFUSED),
        (answered(500, "APINotImplemented"), Meaning.UNSUPPORTED),
        (answered(503, "ServerBusy"), Meaning.TRANSIENT),
        (raised.ResourceNotFoundError("gone"), Meaning.MISSING),
        (raised.ResourceModifiedError("other"), Meaning.CHANGED),
        (CredentialUnavailableError("none"), Meaning.NO_CREDENTIALS),
        (raised.DecodeError("odd"), Meaning.OTHER),
    ]
    for error, meaning in cases:
        assert azure_fault(error).meaning is meaning, error
    with pytest.raises(AccessRefused), azure_errors("the queue to answer"):
        raise answered(403)


def test_errors_of_google_are_read_by_the_nearest_kind() -> None:
    from google.api_core import exceptions as raised
    from google.auth import exceptions as auth

    cases: list[tuple[Exception, Meaning]] = [
        (raised.NotFound("The specified bucket does not exist."), Meaning.NO_CONTAINER),
        (raised.NotFound("No such object"), Meaning.MISSING),
        (raised.PermissionDenied("no"), Meaning.REFUSED),
        (raised.Unauthenticated("no"), Meaning.REFUSED),
        (raised.Aborted("again"), Meaning.TRANSIENT),
        (raised.Conflict("taken"), Meaning.CONFLICT),
        (raised.MethodNotImplemented("never"), Meaning.UNSUPPORTED),
        (raised.ResourceExhausted("slow"), Meaning.TRANSIENT),
        (auth.DefaultCredentialsError("none"), Meaning.NO_CREDENTIALS),
        (auth.RefreshError("revoked"), Meaning.EXPIRED),
        (auth.RefreshError("busy", retryable=True), Meaning.TRANSIENT),
        (requests.exceptions.InvalidURL("x"), Meaning.MALFORMED),
    ]
    for error, meaning in cases:
        assert google_fault(error).meaning is meaning, error
    with pytest.raises(TransientStorageError), google_errors("the subscription to answer"):
        raise raised.ServiceUnavailable("later")


def test_only_a_missing_object_is_an_object_not_found() -> None:
    """A vault takes ObjectNotFound for "nothing there": a bucket that is gone must never look so."""
    found = {
        code: type(object_error(aws_fault(client_error(code, 404)), "k", "s3://b"))
        for code in ("NoSuchKey", "NoSuchVersion", "404", "NoSuchBucket")
    }
    assert found == {
        "NoSuchKey": ObjectNotFound,
        "NoSuchVersion": ObjectNotFound,
        "404": ObjectNotFound,
        "NoSuchBucket": StorageError,
    }


@pytest.mark.parametrize(
    "text",
    [
        "GET https://a/b?sv=1&sig=s3cr3t%2B&se=2 refused",
        "https://b/k?X-Amz-Credential=s3cr3t/2026&X-Amz-Signature=s3cr3t",
        "Authorization: Bearer s3cr3t was refused",
        'body {"access_token": "s3cr3t"}',
        "AccountName=a;AccountKey=s3cr3t==;",
        "X-Amz-Security-Token=s3cr3t",
    ],
)
def test_no_secret_of_an_answer_reaches_a_message(text: str) -> None:
    assert "s3cr3t" not in aws_fault(client_error("X", 400, text)).words
    assert "s3cr3t" not in rest_fault(400, "X", text).words


def test_a_message_is_one_short_line() -> None:
    words = rest_fault(400, "Bad", "x" * 900 + "\nsecond").words
    assert len(words) < 330 and "\n" not in words


def test_no_other_module_reads_an_sdks_errors() -> None:
    """A second list of what is transient would decide retries otherwise than the first."""
    root = Path(orchestrai.__file__).parent
    names = {
        "ClientError",
        "BotoCoreError",
        "AzureError",
        "HttpResponseError",
        "GoogleAPIError",
        "GoogleAPICallError",
        "GoogleAuthError",
    }
    found = {}
    for path in sorted(root.rglob("*.py")):
        tree = ast.parse(path.read_text())
        seen = {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("botocore", "azure", "google")
            for alias in node.names
        }
        if seen & names:
            found[path.relative_to(root).as_posix()] = sorted(seen & names)
    assert set(found) == {"storage/cloud/cloud_errors.py"}, found


def test_one_module_makes_boto3_clients() -> None:
    root = Path(orchestrai.__file__).parent
    makers = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if "import boto3" in path.read_text(encoding="utf-8")
    }
    # and the files of a Spark job and of a Lambda function, which run where nothing else of orchestrai is
    assert makers == {"storage/cloud/aws.py", "features/engines/spark_job.py", "models/remote/lambda_batch.py"}
    assert importlib.import_module("orchestrai.storage.cloud.aws").aws_client
