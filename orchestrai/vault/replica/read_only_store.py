"""A store to look at and never to write."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from orchestrai.errors import AccessRefused
from orchestrai.storage.base import ObjectInfo, Store


class ReadOnlyStore:
    """A store that is read and listed; whatever would change it is refused here, before it is asked."""

    def __init__(self, base: Store) -> None:
        self.base = base

    @property
    def url(self) -> str:
        """Where the store is."""
        return self.base.url

    def head(self, key: str, *, version: str | None = None) -> ObjectInfo:
        """As of the store."""
        return self.base.head(key, version=version)

    def read(
        self, key: str, *, version: str | None = None, if_match: str | None = None, start: int = 0, length: int | None = None
    ) -> bytes:
        """As of the store."""
        return self.base.read(key, version=version, if_match=if_match, start=start, length=length)

    def stream(self, key: str, *, version: str | None = None, if_match: str | None = None) -> Iterator[bytes]:
        """As of the store."""
        return self.base.stream(key, version=version, if_match=if_match)

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """As of the store."""
        return self.base.list(prefix, start_after=start_after)

    def write(self, key: str, data: bytes | Iterable[bytes], *, create: bool = False) -> ObjectInfo:
        """Refused."""
        raise AccessRefused(f"expected {self.url} to be read only, found a write of {key}: this is a fault in the code")

    def write_file(self, key: str, path: Path, *, create: bool = False) -> ObjectInfo:
        """Refused."""
        return self.write(key, b"")

    def delete(self, key: str, *, version: str | None = None) -> None:
        """Refused."""
        self.write(key, b"")

    def local_path(self, key: str) -> Path | None:
        """The file that holds an object, where it is on this machine."""
        return self.base.local_path(key)

    def sync(self) -> None:
        """Nothing was written."""
