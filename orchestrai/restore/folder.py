"""A snapshot of any dataset back into a folder."""

import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

from orchestrai.core.identity import new_session_id
from orchestrai.core.time.partition_key import segment
from orchestrai.errors import RestoreError
from orchestrai.restore.read_back import copy_out
from orchestrai.storage.base import check_key
from orchestrai.storage.disk.posix import syncfs, translated
from orchestrai.storage.disk.rooted import PRIVATE_FILE, PRIVATE_FOLDER
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.vault import Vault

_WRITE_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def restore_folder(
    vault: Vault, commit: SnapshotCommit, target: Path, *, partitions: Sequence[str] | None = None, sync: bool = True
) -> int:
    """Write a snapshot's files below `target`, which must not exist yet; returns the bytes written.

    Written beside it, every hash checked on the way, then renamed at once: a failed restore leaves nothing, and what a killed one left
    goes with the next into the same place. A partition other than "all" becomes a folder. Raises RestoreError, MissingObject,
    DigestMismatch, StorageError where the folder cannot be written.
    """
    if target.exists() or target.is_symlink():
        raise RestoreError(f"expected no {target} yet, found one: restore elsewhere, live data is never written over")
    entries = vault.partitions(commit)
    wanted = sorted(entries) if partitions is None else partitions
    missing = [name for name in wanted if name not in entries]
    if missing:
        raise RestoreError(f"expected partition {missing[0]} in snapshot {commit.snapshot_id}, found none: see `vault show`")
    size = 0
    with staging_beside(target) as staging, told_of(target):
        for partition in wanted:
            files = vault.catalog.files(entries[partition])
            folder = staging if partition == "all" else staging / check_key(segment(partition))
            size += write_files(vault, files, folder)
        if sync:
            flush(staging)
        os.rename(staging, target)
        if sync:
            flush(target.parent)
    return size


@contextmanager
def staging_beside(target: Path) -> Iterator[Path]:
    """An empty folder beside `target`, locked as long as it is in use and then removed; those that nobody holds any more go first."""
    for left in target.parent.glob(f".{escape(target.name)}.*.restoring"):
        with suppress(OSError), _locked(left):
            _remove(left)
    with told_of(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        # it bears the name by which others look for it only once it is locked
        made = target.with_name(f".orchestrai-{new_session_id()}")
        staging = target.with_name(f".{target.name}.{new_session_id()[:8]}.restoring")
        made.mkdir(PRIVATE_FOLDER)
    with _locked(made):
        os.rename(made, staging)
        try:
            yield staging
        finally:
            if staging.exists():
                _remove(staging)


def _remove(folder: Path) -> None:
    # here, because a restore that succeeds leaves nothing to remove, and half of what this loads are archive formats
    from shutil import rmtree

    rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock; raises OSError while another process does."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def told_of(target: Path) -> Iterator[None]:
    """Within it errors of the file system say what could not be written, and what to do."""
    try:
        yield
    except OSError as exc:
        raise translated(exc, target.name, "restored", target.parent.as_uri()) from exc


def flush(folder: Path) -> None:
    """Return once what was written on the folder's file system survives a power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        syncfs(descriptor)
    finally:
        os.close(descriptor)


def write_files(vault: Vault, files: Sequence[StoredFile], folder: Path) -> int:
    """Write files below `folder`, every hash checked on the way; returns their bytes."""
    root = os.fspath(folder)
    for name in sorted({check_key(file.path).rpartition("/")[0] for file in files} | {""}):
        os.makedirs(f"{root}/{name}", PRIVATE_FOLDER, exist_ok=True)

    def put(file: StoredFile, data: Iterable[bytes]) -> None:
        descriptor = os.open(f"{root}/{file.path}", _WRITE_NEW, PRIVATE_FILE)
        try:
            if vault.clone(file, descriptor):
                return
            for chunk in data:
                view = memoryview(chunk)
                while view:
                    view = view[os.write(descriptor, view) :]
        finally:
            os.close(descriptor)

    for _ in copy_out(vault, files, put, workers=vault.workers, reuse=True):
        pass
    return sum(file.size for file in files)
