"""Retries that tell a write of our own, whose answer was lost, from somebody else's."""

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from orchestrai.errors import ObjectExists, ObjectNotFound, TransientStorageError
from orchestrai.storage.base import CHUNK_BYTES, ObjectInfo, Store
from orchestrai.storage.cloud.control import Controlled, ControlPlane
from orchestrai.storage.spool import spooled

T = TypeVar("T")
# how long after a store was given up each call of it is tried once only
DOWN_SECONDS = 30.0


@dataclass
class Outage:
    """When a store was given up last, by the clock of its calls; None while it answers."""

    since: float | None = None


@runtime_checkable
class RepeatsStreams(Protocol):
    """A store whose client opens a stream again by itself, and goes on where it broke off."""

    repeats_streams: bool


@dataclass(frozen=True)
class RetryingStore:
    """Repeat what failed with TransientStorageError, after `pause`, 2 x `pause`, 4 x `pause` ... seconds, none begun `within` so many.

    A stream of a store that repeats streams itself is opened once: tries of both would multiply.

    When a repeated `create` finds the key taken it reads the object: our own bytes are a success. Two writers of equal bytes,
    one of whom lost an answer, may so both succeed. A stream that fails goes on where it stopped, on the same object.

    A store that was given up is down: for DOWN_SECONDS, or until it answers, each call is tried once. Who asks many things of it, as the
    watcher does, is told within seconds; who waits longer, as a step between its tries, finds all patience again.
    """

    base: Store
    retries: int = 3
    pause: float = 0.2
    within: float = math.inf
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    outage: Outage = field(default_factory=Outage, compare=False)

    @property
    def url(self) -> str:
        return self.base.url

    def control_plane(self) -> ControlPlane | None:
        """What the cloud's own library does for the store; its calls are not repeated here."""
        return self.base.control_plane() if isinstance(self.base, Controlled) else None

    def head(self, key: str, *, version: str | None = None) -> ObjectInfo:
        return self._retried(lambda: self.base.head(key, version=version))

    def read(
        self,
        key: str,
        *,
        version: str | None = None,
        if_match: str | None = None,
        start: int = 0,
        length: int | None = None,
    ) -> bytes:
        return self._retried(lambda: self.base.read(key, version=version, if_match=if_match, start=start, length=length))

    def stream(self, key: str, *, version: str | None = None, if_match: str | None = None) -> Iterator[bytes]:
        begin = partial(self.base.stream, key, version=version, if_match=if_match)
        opened = self._once(begin) if isinstance(self.base, RepeatsStreams) else self._retried(begin)
        return self._resumed(opened, key, version, if_match)

    def write(self, key: str, data: bytes | Iterable[bytes], *, create: bool = False) -> ObjectInfo:
        if isinstance(data, bytes):
            return self._written(key, data, create)
        with spooled(data) as body:
            return self._written(key, body, create)

    def write_file(self, key: str, path: Path, *, create: bool = False) -> ObjectInfo:
        return self._written(key, path, create)

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        last, attempt = start_after, 0
        while True:
            try:
                for info in self.base.list(prefix, start_after=last):
                    last, attempt = info.key, 0
                    yield info
                self.outage.since = None
                return
            except TransientStorageError:
                if not self._patient(attempt):
                    raise
                attempt += 1

    def delete(self, key: str, *, version: str | None = None) -> None:
        self._retried(lambda: self.base.delete(key, version=version))

    def local_path(self, key: str) -> Path | None:
        return self.base.local_path(key)

    def sync(self) -> None:
        self._retried(self.base.sync)

    def _written(self, key: str, body: bytes | Path, create: bool) -> ObjectInfo:
        repeated = False

        def attempt() -> ObjectInfo:
            nonlocal repeated
            again, repeated = repeated, True
            try:
                if isinstance(body, bytes):
                    return self.base.write(key, body, create=create)
                return self.base.write_file(key, body, create=create)
            except ObjectExists:
                if again and (own := self._own(key, body)) is not None:
                    return own
                raise

        return self._retried(attempt)

    def _own(self, key: str, body: bytes | Path) -> ObjectInfo | None:
        """The object under `key` if it holds exactly `body`."""
        try:
            info = self.base.head(key)
            size = len(body) if isinstance(body, bytes) else body.stat().st_size
            if info.size != size:
                return None
            stored = hashlib.sha256()
            for chunk in self.base.stream(key, version=info.version, if_match=info.etag):
                stored.update(chunk)
        except ObjectNotFound:
            return None
        return info if stored.digest() == _digest(body) else None

    def _resumed(self, chunks: Iterator[bytes], key: str, version: str | None, if_match: str | None) -> Iterator[bytes]:
        done, attempt = 0, 0
        pinned = if_match
        while True:
            try:
                for chunk in chunks:
                    done, attempt = done + len(chunk), 0
                    yield chunk
                return
            except TransientStorageError:
                if pinned is None and version is None and done:
                    # without an etag nothing says that the rest would be of the same object
                    raise
                if not self._patient(attempt):
                    raise
                attempt += 1
            chunks = self._rest(key, version, pinned, done)

    def _rest(self, key: str, version: str | None, if_match: str | None, start: int) -> Iterator[bytes]:
        while chunk := self.base.read(key, version=version, if_match=if_match, start=start, length=CHUNK_BYTES):
            yield chunk
            start += len(chunk)

    def _once(self, call: Callable[[], T]) -> T:
        """What a store has repeated itself until it gave up."""
        try:
            answer = call()
        except TransientStorageError:
            self.outage.since = self.clock()
            raise
        self.outage.since = None
        return answer

    def _retried(self, call: Callable[[], T]) -> T:
        attempt, ends = 0, self.clock() + self.within
        while True:
            try:
                answer = call()
            except TransientStorageError:
                if self.clock() >= ends or not self._patient(attempt):
                    raise
                attempt += 1
                continue
            self.outage.since = None
            return answer

    def _patient(self, attempt: int) -> bool:
        """Whether another try follows this one, 0 the first; waits before it."""
        now, since = self.clock(), self.outage.since
        if since is not None and now - since < DOWN_SECONDS:
            return False
        if attempt >= self.retries:
            self.outage.since = now
            return False
        self.sleep(self.pause * 2**attempt)
        return True


def _digest(body: bytes | Path) -> bytes:
    if isinstance(body, bytes):
        return hashlib.sha256(body).digest()
    with body.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
