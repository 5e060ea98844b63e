"""Reads kept files back, every hash checked on the way."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from orchestrai.errors import DigestMismatch, MissingObject, ObjectNotFound
from orchestrai.storage.base import CHUNK_BYTES, Store
from orchestrai.vault.encryption import Cipher
from orchestrai.vault.rows import StoredFile
from orchestrai.vault.writer import context

# a gap between two wanted files of a pack that is cheaper to read over than to ask again for
_READ_OVER = 1024 * 1024
_BUFFER = 256 * 1024


def stream_file(
    store: Store, vault: str, cipher: Cipher | None, file: StoredFile, *, reuse: bool = False
) -> Iterator[bytes]:
    """Yield a file's bytes; raises MissingObject, DigestMismatch (after the last chunk when only the whole is wrong).

    With `reuse`, a chunk may be a view of a buffer that is valid only until the next is asked for.
    """
    digest, size = hashlib.sha256(), 0
    for chunk in _plain(vault, cipher, file, _stored(store, file, reuse)):
        digest.update(chunk)
        size += len(chunk)
        yield chunk
    _require(file, size, digest.hexdigest())


def read_packed(
    store: Store, vault: str, cipher: Cipher | None, files: Sequence[StoredFile]
) -> Iterator[tuple[StoredFile, bytes]]:
    """Yield the bytes of files that share one pack, in few reads; raises MissingObject, DigestMismatch."""
    for run in _runs(sorted(files, key=lambda file: file.offset)):
        start = run[0].offset
        end = max(file.offset + file.length for file in run)
        data = memoryview(_range(store, run[0], start, end - start))
        for file in run:
            sealed = data[file.offset - start : file.offset - start + file.length]
            plain = bytes(sealed) if cipher is None else b"".join(_plain(vault, cipher, file, [bytes(sealed)]))
            _require(file, len(plain), hashlib.sha256(plain).hexdigest())
            yield file, plain


def _runs(files: Sequence[StoredFile]) -> Iterator[list[StoredFile]]:
    run: list[StoredFile] = []
    for file in files:
        if run and file.offset > run[-1].offset + run[-1].length + _READ_OVER:
            yield run
            run = []
        run.append(file)
    if run:
        yield run


def _plain(vault: str, cipher: Cipher | None, file: StoredFile, stored: Iterable[bytes]) -> Iterator[bytes]:
    if cipher is None:
        yield from stored
        return
    kind = "pack" if file.pack >= 0 else "object"
    yield from cipher.open(context(vault, kind, file.key, file.session, file.offset), stored)


def _stored(store: Store, file: StoredFile, reuse: bool) -> Iterator[bytes]:
    local = store.local_path(file.key) if reuse and file.pack < 0 else None
    if local is not None:
        yield from _local_views(local, file)
        return
    if file.pack >= 0 or file.length <= CHUNK_BYTES:
        yield _range(store, file, file.offset, file.length)
        return
    try:
        yield from store.stream(file.key)
    except ObjectNotFound as exc:
        raise _missing(file) from exc


def _local_views(path: Path, file: StoredFile) -> Iterator[bytes]:
    """A local object through one small buffer, which stays in the processor's cache."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError as exc:
        raise _missing(file) from exc
    try:
        buffer = memoryview(bytearray(_BUFFER))
        while count := os.readv(descriptor, [buffer]):
            yield buffer[:count]  # type: ignore[misc]  # a view stands in for bytes wherever they are only written and hashed
    finally:
        os.close(descriptor)


def _range(store: Store, file: StoredFile, start: int, length: int) -> bytes:
    if length == 0:
        store.head(file.key)
        return b""
    try:
        return store.read(file.key, start=start, length=length)
    except ObjectNotFound as exc:
        raise _missing(file) from exc


def _missing(file: StoredFile) -> MissingObject:
    return MissingObject(f"expected {file.key} in the vault, found nothing: copy it back from the replica", key=file.key)


def _require(file: StoredFile, size: int, sha256: str) -> None:
    if (size, sha256) != (file.size, file.sha256):
        raise DigestMismatch(
            f"expected {file.path} in {file.key} to be {file.size} bytes of sha256 {file.sha256[:12]}, found {size} bytes of "
            f"{sha256[:12]}: copy the object back from the replica",
            key=file.key,
        )
