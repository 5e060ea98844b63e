"""Objects in this process's memory, for tests and simulations."""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from orchestrai.errors import ObjectExists, ObjectNotFound, PreconditionFailed
from orchestrai.storage.base import CHUNK_BYTES, ObjectInfo, check_key


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class MemoryStore:
    """A store that ends with the process; `clock` is the store's clock, so `modified` is what a test says it is."""

    clock: Callable[[], datetime] = _now
    name: str = "memory"
    _objects: dict[str, tuple[ObjectInfo, bytes]] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _writes: int = 0

    @property
    def url(self) -> str:
        return f"memory:{self.name}"

    def head(self, key: str, *, version: str | None = None) -> ObjectInfo:
        return self._find(key, version, None)[0]

    def read(
        self,
        key: str,
        *,
        version: str | None = None,
        if_match: str | None = None,
        start: int = 0,
        length: int | None = None,
    ) -> bytes:
        data = self._find(key, version, if_match)[1]
        return data[start : None if length is None else start + length]

    def stream(self, key: str, *, version: str | None = None, if_match: str | None = None) -> Iterator[bytes]:
        data = self._find(key, version, if_match)[1]
        return (data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES))

    def write(self, key: str, data: bytes | Iterable[bytes], *, create: bool = False) -> ObjectInfo:
        check_key(key)
        whole = data if isinstance(data, bytes) else b"".join(data)
        with self._lock:
            if create and key in self._objects:
                raise ObjectExists(
                    f"expected no object {key!r} in {self.url}, found one: read it or choose another key", key=key
                )
            self._writes += 1
            info = ObjectInfo(key, len(whole), f"{self._writes:x}", self.clock())
            self._objects[key] = (info, whole)
        return info

    def write_file(self, key: str, path: Path, *, create: bool = False) -> ObjectInfo:
        return self.write(key, path.read_bytes(), create=create)

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        after = b"" if start_after is None else _order(start_after)
        with self._lock:
            infos = [info for key, (info, _) in self._objects.items() if key.startswith(prefix) and _order(key) > after]
        yield from sorted(infos, key=lambda info: _order(info.key))

    def delete(self, key: str, *, version: str | None = None) -> None:
        check_key(key)
        if version is None:
            with self._lock:
                self._objects.pop(key, None)

    def local_path(self, key: str) -> None:
        check_key(key)

    def sync(self) -> None:
        """Nothing here survives the process, so there is nothing to wait for."""

    def _find(self, key: str, version: str | None, if_match: str | None) -> tuple[ObjectInfo, bytes]:
        check_key(key)
        with self._lock:
            entry = self._objects.get(key) if version is None else None
        if entry is None:
            raise ObjectNotFound(f"expected an object {key!r} in {self.url}, found none", key=key)
        if if_match is not None and entry[0].etag != if_match:
            raise PreconditionFailed(f"expected {key!r} with etag {if_match}, found {entry[0].etag}: list it again", key=key)
        return entry


def _order(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")
