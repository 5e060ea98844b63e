"""Stores to look at and never to write: a primary that is read alone, and a copy as it will be with the records that are planned."""

from collections.abc import Iterable, Iterator, Mapping
from heapq import merge
from pathlib import Path

from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import AccessRefused, ObjectNotFound
from orchestrai.storage.base import ObjectInfo, Store
from orchestrai.vault.format.records import NEVER


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


class ForeseenCopy(ReadOnlyStore):
    """A copy as it will be once `records` are put: what is there goes before what is planned."""

    def __init__(self, base: Store, records: Mapping[str, bytes]) -> None:
        super().__init__(base)
        self.records = records
        self._keys = sorted(records, key=str.encode)

    def head(self, key: str, *, version: str | None = None) -> ObjectInfo:
        """As of the store, or of the planned record."""
        try:
            return self.base.head(key, version=version)
        except ObjectNotFound:
            if key not in self.records:
                raise
            return self._planned(key)

    def read(
        self, key: str, *, version: str | None = None, if_match: str | None = None, start: int = 0, length: int | None = None
    ) -> bytes:
        """As of the store, or of the planned record."""
        try:
            return self.base.read(key, version=version, if_match=if_match, start=start, length=length)
        except ObjectNotFound:
            if key not in self.records:
                raise
            return self.records[key][start : None if length is None else start + length]

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """What is there and what is planned, in one order."""
        planned = (
            self._planned(key)
            for key in self._keys
            if key.startswith(prefix) and (start_after is None or key.encode() > start_after.encode())
        )
        last = ""
        for info in merge(self.base.list(prefix, start_after=start_after), planned, key=lambda info: info.key.encode()):
            if info.key != last:
                yield info
            last = info.key

    def local_path(self, key: str) -> Path | None:
        """The file that holds an object, where it is on this machine; none of what is planned."""
        return None if key in self.records else self.base.local_path(key)

    def _planned(self, key: str) -> ObjectInfo:
        data = self.records[key]
        return ObjectInfo(key, len(data), sha256_hex(data), NEVER)
