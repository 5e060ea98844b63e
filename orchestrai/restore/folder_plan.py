"""What the restore of a snapshot into a folder will read, how long it should take, and whether it can be read now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from orchestrai.core.canonical import JsonValue
from orchestrai.errors import RestoreError
from orchestrai.ledger.decisions.recalls import RECALLS
from orchestrai.restore.plan import predicted_seconds
from orchestrai.restore.warm_up import Warmth, survey
from orchestrai.storage.cloud.control import ControlPlane
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.vault import Vault


@dataclass(frozen=True)
class FolderPlan:
    """One snapshot, whole or some partitions or files of it; `stored_bytes` is what is read from the vault.

    `contents` are the files to restore, by partition. `recalled` has the partitions whose content was recalled, by key, each with
    when and why.
    """

    snapshot: SnapshotCommit
    partitions: tuple[str, ...]
    contents: Mapping[str, tuple[StoredFile, ...]]
    bytes: int
    stored_bytes: int
    predicted_seconds: float
    warmth: Warmth
    recalled: Mapping[str, str]

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """All files to restore."""
        return tuple(file for group in self.contents.values() for file in group)

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
            "recalled": dict(self.recalled),
        }

    def require_standing(self) -> None:
        """Raise RestoreError where a partition was recalled: who restores it must know."""
        if self.recalled:
            partition, why = next(iter(self.recalled.items()))
            raise RestoreError(
                f"expected partitions that count, found {len(self.recalled)} recalled, first {partition}, {why}: leave them out with "
                "--partitions, or restore them all the same with --recalled"
            )


def plan_folder(
    vault: Vault,
    commit: SnapshotCommit,
    partitions: Sequence[str] | None = None,
    control: ControlPlane | None = None,
    paths: Sequence[str] = (),
) -> FolderPlan:
    """Plan a restore and ask the store, through `control`, what is in a cold tier; changes nothing. Raises RestoreError, MissingObject.

    With `paths`, only files whose path, or its last part, is one of them or fits one as a glob; each must fit a file.
    """
    entries = vault.partitions(commit)
    wanted = sorted(entries) if partitions is None else [*partitions]
    missing = [name for name in wanted if name not in entries]
    if missing:
        raise RestoreError(f"expected partition {missing[0]} in snapshot {commit.snapshot_id}, found none: see `vault show`")
    contents = {name: tuple(vault.catalog.files(entries[name])) for name in wanted}
    if paths:
        contents = _chosen(commit, contents, paths)
        wanted = [*contents]
    files = [file for group in contents.values() for file in group]
    size = sum(file.size for file in files)
    stored = sum({(file.key, file.offset): file.length for file in files}.values())
    warmth = survey(files, control)
    seconds, recalled = (
        predicted_seconds(size, warmth.objects),
        _recalled(vault, commit, {name: entries[name].root for name in wanted}),
    )
    return FolderPlan(commit, tuple(wanted), contents, size, stored, seconds, warmth, recalled)


def _chosen(
    commit: SnapshotCommit, contents: Mapping[str, tuple[StoredFile, ...]], paths: Sequence[str]
) -> dict[str, tuple[StoredFile, ...]]:
    """The files that the paths name, by partition; raises RestoreError for a path that names none."""
    unmet = {*paths}

    def named(file: StoredFile) -> bool:
        names = (file.path, file.path.rsplit("/", 1)[-1])
        fit = {path for path in paths if path in names or any(fnmatchcase(name, path) for name in names)}
        unmet.difference_update(fit)
        return bool(fit)

    chosen = {name: tuple(filter(named, files)) for name, files in contents.items()}
    if unmet:
        raise RestoreError(
            f"expected a file {min(unmet)} in snapshot {commit.snapshot_id}, found none in {len(contents)} partition(s): see "
            "`orchestrai vault find`"
        )
    return {name: files for name, files in chosen.items() if files}


def _recalled(vault: Vault, commit: SnapshotCommit, roots: Mapping[str, str]) -> dict[str, str]:
    """Which partitions' content was recalled, under whatever stage of the dataset, by the vault's own records."""
    recalls = RECALLS.all(vault.store, vault.keyring)
    why = {
        (partition, root): f"recalled on {record.time[:10]} with {record.target} ({record.reason or 'no reason given'})"
        for record in recalls
        for asset, partition, root in record.roots
        if asset.rpartition("/")[0] == commit.dataset.rpartition("/")[0]
    }
    return {partition: why[partition, root] for partition, root in roots.items() if (partition, root) in why}
