"""The control plane: versions, locks, copies, checksums and cold tiers, which differ from cloud to cloud.

What every control plane decides and says alike is below: when a retention has to change, what was read back, what a refusal means.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol, runtime_checkable

from orchestrai.errors import (
    ConfigError,
    ObjectNotFound,
    OrchestraiError,
    PreconditionFailed,
    RetentionLocked,
    StorageError,
)
from orchestrai.storage.base import ObjectInfo, Store
from orchestrai.storage.cloud.cloud_errors import Fault, Meaning

LockMode = Literal["governance", "compliance"]
TierState = Literal["online", "archived", "restoring", "restored"]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do beyond holding objects, as its own configuration says.

    `lock` is the strongest retention that an object can be given there: none; governance, which a privileged account can
    lift; compliance, which nobody can shorten. `default_lock` is what the bucket gives each new object by itself.
    """

    lock: Literal["none", "governance", "compliance"] = "none"
    default_lock: timedelta | None = None
    legal_hold: bool = False
    versions: bool = False
    server_copy: bool = False
    cold_tier: bool = False


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """One version of a key, newest first in lists; a marker says that the key was deleted then."""

    key: str
    version: str
    size: int
    etag: str
    modified: datetime
    latest: bool
    marker: bool = False


@dataclass(frozen=True, slots=True)
class Retention:
    """Until when a version can be neither deleted nor overwritten."""

    mode: LockMode
    until: datetime


@dataclass(frozen=True, slots=True)
class ServiceChecksum:
    """A checksum of the whole object, computed by the service; `value` is hexadecimal.

    `cryptographic` says whether an adversary could not make other bytes with the same value.
    """

    algorithm: str
    value: str
    cryptographic: bool


@dataclass(frozen=True, slots=True)
class Copied:
    """What a server-side copy made."""

    key: str
    etag: str
    version: str | None
    checksum: ServiceChecksum | None


@dataclass(frozen=True, slots=True)
class Tier:
    """In which class an object is kept and whether it can be read now; `until` is when a restored copy goes."""

    storage_class: str
    state: TierState
    until: datetime | None = None


class ControlPlane(Protocol):
    """What a cloud's own library does for one bucket or prefix; keys are the store's keys.

    Raises only StorageErrors: ObjectNotFound, RetentionLocked, TransientStorageError. `version=None` means the newest one.
    """

    archives: bool
    """Whether there is a class whose objects must be warmed before they are read."""

    def capabilities(self) -> Capabilities:
        """Ask the bucket's configuration; what is refused or unknown counts as absent."""
        ...

    def objects(self, prefix: str, *, after: str | None = None) -> Iterator[ObjectInfo]:
        """Yield the objects whose key starts with `prefix` and sorts behind `after`, ascending, under the names the service has.

        Keys that a data plane cannot hold are among them.
        """
        ...

    def versions(self, prefix: str) -> Iterator[ObjectVersion]:
        """Yield every version of every key that starts with `prefix`, delete markers included."""
        ...

    def delete_version(self, key: str, version: str) -> None:
        """Remove one version; a missing one is no error. Raises RetentionLocked and says until when."""
        ...

    def retention(self, key: str, version: str | None = None) -> Retention | None:
        """Read back what locks a version."""
        ...

    def retain(self, key: str, until: datetime, mode: LockMode, version: str | None = None) -> Retention:
        """Set or extend a retention and return what was read back; a longer or stronger one stays as it is. Idempotent."""
        ...

    def held(self, key: str, version: str | None = None) -> bool:
        """Whether a legal hold is on a version."""
        ...

    def hold(self, key: str, on: bool, version: str | None = None) -> bool:
        """Set or lift a legal hold and return what was read back. Idempotent."""
        ...

    def copy(
        self,
        source: "ControlPlane",
        source_key: str,
        key: str,
        *,
        source_version: str | None = None,
        if_match: str | None = None,
        storage_class: str | None = None,
    ) -> Copied:
        """Copy on the server from another bucket of the same cloud, overwriting; raises PreconditionFailed.

        Not every server honours a condition on the source, so its etag is read again after the copy.
        """
        ...

    def checksum(self, key: str, version: str | None = None) -> ServiceChecksum | None:
        """The checksum of the whole object that the service keeps, without a download."""
        ...

    def tier(self, key: str, version: str | None = None) -> Tier:
        """Where an object is kept and whether it can be read now."""
        ...

    def warm(self, key: str, days: int, version: str | None = None) -> Tier:
        """Request that an archived object becomes readable for `days`; does not wait. Idempotent."""
        ...


