"""What the restore of a snapshot into a folder will read, how long it should take, and whether it can be read now."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrai.core.canonical import JsonValue
from orchestrai.errors import RestoreError
from orchestrai.restore.plan import predicted_seconds
from orchestrai.restore.warm_up import Warmth, survey
from orchestrai.storage.cloud.control import ControlPlane
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.vault import Vault


@dataclass(frozen=True)
class FolderPlan:
    """One snapshot, whole or some partitions of it; `stored_bytes` is what is read from the vault."""

    snapshot: SnapshotCommit
    partitions: tuple[str, ...]
    files: tuple[StoredFile, ...]
    bytes: int
    stored_bytes: int
    predicted_seconds: float
    warmth: Warmth

    def as_json(self) -> dict[str, JsonValue]:
        """The form shown to people and programs."""
        return {
            "partitions": [*self.partitions],
            "files": len(self.files),
            "objects": self.warmth.objects,
            "bytes": self.bytes,
            "stored_bytes": self.stored_bytes,
            "predicted_seconds": self.predicted_seconds,
            "cold": self.warmth.as_json(),
        }


def plan_folder(
    vault: Vault, commit: SnapshotCommit, partitions: Sequence[str] | None = None, control: ControlPlane | None = None
) -> FolderPlan:
    """Plan a restore and ask the store, through `control`, what is in a cold tier; changes nothing. Raises RestoreError, MissingObject."""
    entries = vault.partitions(commit)
    wanted = sorted(entries) if partitions is None else [*partitions]
    missing = [name for name in wanted if name not in entries]
    if missing:
        raise RestoreError(f"expected partition {missing[0]} in snapshot {commit.snapshot_id}, found none: see `vault show`")
    files = [file for name in wanted for file in vault.catalog.files(entries[name])]
    size = sum(file.size for file in files)
    stored = sum({(file.key, file.offset): file.length for file in files}.values())
    warmth = survey(files, control)
    return FolderPlan(commit, tuple(wanted), tuple(files), size, stored, predicted_seconds(size, warmth.objects), warmth)
