"""A store that dies, tears or throttles at its n-th operation."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from orchestrai.errors import TransientStorageError
from orchestrai.storage.base import ObjectInfo, Store

T = TypeVar("T")
Mode = Literal["before", "after", "torn", "err_before", "err_after"]
MODES: tuple[Mode, ...] = ("before", "after", "torn", "err_before", "err_after")


class Died(BaseException):
    """The process is gone: a BaseException, so that no cleanup for errors runs as if it were alive."""


@dataclass
class FaultStore:
    """Count the operations on `base` and fail the `n`-th (from 1): die before or after it, or half way through a write,
    or answer it with a TransientStorageError without ("err_before") or with ("err_after") its effect.

    A torn write is what a store without atomic writes leaves: half the bytes under the key.
    After a death every further operation dies too, as nobody is left to make it. `log` is what was asked, in order.
    `stream` and `list` count once, when they are called.
    """

    base: Store
    n: int = 0
    mode: Mode = "before"
    log: list[str] = field(default_factory=list)
    dead: bool = False

    @property
    def url(self) -> str:
        return self.base.url

    @property
    def count(self) -> int:
        return len(self.log)

    def head(self, key: str, *, version: str | None = None) -> ObjectInfo:
        self._before(f"head {key}")
        return self._after(self.base.head(key, version=version))

    def read(
        self,
        key: str,
        *,
        version: str | None = None,
        if_match: str | None = None,
        start: int = 0,
        length: int | None = None,
    ) -> bytes:
        self._before(f"read {key}")
        return self._after(self.base.read(key, version=version, if_match=if_match, start=start, length=length))

    def stream(self, key: str, *, version: str | None = None, if_match: str | None = None) -> Iterator[bytes]:
        self._before(f"stream {key}")
        return self._after(self.base.stream(key, version=version, if_match=if_match))

    def write(self, key: str, data: bytes | Iterable[bytes], *, create: bool = False) -> ObjectInfo:
        whole = data if isinstance(data, bytes) else b"".join(data)
        self._before(f"write {key}")
        if self._now("torn"):
            self.base.write(key, whole[: len(whole) // 2], create=create)
            self._die()
        return self._after(self.base.write(key, whole, create=create))

    def write_file(self, key: str, path: Path, *, create: bool = False) -> ObjectInfo:
        return self.write(key, path.read_bytes(), create=create)

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        self._before(f"list {prefix}")
        return self._after(iter(tuple(self.base.list(prefix, start_after=start_after))))

    def delete(self, key: str, *, version: str | None = None) -> None:
        self._before(f"delete {key}")
        self.base.delete(key, version=version)
        self._after(None)

    def local_path(self, key: str) -> Path | None:
        return self.base.local_path(key)

    def sync(self) -> None:
        self._before("sync")
        self.base.sync()
        self._after(None)

    def _now(self, *modes: Mode) -> bool:
        return self.count == self.n and self.mode in modes

    def _before(self, operation: str) -> None:
        if self.dead:
            raise Died
        self.log.append(operation)
        # a torn read has no effect: it is a death before
        if self._now("before") or (self._now("torn") and not operation.startswith("write ")):
            self._die()
        if self._now("err_before"):
            raise TransientStorageError(f"expected {operation} to be answered, found 503: try again")

    def _after(self, result: T) -> T:
        if self._now("after"):
            self._die()
        if self._now("err_after"):
            raise TransientStorageError("expected an answer, found 503: try again")
        return result

    def _die(self) -> None:
        self.dead = True
        raise Died
