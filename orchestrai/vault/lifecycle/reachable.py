"""What a snapshot needs: every object that must stay as it is for it to be restored, and the version of each that was written."""

from typing import TYPE_CHECKING

from orchestrai.ledger.trust.key_log import CENSUS, KEY_LOG
from orchestrai.vault.format.layout import DATA_KEYS, IDENTITY, commit_key
from orchestrai.vault.format.records import SnapshotCommit

if TYPE_CHECKING:
    from orchestrai.vault.format.lists import StoredPartition
    from orchestrai.vault.vault import Vault


def reach(vault: "Vault", commit: SnapshotCommit, beyond: SnapshotCommit | None = None) -> dict[str, str]:
    """Key to version (empty: the newest) of all that a snapshot needs, its record and the wrapped data keys included.

    With `beyond`, an earlier snapshot of the dataset, only what that one does not need: lists that both have are not read, so the
    cost grows with what changed; so it does for the pages of the tree. Raises MissingObject, DigestMismatch.
    """
    before = vault.catalog.tree(beyond) if beyond is not None else None
    versions = {commit.tree: commit.tree_version, commit_key(commit.dataset, commit.seq): ""}
    if beyond is None:
        versions[IDENTITY] = ""
        versions |= {info.key: "" for prefix in (DATA_KEYS, CENSUS, KEY_LOG) for info in vault.store.list(prefix)}
    for page, content in vault.catalog.tree(commit).fresh(before):
        versions.setdefault(page.place.key, page.place.version)
        for entry in content if page.height == 0 else ():
            old = before.get(entry.partition) if before is not None else None
            if entry.key in versions or (old is not None and old.key == entry.key):
                continue
            versions[entry.key] = entry.version
            known = set(_places(vault, old)) if old is not None else set()
            versions |= {key: version for key, version in _places(vault, entry).items() if key not in known}
    return versions


def _places(vault: "Vault", entry: "StoredPartition") -> dict[str, str]:
    """Key to version of every object that holds bytes of a partition's files."""
    return {place.key: place.version for file in vault.catalog.files(entry) for place in file.places}
