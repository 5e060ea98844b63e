"""Reads of stored objects: the version that was written, or its local file, and what is said where it is not as its list says."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from orchestrai.errors import DigestMismatch, MissingObject, ObjectNotFound
from orchestrai.storage.base import Store
from orchestrai.storage.disk.posix import open_regular, translated
from orchestrai.vault.format.lists import StoredFile

T = TypeVar("T")


def pinned(key: str, version: str, read: Callable[[str | None], T]) -> T:
    """Read the version that was written, so that nothing put over it later counts; raises MissingObject.

    A copy of the vault in another store has versions of its own: there the newest is read, and its hash decides.
    """
    if version:
        try:
            return read(version)
        except ObjectNotFound:
            pass
    try:
        return read(None)
    except ObjectNotFound as exc:
        raise _missing(key) from exc


def read_stretch(store: Store, file: StoredFile, start: int, length: int) -> bytes:
    """A stretch of the object that a file lies in; raises MissingObject."""
    if length == 0:
        pinned(file.key, file.version, lambda version: store.head(file.key, version=version))
        return b""
    return pinned(file.key, file.version, lambda version: store.read(file.key, version=version, start=start, length=length))


def open_object(store: Store, key: str) -> int:
    """A descriptor of an object in a local store; raises MissingObject."""
    path = store.local_path(key)
    assert path is not None
    try:
        return open_regular(path)
    except FileNotFoundError as exc:
        raise _missing(key) from exc
    except OSError as exc:
        raise translated(exc, key, "read", store.url) from exc


@contextmanager
def object_file(store: Store, key: str) -> Iterator[int]:
    """The descriptor of an object in a local store, open for a while; raises MissingObject."""
    descriptor = open_object(store, key)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read_some(store: Store, key: str, descriptor: int, target: memoryview, start: int | None = None) -> int:
    """Read from an open object, from `start` or from where the last read ended; returns how much, 0 at its end."""
    try:
        return os.readv(descriptor, [target]) if start is None else os.preadv(descriptor, [target], start)
    except OSError as exc:
        raise translated(exc, key, "read", store.url) from exc


def read_into(store: Store, key: str, descriptor: int, target: memoryview, start: int | None = None) -> int:
    """Fill `target` from an open object; returns how much there was of it."""
    done = 0
    while done < len(target):
        count = read_some(store, key, descriptor, target[done:], None if start is None else start + done)
        if not count:
            break
        done += count
    return done


def require_listed(file: StoredFile, size: int, sha256: str) -> None:
    """Raise DigestMismatch where bytes are not those that the signed list names."""
    if (size, sha256) != (file.size, file.sha256):
        raise DigestMismatch(
            f"expected {file.path} in {file.key} to be {file.size} bytes of sha256 {file.sha256[:12]}, found {size} bytes of "
            f"{sha256[:12]}: run `orchestrai vault heal --apply`",
            key=file.key,
        )


def _missing(key: str) -> MissingObject:
    return MissingObject(f"expected {key} in the vault, found nothing: run `orchestrai vault heal --apply`", key=key)
