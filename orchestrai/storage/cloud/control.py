"""The control plane: versions, locks, copies, checksums and cold tiers, which differ from cloud to cloud."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

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
