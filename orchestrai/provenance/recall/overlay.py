"""A store that reads from one store and writes to another: to work beside a vault without changing it."""

from collections.abc import Iterable, Iterator
from heapq import merge
from pathlib import Path

from orchestrai.errors import ObjectNotFound
from orchestrai.storage.base import ObjectInfo, Store


class OverlayStore:
    """Reads what was written here, else what lies in `below`; nothing below is ever written or removed.

    Keys under the prefixes of `own` are looked for here alone: a log of one's own begins anew.
    """

    def __init__(self, below: Store, above: Store, own: tuple[str, ...] = ()) -> None:
        self.below = below
        self.above = above
        self.own = own

    @property
    def url(self) -> str:
        return self.below.url

    def _holder(self, key: str) -> Store:
        if key.startswith(self.own):
            return self.above
        try:
            self.above.head(key)
        except ObjectNotFound:
            return self.below
        return self.above

    def head(self, key: str, *, version: str | None = None) -> ObjectInfo:
        return self._holder(key).head(key, version=version)

    def read(
        self,
        key: str,
        *,
        version: str | None = None,
        if_match: str | None = None,
        start: int = 0,
        length: int | None = None,
    ) -> bytes:
        return self._holder(key).read(key, version=version, if_match=if_match, start=start, length=length)

    def stream(self, key: str, *, version: str | None = None, if_match: str | None = None) -> Iterator[bytes]:
        return self._holder(key).stream(key, version=version, if_match=if_match)

    def write(self, key: str, data: bytes | Iterable[bytes], *, create: bool = False) -> ObjectInfo:
        return self.above.write(key, data, create=create)

    def write_file(self, key: str, path: Path, *, create: bool = False) -> ObjectInfo:
        return self.above.write_file(key, path, create=create)

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        last = ""
        above = self.above.list(prefix, start_after=start_after)
        below = (i for i in self.below.list(prefix, start_after=start_after) if not i.key.startswith(self.own))
        for info in merge(above, below, key=lambda info: info.key.encode()):
            if info.key != last:
                yield info
            last = info.key

    def delete(self, key: str, *, version: str | None = None) -> None:
        self.above.delete(key, version=version)

    def local_path(self, key: str) -> Path | None:
        return self._holder(key).local_path(key)

    def sync(self) -> None:
        self.above.sync()
