"""A store that takes no more of a line or a disk than it is allowed: so many bytes a second, and so many calls at once."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from orchestrai.core.transfer_rate import parse_rate
from orchestrai.settings import Settings
from orchestrai.storage.base import CHUNK_BYTES, ObjectInfo, Store
from orchestrai.storage.cloud.control import Controlled, ControlPlane

# what is passed on before the bucket is asked again: an eighth of a second's worth, within these
_LEAST, _PARTS = 16 * 1024, 8


@dataclass(frozen=True)
class Limits:
    """At most `rate` bytes a second to and from one store, both together, and `at_once` calls; 0 for as many as come."""

    rate: int = 0
    at_once: int = 0

    def __bool__(self) -> bool:
        return bool(self.rate or self.at_once)


@dataclass
class Bucket:
    """Tokens of one byte each, `rate` a second; half a second's worth may gather. Its clock and its sleep are arguments. Thread-safe."""

    rate: int
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _lock: threading.Lock = field(default_factory=threading.Lock)
    # when the bucket is level again, by the clock
    _level: float = 0.0

    def take(self, count: int) -> None:
        """Return once so many bytes may pass; whoever comes later waits behind."""
        with self._lock:
            now = self.clock()
            self._level = max(self._level, now - 0.5) + count / self.rate
            wait = self._level - now
        if wait > 0:
            self.sleep(wait)

    @property
    def part(self) -> int:
        """How many bytes to pass at a time."""
        return max(_LEAST, min(CHUNK_BYTES, self.rate // _PARTS))


class Gate:
    """Lets so many threads through at once; a thread that is inside comes in again without waiting. 0 lets all through."""

    def __init__(self, at_once: int) -> None:
        self._free = threading.BoundedSemaphore(at_once) if at_once else None
        self._mine = threading.local()

    @contextmanager
    def open(self) -> Iterator[None]:
        """Hold a place."""
        depth = getattr(self._mine, "depth", 0)
        self._mine.depth = depth + 1
        try:
            with self._free if self._free is not None and not depth else nullcontext():
                yield
        finally:
            self._mine.depth = depth


class LimitedStore:
    """A store whose bytes pass a bucket, and whose calls pass a gate. No byte passes beside it: it has no files on this machine."""

    def __init__(self, base: Store, limits: Limits, bucket: Bucket | None = None) -> None:
        self.base = base
        self.limits = limits
        self._bucket = bucket or (Bucket(limits.rate) if limits.rate else None)
        self._gate = Gate(limits.at_once)

    @property
    def url(self) -> str:
        """Where the store is."""
        return self.base.url

    def control_plane(self) -> ControlPlane | None:
        """That of the store; its calls carry no contents."""
        return self.base.control_plane() if isinstance(self.base, Controlled) else None

    def head(self, key: str, *, version: str | None = None) -> ObjectInfo:
        """As of the store."""
        with self._gate.open():
            return self.base.head(key, version=version)

    def read(
        self, key: str, *, version: str | None = None, if_match: str | None = None, start: int = 0, length: int | None = None
    ) -> bytes:
        """As of the store."""
        with self._gate.open():
            data = self.base.read(key, version=version, if_match=if_match, start=start, length=length)
        self._take(len(data))
        return data

    def stream(self, key: str, *, version: str | None = None, if_match: str | None = None) -> Iterator[bytes]:
        """As of the store."""
        with self._gate.open():
            chunks = self.base.stream(key, version=version, if_match=if_match)
        return self._passing(chunks)

    def write(self, key: str, data: bytes | Iterable[bytes], *, create: bool = False) -> ObjectInfo:
        """As of the store."""
        if self._bucket is None:
            with self._gate.open():
                return self.base.write(key, data, create=create)
        if isinstance(data, bytes) and len(data) <= self._bucket.part:
            self._take(len(data))
        else:
            data = self._passing(iter([data] if isinstance(data, bytes) else data))
        with self._gate.open():
            return self.base.write(key, data, create=create)

    def write_file(self, key: str, path: Path, *, create: bool = False) -> ObjectInfo:
        """As of the store."""
        if self._bucket is None:
            with self._gate.open():
                return self.base.write_file(key, path, create=create)
        with path.open("rb") as file:
            part = self._bucket.part
            return self.write(key, iter(lambda: file.read(part), b""), create=create)

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """As of the store; a page of a listing is a call of its own."""
        return self._one_by_one(self.base.list(prefix, start_after=start_after))

    def delete(self, key: str, *, version: str | None = None) -> None:
        """As of the store."""
        with self._gate.open():
            self.base.delete(key, version=version)

    def local_path(self, key: str) -> Path | None:
        """None: who reads a file by itself passes no bucket."""
        self.base.local_path(key)
        return None

    def sync(self) -> None:
        """As of the store."""
        self.base.sync()

    def _one_by_one(self, infos: Iterator[ObjectInfo]) -> Iterator[ObjectInfo]:
        while True:
            with self._gate.open():
                info = next(infos, None)
            if info is None:
                return
            yield info

    def _passing(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        while True:
            with self._gate.open():
                chunk = next(chunks, None)
            if chunk is None:
                return
            part = self._bucket.part if self._bucket is not None else len(chunk) or 1
            for start in range(0, len(chunk), part):
                piece = chunk[start : start + part] if len(chunk) > part else chunk
                self._take(len(piece))
                yield piece

    def _take(self, count: int) -> None:
        if self._bucket is not None and count:
            self._bucket.take(count)


def limited(store: Store, limits: Limits) -> Store:
    """The store within limits; itself where there are none."""
    return LimitedStore(store, limits) if limits else store


def limits_in(settings: Settings) -> Limits:
    """What the settings allow each of vault and replicas."""
    return Limits(parse_rate(settings.transfer_limit), settings.transfer_at_once)


def limits_of(store: Store) -> Limits:
    """What a store is limited to, or wraps one that is."""
    while not isinstance(store, LimitedStore):
        inner = getattr(store, "base", None)
        if inner is None:
            return Limits()
        store = inner
    return store.limits
