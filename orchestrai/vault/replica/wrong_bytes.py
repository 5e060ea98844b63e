"""What is wrong in a store that keeps no versions is set aside before the right bytes take its place, so that no evidence is lost."""

from orchestrai.errors import DigestMismatch
from orchestrai.vault.format.layout import QUARANTINE
from orchestrai.vault.replica.copies import Copy
from orchestrai.vault.replica.stored_digest import digest_of


def set_aside(copy: Copy, key: str, digest: str, *, remove: bool = False) -> str:
    """Keep the bytes of this hash that lie under a key; returns where. With `remove` the key is free afterwards. Idempotent.

    Raises DigestMismatch where other bytes lie there by now.
    """
    store = copy.store
    place = f"{QUARANTINE}{digest[:16]}/{key}"
    if remove and digest_of(store, key) == "" and digest_of(store, place) == digest:
        return place  # done by a run that died behind it
    if digest_of(store, place) != digest:
        store.write(place, store.stream(key))
        kept = digest_of(store, place)
        if kept != digest:
            raise DigestMismatch(
                f"expected {key} of sha256 {digest[:12]} to set aside, found {kept[:12]}: run it again", key=key
            )
    if remove:
        if copy.control is not None and copy.keeps_versions:
            for version in [one.version for one in copy.control.versions(key) if one.key == key]:
                copy.control.delete_version(key, version)
        store.delete(key)
    return place
