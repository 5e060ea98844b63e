"""What an error of a cloud means: one table per cloud, and one translation that every adapter uses.

A retry in Dagster hangs on what is transient, so no adapter has a list of its own. A code counts before a status, a status before the
kind of the exception. Messages carry the service's words, without signatures, tokens and keys.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

from orchestrai.errors import (
    AccessRefused,
    ConfigError,
    OrchestraiError,
    PreconditionFailed,
    RetentionLocked,
    StorageError,
    TransientStorageError,
    transient_status,
)

WORDS = 300


class Meaning(Enum):
    """What is wrong, whatever a cloud calls it; the value is the remedy, where there is one for all services."""

    MISSING = "correct the name or make it"
    NO_CONTAINER = "create it or correct its name"
    REFUSED = "check the credentials and their policy or roles"
    EXPIRED = "renew the credentials and look at this machine's clock"
    NO_CREDENTIALS = "set credentials and region or give the machine a role"
    TRANSIENT = "try again"
    CONFLICT = "look at who else changes it"
    CHANGED = "list it again"
    LOCKED = "wait until its retention or hold ends"
    COLD = "request its restore"
    ELSEWHERE = "declare the region of the bucket in its connection, or set AWS_REGION"
    UNSUPPORTED = "use a service that knows the request"
    MALFORMED = "correct the declaration or the settings of the SDK"
    OTHER = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """An error of an SDK or of an answer, understood; `status` is 0 where nothing answered."""

    meaning: Meaning
    code: str
    status: int = 0
    message: str = ""

    @property
    def words(self) -> str:
        """What the service said, on one line and without secrets."""
        first = f"{self.status or ''} {self.code}".strip()
        said = " ".join(_SECRET.sub(r"\1***", self.message.split("\n")[0]).split())[:WORDS]
        return f"{first}: {said}" if said else first


Own = Callable[[Fault], OrchestraiError | None]
REMEDY = "check the request and the service's settings"
_SECRET = re.compile(
    r"(?i)((?:\b|-)(?:sig|signature|credential|security-token|access_token|refresh_token|sas|token|accountkey|secret|password)\"?"
    r"\s*[=:]\s*\"?|bearer\s+)[^\s&\"',;]+"
)
_KINDS: Mapping[Meaning, type[OrchestraiError]] = {
    Meaning.REFUSED: AccessRefused,
    Meaning.EXPIRED: AccessRefused,
    Meaning.NO_CREDENTIALS: ConfigError,
    Meaning.TRANSIENT: TransientStorageError,
    Meaning.CHANGED: PreconditionFailed,
    Meaning.LOCKED: RetentionLocked,
    Meaning.MALFORMED: ConfigError,
}


def error_of(
    fault: Fault, expected: str, remedy: str = REMEDY, own: Own | None = None, key: str | None = None
) -> OrchestraiError:
    """Our error for a fault: "expected `expected`, found what the service said: remedy".

    `own` may give another one for what has a meaning of its own at one service; `remedy` is for what the table has none for.
    """
    special = own(fault) if own is not None else None
    if special is not None:
        return special
    fields: dict[str, object] = {"code": fault.code, "status": fault.status}
    if key is not None:
        fields["key"] = key
    kind = _KINDS.get(fault.meaning, StorageError)
    return kind(f"expected {expected}, found {fault.words}: {fault.meaning.value or remedy}", **fields)


def _table(names: Mapping[Meaning, str]) -> dict[str, Meaning]:
    return {name: meaning for meaning, text in names.items() for name in text.split()}


# -- Amazon --------------------------------------------------------------------------------------------------------------

# what botocore repeats itself, and what its models of our services call a fault of theirs
AWS_CODES = _table(
    {
        Meaning.TRANSIENT: """
            Throttling ThrottlingException ThrottledException Throttled RequestThrottled RequestThrottledException SlowDown
            TooManyRequests TooManyRequestsException RequestLimitExceeded BandwidthLimitExceeded LimitExceededException OverLimit
            ProvisionedThroughputExceededException EC2ThrottledException KmsThrottled KMSThrottling KMSThrottlingException
            RequestTimeout RequestTimeoutException PriorRequestNotComplete TransactionInProgressException
            ReplicatedWriteConflictException IDPCommunicationError BadDigest OperationAborted ConditionalRequestConflict
            InternalError InternalFailure InternalServerError InternalServerException InternalServiceError ServiceFailure
            ServiceUnavailable ServiceUnavailableException DependencyFailureException DependencyTimeoutException
            KMSInternalException KeyUnavailableException""",
        Meaning.MISSING: """
            404 NotFound NotFoundException NoSuchKey NoSuchVersion NoSuchUpload ResourceNotFound ResourceNotFoundException
            DBInstanceNotFound TableNotFoundException FileSystemNotFound""",
        Meaning.NO_CONTAINER: "NoSuchBucket QueueDoesNotExist AWS.SimpleQueueService.NonExistentQueue NonExistentQueue",
        Meaning.REFUSED: """
            403 Forbidden AccessDenied AccessDeniedException AllAccessDisabled UnauthorizedOperation AuthFailure AuthorizationError
            NotAuthorized InvalidAccessKeyId SignatureDoesNotMatch InvalidClientTokenId UnrecognizedClientException
            MissingAuthenticationToken IncompleteSignature KmsAccessDenied KMSAccessDenied KMSAccessDeniedException
            InsufficientPrivilegesException InvalidSecurity OptInRequired""",
        Meaning.EXPIRED: """
            ExpiredToken ExpiredTokenException RequestExpired RequestTimeTooSkewed TokenRefreshRequired InvalidToken""",
        Meaning.CONFLICT: """
            Conflict ConflictException ResourceInUse ResourceInUseException BucketAlreadyExists BucketAlreadyOwnedByYou
            AlreadyExistsException InvalidDBInstanceState TableInUseException FileSystemInUse""",
        Meaning.CHANGED: "PreconditionFailed 412",
        Meaning.ELSEWHERE: """
            AuthorizationHeaderMalformed PermanentRedirect 301 IllegalLocationConstraintException
            IncorrectEndpoint""",
        Meaning.LOCKED: "ObjectLocked",
        Meaning.COLD: "InvalidObjectState ObjectNotInActiveTierError",
        Meaning.UNSUPPORTED: """
            NotImplemented MethodNotAllowed UnsupportedOperation UnsupportedOperationException
            AWS.SimpleQueueService.UnsupportedOperation""",
    }
)
AWS_EXCEPTIONS = _table(
    {
        Meaning.TRANSIENT: """
            ConnectionError HTTPClientError ChecksumError FlexibleChecksumError IncompleteReadError ResponseStreamingError
            MetadataRetrievalError CredentialRetrievalError""",
        Meaning.NO_CREDENTIALS: "NoCredentialsError PartialCredentialsError NoAuthTokenError ProfileNotFound NoRegionError",
        Meaning.EXPIRED: """
            UnauthorizedSSOTokenError SSOTokenLoadError TokenRetrievalError LoginRefreshRequired LoginTokenLoadError""",
        # the rest says that a request cannot even be made
        Meaning.MALFORMED: "BotoCoreError",
    }
)


def aws_fault(exc: Exception) -> Fault:
    """What an exception of botocore means."""
    response = getattr(exc, "response", None)
    if not isinstance(response, dict):
        return _by_kind(exc, AWS_EXCEPTIONS)
    error = response.get("Error") or {}
    code = str(error.get("Code", ""))
    status = int((response.get("ResponseMetadata") or {}).get("HTTPStatusCode") or 0)
    return Fault(AWS_CODES.get(code) or status_meaning(status), code, status, str(error.get("Message") or ""))


@contextmanager
def aws_errors(expected: str, remedy: str = REMEDY, own: Own | None = None, key: str | None = None) -> Iterator[None]:
    """Within it boto3's errors become ours; `expected` completes "expected"."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (ClientError, BotoCoreError) as exc:
        raise error_of(aws_fault(exc), expected, remedy, own, key) from exc


