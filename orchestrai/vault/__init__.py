"""The vault: raw events -> snapshot."""

from typing import TYPE_CHECKING

from orchestrai.lazy import lazily

if TYPE_CHECKING:
    from orchestrai.vault.anchor import Anchor
    from orchestrai.vault.encryption import FileKey, KeyPort
    from orchestrai.vault.folder import backup_folder
    from orchestrai.vault.locking import LockReport, lock_snapshot
    from orchestrai.vault.prune import PrunePlan, PruneReport, apply_prune, plan_prune
    from orchestrai.vault.records import SnapshotCommit
    from orchestrai.vault.replicate import ReplicaReport, opened_replica, replicate
    from orchestrai.vault.retention import RetentionPlan, apply_retention, plan_retention
    from orchestrai.vault.rows import StoredFile, StoredPartition
    from orchestrai.vault.snapshot import snapshot
    from orchestrai.vault.source import SourceFile, StoredAt
    from orchestrai.vault.spec import BackupSpec, KeepSpec
    from orchestrai.vault.vault import Vault
    from orchestrai.vault.verify import Finding, VerifyReport, verify

__all__ = [
    "Anchor",
    "BackupSpec",
    "FileKey",
    "Finding",
    "KeepSpec",
    "KeyPort",
    "LockReport",
    "PrunePlan",
    "PruneReport",
    "ReplicaReport",
    "RetentionPlan",
    "SnapshotCommit",
    "SourceFile",
    "StoredAt",
    "StoredFile",
    "StoredPartition",
    "Vault",
    "VerifyReport",
    "apply_prune",
    "apply_retention",
    "backup_folder",
    "lock_snapshot",
    "opened_replica",
    "plan_prune",
    "plan_retention",
    "replicate",
    "snapshot",
    "verify",
]

lazily(
    __name__,
    {
        "anchor": ("Anchor",),
        "encryption": ("FileKey", "KeyPort"),
        "folder": ("backup_folder",),
        "locking": ("LockReport", "lock_snapshot"),
        "prune": ("PrunePlan", "PruneReport", "apply_prune", "plan_prune"),
        "records": ("SnapshotCommit",),
        "replicate": ("ReplicaReport", "opened_replica", "replicate"),
        "retention": ("RetentionPlan", "apply_retention", "plan_retention"),
        "rows": ("StoredFile", "StoredPartition"),
        "snapshot": ("snapshot",),
        "source": ("SourceFile", "StoredAt"),
        "spec": ("BackupSpec", "KeepSpec"),
        "vault": ("Vault",),
        "verify": ("Finding", "VerifyReport", "verify"),
    },
)
