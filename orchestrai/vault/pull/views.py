"""A copy as it will be with the records that are planned."""

from collections.abc import Iterator, Mapping
from heapq import merge
from pathlib import Path

from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import ObjectNotFound
from orchestrai.storage.base import ObjectInfo, Store
from orchestrai.vault.format.records import NEVER
from orchestrai.vault.replica.read_only_store import ReadOnlyStore


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