# -- Microsoft -----------------------------------------------------------------------------------------------------------

AZURE_CODES = _table(
    {
        Meaning.TRANSIENT: """
            ServerBusy OperationTimedOut InternalError InternalServerError ServerTimeout ServiceUnavailable TooManyRequests Throttled
            GatewayTimeout BadGateway""",
        Meaning.MISSING: "BlobNotFound ResourceNotFound NotFound MessageNotFound KeyNotFound SecretNotFound",
        Meaning.NO_CONTAINER: "ContainerNotFound QueueNotFound ShareNotFound FilesystemNotFound",
        Meaning.REFUSED: """
            Forbidden AuthenticationFailed AuthorizationFailure AuthorizationFailed AuthorizationPermissionMismatch
            InsufficientAccountPermissions InvalidAuthenticationInfo""",
        Meaning.EXPIRED: "ExpiredAuthenticationToken",
        Meaning.CHANGED: "ConditionNotMet SourceConditionNotMet TargetConditionNotMet",
        Meaning.LOCKED: """
            BlobImmutableDueToPolicy BlobImmutableDueToLegalHold ContainerImmutableDueToPolicy ImmutabilityPolicyDeleteOnLockedPolicy
            ImmutabilityPolicySettingOnLockedPolicy""",
        Meaning.COLD: "BlobArchived BlobBeingRehydrated",
        Meaning.UNSUPPORTED: "APINotImplemented NotImplemented UnsupportedHttpVerb FeatureVersionMismatch",
    }
)
AZURE_EXCEPTIONS = _table(
    {
        Meaning.TRANSIENT: "ServiceRequestError ServiceResponseError IncompleteReadError StreamClosedError",
        Meaning.MISSING: "ResourceNotFoundError",
        Meaning.CONFLICT: "ResourceExistsError",
        Meaning.CHANGED: "ResourceModifiedError",
        # without a status nobody has answered yet: no source of credentials had any
        Meaning.NO_CREDENTIALS: "CredentialUnavailableError ClientAuthenticationError",
    }
)


