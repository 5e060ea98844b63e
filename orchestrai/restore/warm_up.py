"""Restoring from a cold tier: what cannot be read now, how long the store takes to make it readable, and the request for it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby

from orchestrai.core.canonical import JsonValue
from orchestrai.core.parallel import map_calls
from orchestrai.errors import RestoreError
from orchestrai.storage.cloud.control import ControlPlane, Tier
from orchestrai.vault.format.chunk_table import StoredObject
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.pieces.object_reads import pinned

# what the services promise for a standard request: S3 Glacier 3 to 5 h, Deep Archive 12 h, Azure Archive 15 h
_HOURS = {"GLACIER": 5, "DEEP_ARCHIVE": 12, "Archive": 15}
_LONGEST = 48


@dataclass(frozen=True)
class ColdObject:
    """An object that cannot be read now; `requested` once the store was asked for it."""

    key: str
    version: str
    size: int
    storage_class: str
    requested: bool


@dataclass(frozen=True)
class Warmth:
    """Which of the objects that a restore reads are cold."""

    objects: int
    cold: tuple[ColdObject, ...]

    @property
    def ready(self) -> bool:
        """True when all can be read now."""
        return not self.cold

    @property
    def bytes(self) -> int:
        """How many bytes are cold."""
        return sum(cold.size for cold in self.cold)

    @property
    def wait(self) -> timedelta:
        """How long the service takes for the slowest class, from the request on."""
        return timedelta(hours=max((_HOURS.get(cold.storage_class, _LONGEST) for cold in self.cold), default=0))

    def as_json(self) -> dict[str, JsonValue]:
        """The form shown to people and programs."""
        return {
            "objects": self.objects,
            "cold": len(self.cold),
            "cold_bytes": self.bytes,
            "requested": sum(cold.requested for cold in self.cold),
            "classes": [*sorted({cold.storage_class for cold in self.cold})],
            "wait_seconds": self.wait.total_seconds(),
            "ready": self.ready,
        }


def survey(files: Iterable[StoredFile], control: ControlPlane | None) -> Warmth:
    """Ask the store for the class of what these files lie in.

    Objects that one session wrote are of one age, and tiers go by age: one of each session is asked for, and all of a session
    whose first is cold. A read of a cold one that this overlooks is refused by the store. Raises MissingObject.
    """
    objects = {place.key: place for file in files for place in file.places}
    if control is None or not control.archives:
        return Warmth(len(objects), ())
    plane = control
    sessions = [list(group) for _, group in groupby(sorted(objects.values(), key=_session), key=_session)]

    def cold(file: StoredObject) -> list[ColdObject]:
        return _told(file, pinned(file.key, file.version, lambda version: plane.tier(file.key, version)))

    firsts = list(map_calls(cold, [session[0] for session in sessions]))
    rest = [file for session, first in zip(sessions, firsts, strict=True) if first for file in session[1:]]
    groups = [*firsts, *map_calls(cold, rest)]
    return Warmth(len(objects), tuple(sorted((one for group in groups for one in group), key=lambda one: one.key)))


def warm_up(warmth: Warmth, control: ControlPlane, days: int) -> Warmth:
    """Ask the store to make the cold objects readable for `days`; does not wait. Idempotent."""

    def asked(cold: ColdObject) -> list[ColdObject]:
        tier = pinned(cold.key, cold.version, lambda version: control.warm(cold.key, days, version))
        return [] if _readable(tier) else [ColdObject(cold.key, cold.version, cold.size, tier.storage_class, True)]

    return Warmth(warmth.objects, tuple(one for group in map_calls(asked, warmth.cold) for one in group))


def wait_until_warm(
    look: Callable[[], Warmth], sleep: Callable[[float], None], *, every: timedelta = timedelta(minutes=5), limit: timedelta
) -> Warmth:
    """Look again every so often until all is readable; raises RestoreError when `limit` has passed."""
    waited = timedelta()
    while not (warmth := look()).ready:
        if waited >= limit:
            raise RestoreError(
                f"expected the cold objects to be readable within {limit}, found {len(warmth.cold)} that are not: come again"
            )
        sleep(every.total_seconds())
        waited += every
    return warmth


def require_warm(warmth: Warmth) -> None:
    """Raise RestoreError, before anything is read, when something is cold, and say when to come again."""
    if warmth.ready:
        return
    hours = int(warmth.wait.total_seconds() // 3600)
    asked = all(cold.requested for cold in warmth.cold)
    remedy = (
        f"come again within {hours} h" if asked else f"request it with `orchestrai vault warm`, it takes about {hours} h"
    )
    raise RestoreError(
        f"expected {warmth.objects} readable objects, found {len(warmth.cold)} of {warmth.bytes:,} bytes in a cold tier "
        f"({', '.join(sorted({cold.storage_class for cold in warmth.cold}))}): {remedy}"
    )


def _session(file: StoredObject) -> str:
    return file.session


def _readable(tier: Tier) -> bool:
    return tier.state in ("online", "restored")


def _told(file: StoredObject, tier: Tier) -> list[ColdObject]:
    if _readable(tier):
        return []
    return [ColdObject(file.key, file.version, file.length, tier.storage_class, tier.state == "restoring")]
