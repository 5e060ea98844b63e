"""Some files of a snapshot into a folder that may hold others: one file, one partition, what a search found."""

import os
from pathlib import Path

from orchestrai.core.time.partition_key import segment
from orchestrai.errors import RestoreError
from orchestrai.restore.folder import flush, staging_beside, told_of, write_files
from orchestrai.restore.folder_plan import FolderPlan
from orchestrai.storage.base import check_key
from orchestrai.storage.disk.rooted import PRIVATE_FOLDER
from orchestrai.vault.vault import Vault


def restore_files(vault: Vault, plan: FolderPlan, target: Path, *, overwrite: bool = False) -> list[Path]:
    """Put the files of a plan below `target`, each proven before it appears there; returns where they lie.

    As a whole restore lays them out: a partition other than "all" is a folder. Nothing is written over without `overwrite`, and then
    each file is replaced at once. Raises RestoreError before anything is written where a file is in the way; MissingObject, DigestMismatch.
    """
    places = {name: f"{check_key(segment(name))}/" if name != "all" else "" for name in plan.partitions}
    names = [f"{places[name]}{check_key(file.path)}" for name, files in plan.contents.items() for file in files]
    if target.exists() and not target.is_dir():
        raise RestoreError(f"expected a folder at {target}, found a file: name another")
    for name in names:
        _require_free(target, name, overwrite)
    # within the target, so that it lies on the same file system
    with staging_beside(target / "files") as staging, told_of(target):
        for partition, files in plan.contents.items():
            write_files(vault, files, staging / places[partition])
        flush(staging)
        for name in names:
            place = target / name
            place.parent.mkdir(PRIVATE_FOLDER, parents=True, exist_ok=True)
            if overwrite:
                os.replace(staging / name, place)
                continue
            try:
                # unlike a rename, it never replaces what somebody put there meanwhile
                os.link(staging / name, place, follow_symlinks=False)
            except FileExistsError as exc:
                raise _in_the_way(place) from exc
        flush(target)
    return [target / name for name in names]


def _require_free(target: Path, name: str, overwrite: bool) -> None:
    place = target / name
    for folder in list(place.parents)[: len(Path(name).parents) - 1]:
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise RestoreError(f"expected a folder at {folder}, found something else: restore elsewhere")
    if place.is_dir() and not place.is_symlink():
        raise RestoreError(f"expected no folder at {place}, found one: restore elsewhere")
    if not overwrite and (place.exists() or place.is_symlink()):
        raise _in_the_way(place)


def _in_the_way(place: Path) -> RestoreError:
    return RestoreError(f"expected no {place} yet, found one: restore elsewhere, or replace it with --overwrite")
