"""The data plane of every cloud: what S3, Azure Blob and Google Cloud Storage have in common, through obstore."""

import mmap
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from orchestrai.errors import (
    InvalidKey,
    ObjectExists,
    ObjectNotFound,
    PreconditionFailed,
    StorageError,
    TransientStorageError,
)
from orchestrai.storage import traffic
from orchestrai.storage.base import CHUNK_BYTES, ObjectInfo, check_key
from orchestrai.storage.cloud.connection import Backend
from orchestrai.storage.cloud.control import ControlPlane
from orchestrai.storage.object_errors import BeyondEnd, translated
from orchestrai.storage.spool import spooled

SINGLE_PUT_BYTES = 256 * 1024 * 1024
LIST_PAGE = 1000
_UNHOLDABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
# how S3, Azure and Google answer for a version that is not written as theirs are
_OTHER_VERSION = re.compile("status code: 400|InvalidArgument|InvalidQueryParameterValue")


class ObjectStore:
    """A bucket or container, or a prefix of it, as a store.

    `create` is one conditional request up to 256 MiB. Above, the key is looked up first and the object written in parts, so
    two writers of one larger key may both succeed: such keys must be unique per writer. Nothing is retried on writing: wrap
    the store in `RetryingStore`. Not usable in a fork of the process that opened it.
    """

    # obstore opens them again, and goes on where one broke off
    repeats_streams = True

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._process = os.getpid()
        self._kind = backend.url.partition("://")[0]

    def __repr__(self) -> str:
        return f"ObjectStore({self.url!r})"

    @property
    def url(self) -> str:
        return self.backend.url

    def control_plane(self) -> ControlPlane:
        """What obstore cannot do, through the cloud's own library."""
        return self.backend.control()

    def head(self, key: str, *, version: str | None = None) -> ObjectInfo:
        import obstore

        name = self._name(key)
        if version is None:
            traffic.count(self._kind, reads=1)
            with self._errors(key):
                return self._info(obstore.head(self.backend.once, name))
        return self._info(self._get(key, version, None, {"head": True}).meta)

    def read(
        self,
        key: str,
        *,
        version: str | None = None,
        if_match: str | None = None,
        start: int = 0,
        length: int | None = None,
    ) -> bytes:
        if length == 0:
            self._get(key, version, if_match, {"head": True})
            return b""
        wanted: dict[str, object] = {}
        if start or length is not None:
            wanted["range"] = {"offset": start} if length is None else (start, start + length)
        try:
            result = self._get(key, version, if_match, wanted)
            with self._errors(key):
                data = bytes(result.bytes())
            traffic.count(self._kind, came=len(data))
            return data
        except BeyondEnd:
            return b""

    def stream(self, key: str, *, version: str | None = None, if_match: str | None = None) -> Iterator[bytes]:
        return self._chunks(key, self._get(key, version, if_match, {}, self.backend.repeated))

    def write(self, key: str, data: bytes | Iterable[bytes], *, create: bool = False) -> ObjectInfo:
        name = self._name(key)
        if isinstance(data, bytes) and len(data) <= SINGLE_PUT_BYTES:
            return self._put(key, name, data, create)
        with spooled([data] if isinstance(data, bytes) else data) as body:
            return (
                self._put(key, name, body, create) if isinstance(body, bytes) else self.write_file(key, body, create=create)
            )

    def write_file(self, key: str, path: Path, *, create: bool = False) -> ObjectInfo:
        name, size = self._name(key), path.stat().st_size
        if size == 0:
            return self._put(key, name, b"", create)
        if size > SINGLE_PUT_BYTES:
            return self._put_parts(key, name, path, create)
        with path.open("rb") as file, closing(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)) as pages:
            return self._put(key, name, pages, create)

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        if any(segment in ("", ".", "..") for segment in prefix.split("/")[:-1]):
            return
        after = max(prefix, start_after or "", key=_order)
        if prefix and not prefix.endswith("/") and (start_after is None or _order(start_after) < _order(prefix)):
            # listing goes by folder and offset, both of which leave out the key that equals the prefix
            yield from self._exact(prefix)
        infos = self._listed(prefix, after)
        yield from infos if self.backend.lists_in_order else sorted(infos, key=lambda info: _order(info.key))

    def delete(self, key: str, *, version: str | None = None) -> None:
        import obstore

        name = self._name(key)
        if version is not None:
            self.backend.control().delete_version(key, version)
            return
        try:
            with self._errors(key):
                obstore.delete(self.backend.once, name)
        except ObjectNotFound:
            return

    def local_path(self, key: str) -> None:
        check_key(key)

    def sync(self) -> None:
        """A write returns once the service has made it durable."""

    def name_of(self, key: str) -> str:
        """The full name under which the bucket holds a key; raises InvalidKey where it cannot hold it."""
        return self._name(key)

    def _name(self, key: str) -> str:
        name = self.backend.prefix + check_key(key)
        if _UNHOLDABLE.search(key) or len(name.encode()) > 1024:
            reason: str | None = "control characters are refused and a name has at most 1,024 bytes with its prefix"
        else:
            reason = self.backend.refuse(name)
        if reason is not None:
            raise InvalidKey(
                f"expected a key that {self.url} can hold, found {key[:80]!r}: {reason}; rename the object", key=key
            )
        return name

    def _get(
        self, key: str, version: str | None, if_match: str | None, wanted: dict[str, object], client: Any = None
    ) -> Any:
        import obstore

        options: Any = dict(wanted)
        if version is not None:
            options["version"] = version
        if if_match is not None:
            options["if_match"] = if_match
        name = self._name(key)
        traffic.count(self._kind, reads=1)
        with self._version_errors(key, version), self._errors(key):
            result = obstore.get(client or self.backend.once, name, options=options)
        self._require_version(key, result, version)
        return result

    @contextmanager
    def _version_errors(self, key: str, version: str | None) -> Iterator[None]:
        """A version that could not be this service's, such as another bucket's, is not there."""
        try:
            yield
        except (ObjectNotFound, PreconditionFailed, TransientStorageError):
            raise
        except StorageError as exc:
            if version is None or not _OTHER_VERSION.search(exc.message):
                raise
            raise ObjectNotFound(f"expected version {version} of {key!r} in {self.url}, found none", key=key) from exc

    def _require_version(self, key: str, result: Any, version: str | None) -> None:
        # a service without versions ignores the question and answers with what it has
        if version is not None and result.meta["version"] != version:
            raise ObjectNotFound(
                f"expected version {version} of {key!r} in {self.url}, found {result.meta['version']}", key=key
            )

    def _chunks(self, key: str, result: Any) -> Iterator[bytes]:
        with self._errors(key):
            chunks = iter(result.stream(min_chunk_size=CHUNK_BYTES))
        while True:
            with self._errors(key):
                chunk = next(chunks, None)
            if chunk is None:
                return
            traffic.count(self._kind, came=len(chunk))
            yield bytes(chunk)

    def _put(self, key: str, name: str, body: Any, create: bool) -> ObjectInfo:
        import obstore

        traffic.count(self._kind, writes=1, went=len(body))
        with self._errors(key):
            put = obstore.put(self.backend.once, name, body, mode="create" if create else "overwrite", use_multipart=False)
        return self._written(key, put)

    def _put_parts(self, key: str, name: str, path: Path, create: bool) -> ObjectInfo:
        import obstore

        if create and next(iter(self._exact(key)), None) is not None:
            raise ObjectExists(
                f"expected no object {key!r} in {self.url}, found one: read it or choose another key", key=key
            )
        # 10,000 parts at most
        size = path.stat().st_size
        part = max(16 * 1024 * 1024, -(-size // 9_000))
        # beginning and end are requests too
        traffic.count(self._kind, writes=-(-size // part) + 2, went=size)
        with self._errors(key):
            put = obstore.put(self.backend.repeated, name, path, use_multipart=True, chunk_size=part, max_concurrency=4)
        return self._written(key, put)

    def _written(self, key: str, put: Any) -> ObjectInfo:
        return self.head(key, version=_version(put))

    def _exact(self, key: str) -> Iterator[ObjectInfo]:
        try:
            info = self.head(key)
        except (ObjectNotFound, InvalidKey):
            return
        yield info

    def _listed(self, prefix: str, after: str) -> Iterator[ObjectInfo]:
        """By obstore; around a key that it cannot hold by the service's own library, which is slower and names every key."""
        given: set[str] = set()
        while True:
            try:
                for info in self._listed_plainly(prefix, after):
                    if self.backend.lists_in_order:
                        after = info.key
                    elif info.key in given:
                        continue
                    else:
                        given.add(info.key)
                    yield info
                return
            except InvalidKey:
                stretch = self._listed_by_service(prefix, after)
            for count, info in enumerate(stretch, 1):
                if info.key not in given:
                    yield info
                after = max(after, info.key, key=_order)
                if self.backend.lists_in_order and count >= LIST_PAGE and info.odd is None:
                    break
            else:
                return

    def _listed_plainly(self, prefix: str, after: str) -> Iterator[ObjectInfo]:
        import obstore

        root, full = self.backend.prefix, self.backend.prefix + prefix
        folder, offset = full.rpartition("/")[0] or None, root + after
        with self._errors(prefix):
            pages = obstore.list(self.backend.once, folder, offset=offset or None, chunk_size=LIST_PAGE)
        last = b""
        while True:
            with self._errors(prefix):
                page = next(pages, None)
            if page is None:
                return
            traffic.count(self._kind, lists=1)
            for meta in page:
                path = meta["path"]
                if not path.startswith(full) or _order(path) <= _order(offset):
                    if self.backend.lists_in_order and _order(path) > _order(full) and not path.startswith(full):
                        return
                    continue
                if meta["size"] == 0 and self._is_folder_marker(path):
                    continue
                if self.backend.lists_in_order and _order(path) <= last:
                    # told as another key than it is: written with a leading or trailing slash
                    raise InvalidKey(f"expected keys of plain segments in {self.url}, found one beside {path!r}", key=path)
                last = _order(path)
                yield self._info(meta)

    def _listed_by_service(self, prefix: str, after: str) -> Iterator[ObjectInfo]:
        for info in self.backend.control().objects(prefix, after=after or None):
            if info.key == "" or (info.size == 0 and info.key.endswith("/")):
                continue  # a console's "folder"
            try:
                self._name(info.key)
            except InvalidKey as exc:
                info = info._replace(odd=exc.message)
            yield info

    def _is_folder_marker(self, path: str) -> bool:
        """Whether an empty object is the console's "folder" (its name ends in a slash, which obstore does not tell)."""
        try:
            self.head(path[len(self.backend.prefix) :])
        except ObjectNotFound:
            return True
        except InvalidKey:
            return False
        return False

    def _info(self, meta: Any) -> ObjectInfo:
        key = meta["path"][len(self.backend.prefix) :]
        return ObjectInfo(key, meta["size"], meta["e_tag"] or "", meta["last_modified"], _version(meta))

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        import obstore.exceptions as raised

        if os.getpid() != self._process:
            raise StorageError(
                f"expected {self.url} to be used in the process that opened it, found a fork of it: "
                "start processes by spawn, or open the store after the fork"
            )
        try:
            yield
        except (raised.BaseError, FileNotFoundError, PermissionError, TimeoutError, ValueError) as exc:
            own = self.backend.credentials_error(exc)
            if own is not None:
                raise own from exc
            raise translated(exc, key, self.url) from exc


def _version(answer: Any) -> str | None:
    # "null" is how S3 names what a bucket without versions holds
    version: str | None = answer["version"]
    return None if version == "null" else version


def _order(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")
