"""What was overwritten or deleted in a vault on a store that keeps versions.

Everything under vault/ is written once, so the first version of a key is what the vault wrote, and whatever came later was put there by
somebody else. What a prune deletes goes with all its versions, so a first version that is left was not pruned.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from orchestrai.errors import ObjectNotFound
from orchestrai.storage.base import Store
from orchestrai.storage.cloud.control import ControlPlane, ObjectVersion
from orchestrai.vault.replica.stored_digest import sha256_of


@dataclass(frozen=True)
class Hidden:
    """A key whose first version is no longer the newest: another one, or a delete marker, lies over it."""

    key: str
    version: str
    deleted: bool


def hidden_under(control: ControlPlane, prefix: str) -> Iterator[Hidden]:
    """The keys under a prefix whose first version is no longer the newest."""
    for key, group in groupby(control.versions(prefix), key=attrgetter("key")):
        versions: list[ObjectVersion] = list(group)
        first = next((version for version in reversed(versions) if not version.marker), None)
        if first is None:
            continue
        # a write whose answer was lost was made twice, and what was brought back lies on top, with the same bytes
        if versions[0].marker or (versions[0].etag, versions[0].size) != (first.etag, first.size):
            yield Hidden(key, first.version, versions[0].marker)


def is_covered(store: Store, hidden: Hidden) -> bool:
    """True where other bytes lie over a first version; the same bytes, put in another way, have another etag and are no fault."""
    return hidden.deleted or sha256_of(store, hidden.key) != sha256_of(store, hidden.key, hidden.version)


def versions_of(store: Store, hidden: Hidden | None, key: str) -> Iterator[bytes]:
    """What to judge under a key, in this order: the first version, which is what the vault wrote, and the newest."""
    for version in (hidden.version, None) if hidden is not None else (None,):
        try:
            yield store.read(key, version=version)
        except ObjectNotFound:
            continue
