"""Bring back what was overwritten or deleted in a vault on a store that keeps versions.

Everything under vault/ is written once, so the first version of a key is what the vault wrote, and whatever came later was put there by
somebody else. The plan is shown before it is applied.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from orchestrai.core.canonical import JsonValue
from orchestrai.errors import ConfigError, RetentionLocked
from orchestrai.storage.base import Store
from orchestrai.storage.cloud.control import ControlPlane, ObjectVersion
from orchestrai.vault.format.layout import ROOT


@dataclass(frozen=True)
class Hidden:
    """A key whose first version is no longer the newest; `later` versions and delete markers lie over it, newest first."""

    key: str
    version: str
    later: tuple[str, ...]
    deleted: bool


@dataclass(frozen=True)
class RepairPlan:
    """What would be brought back."""

    hidden: tuple[Hidden, ...]

    def as_json(self) -> dict[str, JsonValue]:
        """The form shown to people and programs."""
        return {"hidden": [{"key": h.key, "versions_over_it": len(h.later), "deleted": h.deleted} for h in self.hidden]}


def plan_repair(store: Store, control: ControlPlane | None) -> RepairPlan:
    """Find every key that was overwritten or deleted; raises ConfigError where the store keeps no versions."""
    if control is None or not control.capabilities().versions:
        raise ConfigError(f"expected a store that keeps versions, found none in {store.url}: copy back from the replica")
    # what a prune deletes goes with all its versions, so a first version that is left was not pruned
    return RepairPlan(tuple(hidden_under(control, ROOT)))


def hidden_under(control: ControlPlane, prefix: str) -> Iterator[Hidden]:
    """The keys under a prefix whose first version is no longer the newest."""
    for key, group in groupby(control.versions(prefix), key=attrgetter("key")):
        versions: list[ObjectVersion] = list(group)
        first = next((version for version in reversed(versions) if not version.marker), None)
        if first is None:
            continue
        # a write whose answer was lost was made twice, and what was brought back lies on top, with the same bytes
        if versions[0].marker or (versions[0].etag, versions[0].size) != (first.etag, first.size):
            later = tuple(version.version for version in versions[: versions.index(first)])
            yield Hidden(key, first.version, later, versions[0].marker)


def is_covered(store: Store, hidden: Hidden) -> bool:
    """True where other bytes lie over a first version; the same bytes, put in another way, have another etag and are no fault."""
    return hidden.deleted or _digest(store, hidden.key, None) != _digest(store, hidden.key, hidden.version)


def _digest(store: Store, key: str, version: str | None) -> bytes:
    digest = hashlib.sha256()
    for chunk in store.stream(key, version=version):
        digest.update(chunk)
    return digest.digest()


def apply_repair(plan: RepairPlan, control: ControlPlane) -> int:
    """Remove what lies over the first versions; where a lock forbids it, copy the first version on top. Idempotent."""
    for hidden in plan.hidden:
        try:
            for version in hidden.later:
                control.delete_version(hidden.key, version)
        except RetentionLocked:
            control.copy(control, hidden.key, hidden.key, source_version=hidden.version)
    return len(plan.hidden)
