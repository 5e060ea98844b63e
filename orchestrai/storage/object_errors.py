"""What obstore's exceptions mean: each cloud says the same thing in its own words."""

import re
from collections.abc import Callable

from orchestrai.errors import (
    AccessRefused,
    InvalidKey,
    ObjectExists,
    ObjectNotFound,
    PreconditionFailed,
    RetentionLocked,
    StorageError,
    TransientStorageError,
    transient_status,
)

_STATUS = re.compile(r"status code: (\d{3})")


class BeyondEnd(StorageError):
    """A range starts behind the object's last byte."""


def translated(exc: Exception, key: str, url: str) -> StorageError:
    """What an exception of obstore means, with the remedy."""
    import obstore.exceptions as raised

    text = str(exc).split("\n\nDebug source")[0]
    status = _STATUS.search(text)
    code = int(status.group(1)) if status else 0
    if "NoSuchBucket" in text or "ContainerNotFound" in text:
        return StorageError(f"expected the bucket of {url}, found none: create it", key=key, store=url)
    if isinstance(exc, raised.AlreadyExistsError | raised.PermissionDeniedError) and _is_lock_or_tier(text):
        return _refused(text, key, url)
    rules: tuple[tuple[type[Exception] | tuple[type[Exception], ...], Callable[[], StorageError]], ...] = (
        (FileNotFoundError, lambda: ObjectNotFound(f"expected an object {key!r} in {url}, found none", key=key)),
        (
            raised.AlreadyExistsError,
            lambda: ObjectExists(f"expected no object {key!r} in {url}, found one: read it or choose another key", key=key),
        ),
        (
            raised.PreconditionError,
            lambda: PreconditionFailed(
                f"expected {key!r} in {url} as it was listed, found it changed: list it again", key=key
            ),
        ),
        (
            (raised.InvalidPathError, ValueError),
            lambda: InvalidKey(f"expected a key that {url} can hold: {_short(text)}", key=key),
        ),
        (
            (raised.PermissionDeniedError, raised.UnauthenticatedError),
            lambda: _refused(text, key, url),
        ),
    )
    for kinds, made in rules:
        if isinstance(exc, kinds):
            return made()
    if code == 416 or "Wanted range starting at" in text:
        return BeyondEnd(f"expected {key!r} to be longer", key=key)
    message = f"expected {url} to answer for {key!r}, found: {_short(text)}"
    if url.startswith("s3:") and (code == 301 or any(word in text for word in _ELSEWHERE)):
        told = _REGION.search(text)
        where = f"of the region {told[1] or told[2]}" if told else "of another region"
        return StorageError(
            f"expected {url} to answer for {key!r}, found it to be {where}: declare the region of the bucket in its connection, or set "
            "AWS_REGION",
            key=key,
        )
    if isinstance(exc, raised.GenericError) and (code in (0, 409) or transient_status(code)):
        return TransientStorageError(f"{message}: try again", key=key, store=url)
    return StorageError(f"{message}: check the store's settings", key=key)


# what S3 says of a request that is signed for another region than the bucket's
_ELSEWHERE = ("AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraint")
_REGION = re.compile(r"<Region>([a-z0-9-]+)</Region>|expecting '([a-z0-9-]+)'")
_LOCKED = ("ObjectLocked", "WORM", "retention", "BlobImmutable", "legal hold")
_COLD = ("InvalidObjectState", "BlobArchived")


def _is_lock_or_tier(text: str) -> bool:
    return any(word in text for word in _LOCKED + _COLD)


def _refused(text: str, key: str, url: str) -> StorageError:
    if any(word in text for word in _LOCKED):
        return RetentionLocked(
            f"expected {key!r} in {url} to be changeable, found it locked: wait until its retention ends", key=key
        )
    if any(word in text for word in _COLD):
        return StorageError(
            f"expected {key!r} in {url} to be readable, found it in a cold tier: request its restore", key=key
        )
    return AccessRefused(
        f"expected access to {key!r} in {url}, found it refused: check the credentials and their policy", key=key, store=url
    )


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else line[:297] + "..."
