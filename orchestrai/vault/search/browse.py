"""The vault as a folder of static pages: datasets, snapshots, partitions, files, and the command that restores each.

`index.html` is opened from a disk or put on any web space; no server, no FUSE. It loads what is looked at and no more: a script for each
dataset, and one for each partition with every list of files that it ever had. So the folder grows with what is distinct, not with
snapshots times partitions.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

from orchestrai.core.identity import new_session_id
from orchestrai.core.progress import Progress
from orchestrai.errors import ConfigError, StorageError
from orchestrai.storage.disk.rooted import PRIVATE_FOLDER
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.search.browse_page import index_html
from orchestrai.vault.search.history import Spans, partitions_over_time
from orchestrai.vault.vault import Vault

# by this file a folder is known as one that may be replaced
MARK = "orchestrai-browse.json"


@dataclass(frozen=True)
class Pages:
    """What was written."""

    datasets: int
    snapshots: int
    partitions: int
    lists: int
    bytes: int


def write_pages(vault: Vault, target: Path, *, option: str = "", progress: Progress | None = None) -> Pages:
    """Write the pages of all snapshots that count to `target`; a folder that an earlier call made is replaced, no other.

    `option` is what a restore needs besides, such as `--vault URL`. Raises ConfigError, StorageError, IntegrityError.
    """
    if target.exists() and not (target / MARK).is_file():
        raise ConfigError(
            f"expected no {target} yet, or pages of an earlier browse, found something else: name another folder"
        )
    by_dataset: dict[str, list[SnapshotCommit]] = {}
    for commit in vault.snapshots():
        by_dataset.setdefault(commit.dataset, []).append(commit)
    staging = target.with_name(f".{target.name}.{new_session_id()[:8]}.browsing")
    try:
        staging.mkdir(PRIVATE_FOLDER, parents=True)
        pages = _Writer(vault, staging, option, progress).write(by_dataset)
        if target.exists():
            old = target.with_name(f"{staging.name}.old")
            os.rename(target, old)
            os.rename(staging, target)
            rmtree(old, ignore_errors=True)
        else:
            os.rename(staging, target)
    except OSError as exc:
        raise StorageError(
            f"expected to write {target}, found {exc.strerror or exc}: free the place, or name another"
        ) from exc
    finally:
        rmtree(staging, ignore_errors=True)
    return pages


@dataclass
class _Writer:
    vault: Vault
    folder: Path
    option: str
    progress: Progress | None
    partitions: int = 0
    lists: int = 0
    bytes: int = 0

    def write(self, by_dataset: Mapping[str, Sequence[SnapshotCommit]]) -> Pages:
        summary = []
        for number, (dataset, commits) in enumerate(sorted(by_dataset.items())):
            (self.folder / str(number)).mkdir(PRIVATE_FOLDER)
            self.dataset(number, dataset, commits)
            newest = commits[-1]
            row = [dataset, len(commits), _time(commits[0]), _time(newest), newest.partitions, newest.files, newest.size]
            summary.append(row)
        facts = {"vault": self.vault.identity(), "url": self.vault.store.url, "option": self.option, "datasets": summary}
        self.put("index.html", index_html(facts))
        self.put(MARK, json.dumps({"vault": facts["vault"]}))
        snapshots = sum(map(len, by_dataset.values()))
        return Pages(len(by_dataset), snapshots, self.partitions, self.lists, self.bytes)

    def dataset(self, number: int, dataset: str, commits: Sequence[SnapshotCommit]) -> None:
        """The snapshots of a dataset and its partitions over time, then a file of lists for each partition."""
        over_time = sorted(partitions_over_time(self.vault, commits).items())
        told = [[c.snapshot_id, c.seq, _time(c), c.partitions, c.files, c.rows, c.size, c.new_bytes] for c in commits]
        spans: list[list[Any]] = []
        for place, (partition, contents) in enumerate(over_time):
            if self.progress is not None:
                self.progress(f"browse {dataset}", place + 1, len(over_time))
            names = self.partition(number, place, contents)
            spans.append(
                [
                    partition,
                    [[s.first, s.last, e.rows, e.size, e.files, e.root[7:19], names[e.sha256]] for e, s in contents],
                ]
            )
        self.script(f"{number}/dataset.js", number, {"commits": told, "partitions": spans})
        self.partitions += len(over_time)

    def partition(self, number: int, place: int, contents: Spans) -> dict[str, int]:
        """Write each distinct list of a partition; their numbers by the hash of the list."""
        names: dict[str, int] = {}
        lists: list[list[list[Any]]] = []
        for entry, _ in contents:
            if entry.sha256 not in names:
                names[entry.sha256] = len(lists)
                lists.append([[f.path, f.role, f.size, f.rows, f.sha256] for f in self.vault.catalog.files(entry)])
        self.script(f"{number}/{place}.js", f"{number}/{place}", lists)
        self.lists += len(lists)
        return names

    def script(self, name: str, key: Any, value: Any) -> None:
        """A page opened from a disk may load a script, but no JSON."""
        self.put(name, f"loaded({json.dumps(key)},{json.dumps(value, separators=(',', ':'))})\n")

    def put(self, name: str, text: str) -> None:
        data = text.encode()
        (self.folder / name).write_bytes(data)
        self.bytes += len(data)


def _time(commit: SnapshotCommit) -> str:
    return f"{commit.committed:%Y-%m-%d %H:%M:%S}"
