"""What the control planes of all clouds do in the same steps; each cloud says what a step is there."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from orchestrai.errors import AccessRefused, ObjectNotFound, OrchestraiError, RetentionLocked
from orchestrai.storage.base import ObjectInfo, check_key
from orchestrai.storage.cloud import control as rules
from orchestrai.storage.cloud.cloud_errors import Fault, Own
from orchestrai.storage.cloud.control import ControlPlane, Copied, LockMode, ObjectVersion, Retention


@dataclass(frozen=True)
class Copying:
    """What is to be copied on the server, and where to."""

    source_key: str
    source_version: str | None
    key: str
    if_match: str | None
    storage_class: str | None


class CloudControl(ABC, ControlPlane):
    """One bucket or container, or a prefix of it."""

    cloud: str
    lock_remedy: str
    """What to do where a lock was not kept."""
    sdk_errors: Callable[[str, str, Own, str], AbstractContextManager[None]]
    """The table of the cloud's errors."""

    def __init__(self, client: Any, prefix: str, url: str) -> None:
        self.client = client
        self.prefix = prefix
        self.url = url

    def delete_version(self, key: str, version: str) -> None:
        try:
            with self._errors(key):
                self._delete(key, version)
        except ObjectNotFound:
            return
        except (AccessRefused, RetentionLocked) as exc:
            why = rules.locked(key, version, self.retention(key, version), self.held(key, version))
            if why is None:
                raise
            raise why from exc

    def retain(self, key: str, until: datetime, mode: LockMode, version: str | None = None) -> Retention:
        now = self.retention(key, version)
        wanted = rules.stronger(now, until, mode)
        if wanted == now:
            return wanted
        self._retain(key, version, now, wanted)
        return rules.require_kept(key, self.url, self.retention(key, version), self._as_kept(until), self.lock_remedy)

    def hold(self, key: str, on: bool, version: str | None = None) -> bool:
        self._hold(key, version, on)
        return self.held(key, version)

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
        if not isinstance(source, type(self)):
            raise rules.elsewhere(self.cloud, self.url)
        return self._copy(source, Copying(source_key, source_version, key, if_match, storage_class))

    def name_of(self, key: str) -> str:
        """The full name of a key in the bucket; raises InvalidKey."""
        return self.prefix + check_key(key)

    def key_of(self, name: str) -> str:
        """The key of a full name."""
        return name[len(self.prefix) :]

    @abstractmethod
    def objects(self, prefix: str, *, after: str | None = None) -> Iterator[ObjectInfo]:
        """Yield the objects whose key starts with `prefix` and sorts behind `after`, under the names the service has."""

    @abstractmethod
    def versions(self, prefix: str) -> Iterator[ObjectVersion]:
        """Yield every version of every key that starts with `prefix`, delete markers included."""

    @abstractmethod
    def _delete(self, key: str, version: str) -> None: ...

    @abstractmethod
    def _retain(self, key: str, version: str | None, now: Retention | None, wanted: Retention) -> None: ...

    @abstractmethod
    def _hold(self, key: str, version: str | None, on: bool) -> None: ...

    @abstractmethod
    def _copy(self, source: Self, asked: Copying) -> Copied: ...

    def _errors(self, key: str) -> AbstractContextManager[None]:
        """Within it the SDK's errors become ours."""
        return self.sdk_errors(
            f"{self.url} to answer for {key!r}", "check the store's settings", lambda fault: self._own(fault, key), key
        )

    def _own(self, fault: Fault, key: str) -> OrchestraiError | None:
        """What a fault means here and nowhere else."""
        return rules.object_error(fault, key, self.url)

    def _as_kept(self, until: datetime) -> datetime:
        """A time as exactly as the service keeps it."""
        return until
