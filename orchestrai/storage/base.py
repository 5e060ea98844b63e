"""What a store must do: the one protocol behind every adapter.

A store holds objects under keys ("a/b/c.parquet"): no leading slash, no empty, "." or ".." segment, no NUL,
no backslash, at most 1,024 bytes of UTF-8. It knows nothing of datasets.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from orchestrai.errors import IntegrityError, InvalidKey, ObjectExists, ObjectNotFound

CHUNK_BYTES = 4 * 1024 * 1024
# what nearly every key looks like: seen in one step, as keys are checked in every call
_PLAIN = re.compile(r"[\w=:-][\w.=:-]{0,254}(?:/[\w=:-][\w.=:-]{0,254})*", re.ASCII)


class ObjectInfo(NamedTuple):
    """What a store says of one object; `modified` is UTC by the store's own clock.

    `odd` is set by listings only: why no call of this store can name the object, which others put there by other means.
    """

    key: str
    size: int
    etag: str
    modified: datetime
    version: str | None = None
    odd: str | None = None


@runtime_checkable
class Store(Protocol):
    """Objects under keys, with put-if-absent.

    Reads see every write that returned before they began. `write` is atomic: a reader sees the whole object or none.
    Raises only `StorageError`s; `TransientStorageError` is worth a retry, nothing else is.
    """

    @property
    def url(self) -> str:
        """Where this store is, without any secret."""
        ...

    def head(self, key: str, *, version: str | None = None) -> ObjectInfo:
        """Describe one object; raises ObjectNotFound."""
        ...

    def read(
        self,
        key: str,
        *,
        version: str | None = None,
        if_match: str | None = None,
        start: int = 0,
        length: int | None = None,
    ) -> bytes:
        """Return an object's bytes, or `length` bytes from `start`; raises ObjectNotFound, PreconditionFailed."""
        ...

    def stream(self, key: str, *, version: str | None = None, if_match: str | None = None) -> Iterator[bytes]:
        """Yield an object's bytes in chunks of about CHUNK_BYTES; raises as `read`."""
        ...

    def write(self, key: str, data: bytes | Iterable[bytes], *, create: bool = False) -> ObjectInfo:
        """Store an object atomically; with `create`, raise ObjectExists where the key is taken.

        A chunk iterable is stored in bounded memory. The answer to a lost reply is settled by the adapter: when a retry
        of `create` meets our own bytes, it is a success.
        """
        ...

    def write_file(self, key: str, path: Path, *, create: bool = False) -> ObjectInfo:
        """Store a local file's bytes, as `write`."""
        ...

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """Yield the objects whose key starts with `prefix`, in ascending order of key (UTF-8 bytes).

        An object whose key this store cannot name is yielded with the reason (`odd`): one such key ends no listing and hides
        nothing.
        """
        ...

    def delete(self, key: str, *, version: str | None = None) -> None:
        """Remove an object, or one version of it; a missing one is no error. Raises RetentionLocked."""
        ...

    def local_path(self, key: str) -> Path | None:
        """The file that holds the object, for stores on this machine's disk; None elsewhere."""
        ...

    def sync(self) -> None:
        """Return once everything written so far survives a power loss (a no-op where writes already do)."""
        ...


def check_key(key: str) -> str:
    """Return `key` unchanged, or raise InvalidKey when no store should hold it."""
    if len(key) <= 1024 and _PLAIN.fullmatch(key):
        return key
    raw = key.encode("utf-8", errors="surrogatepass")
    segments = key.split("/")
    if (
        not key
        or len(raw) > 1024
        or "\0" in key
        or "\\" in key
        or any(segment in ("", ".", "..") for segment in segments)
        or any(len(segment.encode("utf-8", errors="surrogatepass")) > 255 for segment in segments)
    ):
        shown = key if len(key) <= 80 else key[:77] + "..."
        raise InvalidKey(
            f"expected a relative key of plain segments (255 bytes each, 1,024 in all), found {shown!r}: rename the object",
            key=key,
        )
    return key


def exists(store: Store, key: str) -> bool:
    """Whether an object is there; what it says is not looked at. Raises what `head` raises, but for ObjectNotFound."""
    try:
        store.head(key)
    except ObjectNotFound:
        return False
    return True


def put_absent(store: Store, key: str, data: bytes) -> None:
    """Create an object, or find it already there with the same bytes; raises IntegrityError on other bytes."""
    try:
        store.write(key, data, create=True)
    except ObjectExists:
        if store.read(key) != data:
            raise IntegrityError(f"expected {key} in {store.url} to hold what is being written, found other bytes") from None
