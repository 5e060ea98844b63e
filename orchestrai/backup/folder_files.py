"""Any folder as a dataset: its files, read again only when they changed."""

import os
from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path

from orchestrai.core.canonical import JsonValue
from orchestrai.core.progress import Progress
from orchestrai.core.time.partition_key import WHOLE
from orchestrai.errors import ConfigError, InvalidKey, MissingObject, PreconditionFailed
from orchestrai.storage.base import check_key
from orchestrai.vault.commit.source import SourceFile, file_token
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.vault import Vault

ATTEMPTS = 3


def list_folder(folder: Path) -> dict[str, list[SourceFile]]:
    """The plain files of a folder, in one partition; raises InvalidKey naming what cannot be kept (a link, a socket, a name)."""
    if not folder.is_dir():
        raise ConfigError(f"expected a folder, found none at {folder}")
    return {WHOLE: sorted(_walk(os.fspath(folder)), key=attrgetter("path"))}


def _walk(root: str) -> list[SourceFile]:
    files, waiting = [], [""]
    while waiting:
        prefix = waiting.pop()
        with os.scandir(f"{root}/{prefix}") as entries:
            for entry in entries:
                name = prefix + entry.name
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(f"{name}/")
                elif entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    files.append(SourceFile(check_key(name), status.st_size, entry.path, token=file_token(status)))
                else:
                    raise InvalidKey(
                        f"expected plain files, found {name!r}, which is none: move it out of the folder", key=name
                    )
    return files


def backup_folder(
    vault: Vault,
    dataset: str,
    folder: Path,
    *,
    tags: Sequence[str] = (),
    source: Mapping[str, JsonValue] | None = None,
    progress: Progress | None = None,
) -> SnapshotCommit:
    """Commit a folder's files as a snapshot. A file whose inode, times and size are unchanged is not read.

    A file that changes or goes while it is read is listed again; after three tries PreconditionFailed or MissingObject is raised and
    nothing is committed: a snapshot never mixes two states of one file.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return vault.commit(dataset, list_folder(folder), tags=tags, source=source, progress=progress)
        except (PreconditionFailed, MissingObject):
            if attempt == ATTEMPTS:
                raise
    raise ConfigError("expected at least one attempt")
