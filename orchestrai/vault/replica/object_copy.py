"""One object from the vault to a replica, and never over what is there."""

import hashlib
from collections.abc import Iterator

from orchestrai.errors import DigestMismatch, ObjectExists, ObjectNotFound
from orchestrai.storage.base import Store, exists

# what is put if absent is held in memory
CREATED = 16 * 1024 * 1024


def copy_object(source: Store, target: Store, key: str, version: str, *, back: bool) -> int | None:
    """Copy an object, and with `back` read it back; returns its bytes, None where it is there by now, or gone from the source.

    Raises DigestMismatch where other bytes came back.
    """
    digest, size = hashlib.sha256(), 0

    def passing() -> Iterator[bytes]:
        nonlocal size
        for chunk in source.stream(key, version=version or None):
            digest.update(chunk)
            size += len(chunk)
            yield chunk

    try:
        # what another run has put meanwhile is not written over: it may be right where the source is no longer
        if source.head(key, version=version or None).size <= CREATED:
            target.write(key, b"".join(passing()), create=True)
        elif exists(target, key):
            return None
        else:
            target.write(key, passing())
    except (ObjectNotFound, ObjectExists):
        return None  # pruned meanwhile, so that no snapshot needs it, or there meanwhile
    kept = hashlib.sha256()
    for chunk in target.stream(key) if back else ():
        kept.update(chunk)
    if back and kept.digest() != digest.digest():
        raise DigestMismatch(
            f"expected {key} in {target.url} as it was written, found other bytes: check the store, then `orchestrai vault heal`",
            key=key,
        )
    return size
