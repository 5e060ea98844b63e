"""The SHA-256 of what a store has under a key, and bytes on their way that stop where they are not what was proven."""

import hashlib
from collections.abc import Iterator

from orchestrai.errors import DigestMismatch, ObjectNotFound
from orchestrai.storage.base import Store


def sha256_of(store: Store, key: str, version: str | None = None) -> str:
    """The digest of an object, of its newest version unless one is named; raises ObjectNotFound."""
    digest = hashlib.sha256()
    for chunk in store.stream(key, version=version or None):
        digest.update(chunk)
    return digest.hexdigest()


def digest_of(store: Store, key: str) -> str:
    """The digest of what lies under a key; empty for nothing."""
    try:
        return sha256_of(store, key)
    except ObjectNotFound:
        return ""


def checked(source: Store, key: str, expected: str, version: str | None = None) -> Iterator[bytes]:
    """The bytes of an object; raises DigestMismatch before the end where they changed since they were proven, so that none are put."""
    digest = hashlib.sha256()
    for chunk in source.stream(key, version=version or None):
        digest.update(chunk)
        yield chunk
    require_digest(key, digest.hexdigest(), expected)


def require_digest(key: str, actual: str, expected: str) -> None:
    """Raise DigestMismatch where an object is no more what it was when it was looked at."""
    if actual != expected:
        raise DigestMismatch(
            f"expected {key} of sha256 {expected[:12]}, found {actual[:12]}: it changed meanwhile; run it again", key=key
        )
