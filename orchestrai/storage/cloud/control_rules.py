"""What every control plane decides and says alike: when a retention has to change, what was read back, what a refusal means."""

from datetime import datetime

from orchestrai.errors import ConfigError, PreconditionFailed, RetentionLocked, StorageError
from orchestrai.storage.cloud.control import LockMode, Retention


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
    told = f"expected {key!r} version {version} to be deletable, found"
    if retention is not None:
        return RetentionLocked(
            f"{told} it locked until {retention.until:%Y-%m-%d %H:%M} UTC: delete it after that",
            key=key,
            until=retention.until,
        )
    return RetentionLocked(f"{told} a legal hold: lift it first", key=key) if held else None


def changed(key: str, url: str) -> PreconditionFailed:
    """The object is no longer the one that was listed."""
    return PreconditionFailed(f"expected {key!r} in {url} as it was listed, found it changed: list it again", key=key)


def elsewhere(cloud: str, url: str) -> ConfigError:
    """A copy on the server was asked for from another cloud."""
    return ConfigError(f"expected a source in {cloud} for a copy into {url}, found another cloud: stream the object")