def azure_fault(exc: Exception) -> Fault:
    """What an exception of azure-core means."""
    status = int(getattr(exc, "status_code", None) or 0)
    named = getattr(exc, "error_code", None) or getattr(getattr(exc, "error", None), "code", None)
    # the storage libraries name their codes by an enumeration
    code = str(getattr(named, "value", named) or "")
    message = str(getattr(exc, "message", None) or exc)
    if (meaning := AZURE_CODES.get(code)) is not None:
        return Fault(meaning, code, status, message)
    if not status:
        fault = _by_kind(exc, AZURE_EXCEPTIONS)
        return Fault(fault.meaning, code or fault.code, 0, message)
    return Fault(status_meaning(status), code or type(exc).__name__, status, message)


@contextmanager
def azure_errors(expected: str, remedy: str = REMEDY, own: Own | None = None, key: str | None = None) -> Iterator[None]:
    """Within it errors of Azure's libraries become ours; `expected` completes "expected"."""
    from azure.core.exceptions import AzureError

    try:
        yield
    except AzureError as exc:
        raise error_of(azure_fault(exc), expected, remedy, own, key) from exc


# -- Google --------------------------------------------------------------------------------------------------------------

# Google's libraries say by the class what others say by a code
GOOGLE_EXCEPTIONS = _table(
    {
        Meaning.MALFORMED: "InvalidURL MissingSchema InvalidSchema InvalidHeader",
        Meaning.UNSUPPORTED: "MethodNotImplemented MethodNotAllowed",
        Meaning.TRANSIENT: """
            ServerError TooManyRequests Aborted RetryError DataCorruption TransportError RequestException""",
        Meaning.MISSING: "NotFound",
        Meaning.REFUSED: "Forbidden Unauthorized",
        Meaning.CONFLICT: "Conflict",
        Meaning.CHANGED: "PreconditionFailed",
        Meaning.EXPIRED: "RefreshError",
        Meaning.NO_CREDENTIALS: "GoogleAuthError",
    }
)


def google_fault(exc: Exception) -> Fault:
    """What an exception of Google's API, credentials or transport means."""
    status = int(getattr(exc, "code", None) or 0)
    fault = _by_kind(exc, GOOGLE_EXCEPTIONS)
    meaning = fault.meaning if fault.meaning is not Meaning.OTHER else status_meaning(status)
    if getattr(exc, "retryable", False) is True:
        meaning = Meaning.TRANSIENT
    message = str(getattr(exc, "message", None) or "")
    if meaning is Meaning.MISSING and "bucket does not exist" in message:
        meaning = Meaning.NO_CONTAINER
    return Fault(meaning, fault.code, status, message)


@contextmanager
def google_errors(expected: str, remedy: str = REMEDY, own: Own | None = None, key: str | None = None) -> Iterator[None]:
    """Within it errors of Google's libraries become ours; `expected` completes "expected"."""
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from requests.exceptions import RequestException

    try:
        yield
    except (GoogleAPIError, GoogleAuthError, RequestException) as exc:
        raise error_of(google_fault(exc), expected, remedy, own, key) from exc


# -- HTTP ----------------------------------------------------------------------------------------------------------------

_STATUSES = {
    401: Meaning.REFUSED,
    403: Meaning.REFUSED,
    404: Meaning.MISSING,
    405: Meaning.UNSUPPORTED,
    409: Meaning.CONFLICT,
    412: Meaning.CHANGED,
    501: Meaning.UNSUPPORTED,
    505: Meaning.UNSUPPORTED,
}


def status_meaning(status: int) -> Meaning:
    """What a status means where no code says more."""
    return Meaning.TRANSIENT if transient_status(status) else _STATUSES.get(status, Meaning.OTHER)


def rest_fault(status: int, code: str, message: str) -> Fault:
    """What an answer of a REST interface of Azure or Google means."""
    return Fault(AZURE_CODES.get(code) or status_meaning(status), code, status, message)


def _by_kind(exc: Exception, table: Mapping[str, Meaning]) -> Fault:
    """By the nearest class that the table names, so that a subclass counts as its base unless it is named itself."""
    named = (table[kind.__name__] for kind in type(exc).__mro__ if kind.__name__ in table)
    return Fault(next(named, Meaning.OTHER), type(exc).__name__, 0, str(exc))