@runtime_checkable
class Controlled(Protocol):
    """A store that has a control plane, or wraps one that has."""

    def control_plane(self) -> ControlPlane | None:
        """What the cloud's own library does for this store; None where it is no cloud's."""
        ...


def control_plane(store: Store) -> ControlPlane | None:
    """The control plane of a cloud store; None for stores that have none, such as a local directory."""
    return store.control_plane() if isinstance(store, Controlled) else None


def capabilities(store: Store) -> Capabilities:
    """What a store can do, asked from its own configuration: a store that cannot lock is never called locked."""
    control = control_plane(store)
    return Capabilities() if control is None else control.capabilities()


def stronger(now: Retention | None, until: datetime, mode: LockMode) -> Retention:
    """The retention to have, so that nothing gets shorter or weaker: `now` itself where that is enough."""
    if now is None:
        return Retention(mode, until)
    strongest: LockMode = "compliance" if "compliance" in (now.mode, mode) else mode
    return Retention(strongest, max(until, now.until))


def require_kept(key: str, url: str, read: Retention | None, until: datetime, remedy: str) -> Retention:
    """The retention as it was read back; raises StorageError when it ends before `until`."""
    if read is None or read.until < until:
        raise StorageError(
            f"expected {key!r} in {url} to be locked until {until:%Y-%m-%d %H:%M}, found {read}: {remedy}", key=key
        )
    return read


def locked(key: str, version: str, retention: Retention | None, held: bool) -> RetentionLocked | None:
    """Why a version cannot be deleted; None where neither a retention nor a hold is on it."""
    message = f"expected {key!r} version {version} to be deletable, found"
    if retention is not None:
        return RetentionLocked(
            f"{message} it locked until {retention.until:%Y-%m-%d %H:%M} UTC: delete it after that",
            key=key,
            until=retention.until,
        )
    return RetentionLocked(f"{message} a legal hold: lift it first", key=key) if held else None


def object_error(fault: Fault, key: str, url: str) -> OrchestraiError | None:
    """What a fault means to whoever asked for an object; None where it means the same as anywhere."""
    if fault.meaning is Meaning.MISSING:
        return ObjectNotFound(f"expected an object {key!r} in {url}, found none", key=key)
    if fault.meaning is Meaning.NO_CONTAINER:
        return StorageError(f"expected the bucket of {url}, found none: create it", key=key, code=fault.code)
    if fault.meaning is Meaning.CHANGED:
        return changed(key, url)
    if fault.meaning is Meaning.LOCKED:
        return RetentionLocked(f"expected {key!r} in {url} to be changeable, found it locked: wait for its end", key=key)
    if fault.meaning is Meaning.COLD:
        return StorageError(
            f"expected {key!r} in {url} to be readable, found it in a cold tier: request its restore", key=key
        )
    return None


def changed(key: str, url: str) -> PreconditionFailed:
    """The object is no longer the one that was listed."""
    return PreconditionFailed(f"expected {key!r} in {url} as it was listed, found it changed: list it again", key=key)


def elsewhere(cloud: str, url: str) -> ConfigError:
    """A copy on the server was asked for from another cloud."""
    return ConfigError(f"expected a source in {cloud} for a copy into {url}, found another cloud: stream the object")
