"""The copies of one vault, and each of them as it will be once it is mended."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import ObjectNotFound
from orchestrai.storage.base import ObjectInfo, Store
from orchestrai.storage.cloud.control import ControlPlane
from orchestrai.vault.format.records import NEVER
from orchestrai.vault.replica.read_only_store import ReadOnlyStore
from orchestrai.vault.replica.record_proof import VAULT_RECORDS


@dataclass(frozen=True)
class Copy:
    """One store that holds the vault; the first of all copies is the primary. `control` tells of versions, locks and holds."""

    store: Store
    control: ControlPlane | None
    primary: bool

    @property
    def name(self) -> str:
        """How people know it."""
        return self.store.url

    @property
    def keeps_versions(self) -> bool:
        """True where nothing that is written over is lost."""
        return self.control is not None and self.control.capabilities().versions


@dataclass
class MendedView(ReadOnlyStore):
    """A copy as it will be: its records are those given, and what is `redirected` is read from another store; `seen` is what was asked for.

    Readers of the vault work on it as on any store, so what a snapshot needs is asked of the code that reads it.
    """

    base: Store
    records: Mapping[str, bytes]
    redirected: dict[str, Store] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._keys = sorted(self.records, key=str.encode)

    def head(self, key: str, *, version: str | None = None) -> ObjectInfo:
        """As of a store."""
        return self._info(key) if _is_record(key) else self._of(key).head(key, version=version)

    def read(
        self, key: str, *, version: str | None = None, if_match: str | None = None, start: int = 0, length: int | None = None
    ) -> bytes:
        """As of a store."""
        if not _is_record(key):
            return self._of(key).read(key, version=version, if_match=if_match, start=start, length=length)
        self._info(key)
        return self.records[key][start : None if length is None else start + length]

    def stream(self, key: str, *, version: str | None = None, if_match: str | None = None) -> Iterator[bytes]:
        """As of a store."""
        return iter((self.read(key),)) if _is_record(key) else self._of(key).stream(key, version=version, if_match=if_match)

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """As of a store: records, or bytes."""
        if not prefix.startswith(VAULT_RECORDS):
            yield from self.base.list(prefix, start_after=start_after)
            return
        for key in self._keys:
            if key.startswith(prefix) and (start_after is None or key.encode() > start_after.encode()):
                yield self._info(key)

    def local_path(self, key: str) -> Path | None:
        """The file that holds an object of bytes, where it is on this machine."""
        return None if _is_record(key) else self._of(key).local_path(key)

    def _of(self, key: str) -> Store:
        self.seen.add(key)
        return self.redirected.get(key, self.base)

    def _info(self, key: str) -> ObjectInfo:
        data = self.records.get(key)
        if data is None:
            raise ObjectNotFound(f"expected an object {key!r} in {self.url}, found none", key=key)
        return ObjectInfo(key, len(data), sha256_hex(data), NEVER)


def _is_record(key: str) -> bool:
    return key.startswith(VAULT_RECORDS)


def others(copies: Sequence[Copy], copy: Copy) -> list[Copy]:
    """All copies but one, the primary first."""
    return [one for one in copies if one is not copy]
