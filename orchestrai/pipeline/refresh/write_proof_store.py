"""A store in which nothing can be changed while a trial looks at it: each wish to write is noted, and refused."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from orchestrai.errors import ObjectExists
from orchestrai.storage.base import ObjectInfo, Store, exists
from orchestrai.storage.cloud.control import (
    Capabilities,
    Controlled,
    ControlPlane,
    Copied,
    LockMode,
    ObjectVersion,
    Retention,
    ServiceChecksum,
    Tier,
)
from orchestrai.storage.memory import MemoryStore
from orchestrai.vault.format.layout import SESSIONS

Refuse = Callable[[str], NoReturn]


class WriteProofStore:
    """Reads of a store as they are; `refuse` hears of every write and raises WouldPublish.

    Two things are no wish to change it. A record that is created under a key that is taken: the store says so, as it would. And the
    record of a vault's session, which is there while the session looks and is gone after it: it is kept in memory.
    """

    def __init__(self, base: Store, refuse: Refuse) -> None:
        self.base = base
        self._refuse = refuse
        self._sessions = MemoryStore(name="sessions")

    @property
    def url(self) -> str:
        """Where the store is."""
        return self.base.url

    def control_plane(self) -> ControlPlane | None:
        """That of the store, which changes nothing either."""
        control = self.base.control_plane() if isinstance(self.base, Controlled) else None
        return WriteProofControl(control, self.url, self._refuse) if control is not None else None

    def head(self, key: str, *, version: str | None = None) -> ObjectInfo:
        """As of the store."""
        return self._of(key).head(key, version=version)

    def read(
        self, key: str, *, version: str | None = None, if_match: str | None = None, start: int = 0, length: int | None = None
    ) -> bytes:
        """As of the store."""
        return self._of(key).read(key, version=version, if_match=if_match, start=start, length=length)

    def stream(self, key: str, *, version: str | None = None, if_match: str | None = None) -> Iterator[bytes]:
        """As of the store."""
        return self._of(key).stream(key, version=version, if_match=if_match)

    def write(self, key: str, data: bytes | Iterable[bytes], *, create: bool = False) -> ObjectInfo:
        """Refused, but for a session's record; raises ObjectExists as the store would."""
        if key.startswith(SESSIONS):
            return self._sessions.write(key, data, create=create)
        if create and exists(self.base, key):
            raise ObjectExists(
                f"expected no object {key!r} in {self.url}, found one: read it or choose another key", key=key
            )
        self._refuse(f"{key} in {self.url}")

    def write_file(self, key: str, path: Path, *, create: bool = False) -> ObjectInfo:
        """As `write`."""
        return self.write(key, path.read_bytes() if key.startswith(SESSIONS) else b"", create=create)

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """As of the store: nobody else sees a session."""
        return self.base.list(prefix, start_after=start_after)

    def delete(self, key: str, *, version: str | None = None) -> None:
        """Refused, but for a session's record, and for what is not there."""
        if key.startswith(SESSIONS):
            self._sessions.delete(key)
        elif version is not None or exists(self.base, key):
            self._refuse(f"the end of {key} in {self.url}")

    def local_path(self, key: str) -> Path | None:
        """The file that holds an object, where it is on this machine."""
        return self.base.local_path(key)

    def sync(self) -> None:
        """Nothing was written."""

    def _of(self, key: str) -> Store:
        return self._sessions if key.startswith(SESSIONS) and exists(self._sessions, key) else self.base


class WriteProofControl:
    """The control plane of such a store: asked, and never told to change anything."""

    def __init__(self, base: ControlPlane, url: str, refuse: Refuse) -> None:
        self.base = base
        self.archives = base.archives
        self._url = url
        self._refuse = refuse

    def capabilities(self) -> Capabilities:
        """As of the store."""
        return self.base.capabilities()

    def objects(self, prefix: str, *, after: str | None = None) -> Iterator[ObjectInfo]:
        """As of the store."""
        return self.base.objects(prefix, after=after)

    def versions(self, prefix: str) -> Iterator[ObjectVersion]:
        """As of the store."""
        return self.base.versions(prefix)

    def delete_version(self, key: str, version: str) -> None:
        """Refused."""
        self._refuse(f"the end of {key} in {self._url}")

    def retention(self, key: str, version: str | None = None) -> Retention | None:
        """As of the store."""
        return self.base.retention(key, version)

    def retain(self, key: str, until: datetime, mode: LockMode, version: str | None = None) -> Retention:
        """Refused."""
        self._refuse(f"a lock of {key} in {self._url}")

    def held(self, key: str, version: str | None = None) -> bool:
        """As of the store."""
        return self.base.held(key, version)

    def hold(self, key: str, on: bool, version: str | None = None) -> bool:
        """Refused."""
        self._refuse(f"a hold of {key} in {self._url}")

    def copy(
        self,
        source: ControlPlane,
        source_key: str,
        key: str,
        *,
        source_version: str | None = None,
        if_match: str | None = None,
        storage_class: str | None = None,
    ) -> Copied:
        """Refused."""
        self._refuse(f"{key} in {self._url}")

    def checksum(self, key: str, version: str | None = None) -> ServiceChecksum | None:
        """As of the store."""
        return self.base.checksum(key, version)

    def tier(self, key: str, version: str | None = None) -> Tier:
        """As of the store."""
        return self.base.tier(key, version)

    def warm(self, key: str, days: int, version: str | None = None) -> Tier:
        """Refused."""
        self._refuse(f"{key} to be warmed in {self._url}")
