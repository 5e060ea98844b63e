"""Search the vault: which snapshots hold a partition or a file, since when, until when, and how it changed.

A partition's list is shared by all snapshots in which it is unchanged. So a search reads each distinct list once, and no list at all
where partitions alone are asked for; snapshots cost the comparison of what they name.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Literal

from orchestrai.core.canonical import JsonValue
from orchestrai.core.progress import Progress
from orchestrai.vault.format.lists import StoredFile, StoredPartition
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.format.tree_pages import Tree
from orchestrai.vault.vault import Vault

Change = Literal["added", "changed", "came back"]


@dataclass(frozen=True)
class Query:
    """What is looked for; an empty field asks for nothing.

    `pattern` is a glob (`*`, `?`, `[...]`) on a partition, a file's path, the end of it, or either behind the dataset's name.
    `sha256` is a hash or the beginning of one, of a file or of a partition's root. `since` and `until` bound when snapshots were taken.
    """

    pattern: str = ""
    dataset: str = ""
    partition: str = ""
    sha256: str = ""
    smallest: int = 0
    largest: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    files: bool = True

    def takes(self, dataset: str, partition: str) -> bool:
        """Whether a partition may hold what is looked for."""
        named = not self.dataset or fnmatchcase(dataset, self.dataset) or fnmatchcase(dataset, f"{self.dataset}/*")
        return named and (not self.partition or fnmatchcase(partition, self.partition))

    def names(self, dataset: str, *parts: str) -> bool:
        """Whether the pattern fits a partition, or a file in it."""
        whole = "/".join(parts)
        names = (parts[-1], whole, f"{dataset}/{whole}", f"{dataset}@{whole}", parts[-1].rsplit("/", 1)[-1])
        return not self.pattern or any(fnmatchcase(name, self.pattern) for name in names)

    def sized(self, size: int) -> bool:
        """Whether a size is within what was asked for."""
        return size >= self.smallest and (self.largest is None or size <= self.largest)

    def hashed(self, digest: str) -> bool:
        """Whether a hash begins as was asked for."""
        return digest.removeprefix("sha256:").startswith(self.sha256.removeprefix("sha256:"))


@dataclass(frozen=True)
class Version:
    """One content of a partition or file: the snapshots that hold it, without a gap, from `since` to the last that has it.

    `until` is when the first snapshot without it was taken; None where the newest still has it.
    """

    sha256: str
    size: int
    rows: int
    change: Change
    since: datetime
    until: datetime | None
    first: str
    last: str
    snapshots: int

    def as_json(self) -> dict[str, JsonValue]:
        """For `--json`."""
        body: dict[str, JsonValue] = {
            name: getattr(self, name) for name in ("sha256", "size", "rows", "change", "first", "last", "snapshots")
        }
        return body | {"since": self.since.isoformat(), "until": self.until.isoformat() if self.until else None}


@dataclass(frozen=True)
class Match:
    """A partition, or a file of one (`path`), and its contents over time, newest first."""

    dataset: str
    partition: str
    path: str
    role: str
    versions: tuple[Version, ...]

    @property
    def present(self) -> bool:
        """Whether the dataset's newest snapshot has it."""
        return self.versions[0].until is None

    def as_json(self) -> dict[str, JsonValue]:
        """For `--json`."""
        body: dict[str, JsonValue] = {
            name: getattr(self, name) for name in ("dataset", "partition", "path", "role", "present")
        }
        return body | {"versions": [version.as_json() for version in self.versions]}


@dataclass(frozen=True)
class Findings:
    """What a search came to, newest first, and what it cost: snapshots looked at and lists read."""

    matches: tuple[Match, ...]
    snapshots: int
    lists: int

    def as_json(self) -> dict[str, JsonValue]:
        """For `--json`."""
        return {
            "matches": [match.as_json() for match in self.matches],
            "snapshots": self.snapshots,
            "lists_read": self.lists,
        }


@dataclass
class Span:
    """Snapshots one after another that hold the same: numbers of the first and the last among those looked at."""

    first: int
    last: int


Spans = Sequence[tuple[StoredPartition, Span]]


def search(vault: Vault, query: Query, progress: Progress | None = None) -> Findings:
    """Look through all snapshots that count; raises IntegrityError where a record or list is damaged, MissingObject."""
    chosen: dict[str, list[SnapshotCommit]] = {}
    for commit in vault.snapshots():
        chosen.setdefault(commit.dataset, []).append(commit)
    matches: list[Match] = []
    looked = lists = 0
    for number, (dataset, commits) in enumerate(sorted(chosen.items()), 1):
        if progress is not None:
            progress("search", number, len(chosen))
        if not query.dataset or query.takes(dataset, query.partition):
            looked += len(commits)
            found, read = _search_dataset(vault, query, dataset, commits)
            matches, lists = matches + found, lists + read
    matches.sort(key=lambda match: (match.dataset, match.partition, match.path))
    matches.sort(key=lambda match: (match.present, match.versions[0].since), reverse=True)
    return Findings(tuple(matches), looked, lists)


def _search_dataset(vault: Vault, query: Query, dataset: str, commits: Sequence[SnapshotCommit]) -> tuple[list[Match], int]:
    """The matches of one dataset, and how many lists of files were read."""
    places = partitions_over_time(vault, commits, lambda partition: query.takes(dataset, partition))
    matches: list[Match] = []
    read = 0
    for partition, place in sorted(places.items()):
        if query.names(dataset, partition):
            told = [(entry.root, entry.size, entry.rows, span) for entry, span in place]
            matches += _match(query, commits, (dataset, partition, "", "partition"), told)
        if query.files:
            found, count = _search_files(vault, query, commits, (dataset, partition), place)
            matches, read = matches + found, read + count
    return matches, read


def partitions_over_time(
    vault: Vault, commits: Sequence[SnapshotCommit], wanted: Callable[[str], bool] = lambda partition: True
) -> Mapping[str, Spans]:
    """What each partition of a dataset was in its snapshots, oldest first, each content with the snapshots that have it."""
    places: dict[str, list[tuple[StoredPartition, Span]]] = {}
    end = len(commits) - 1
    before: Tree | None = None
    for number, commit in enumerate(commits):
        tree = vault.catalog.tree(commit)
        # pages that both have are not looked at: the cost follows what differs between two snapshots
        rows = {row.partition: row for row in _own_rows(tree, before) if wanted(row.partition)}
        for row in _own_rows(before, tree) if before is not None else ():
            spans = places.get(row.partition)
            if spans and (row.partition not in rows or rows[row.partition].sha256 != row.sha256):
                spans[-1][1].last = number - 1
        for partition, row in rows.items():
            spans = places.setdefault(partition, [])
            if not spans or spans[-1][1].last < end:
                spans.append((row, Span(number, end)))
        before = tree
    return {partition: tuple(spans) for partition, spans in places.items()}


def _own_rows(tree: Tree, other: Tree | None) -> Iterator[StoredPartition]:
    """The rows of the pages that another tree has not."""
    for page, content in tree.fresh(other):
        if page.height == 0:
            yield from content


def _search_files(
    vault: Vault, query: Query, commits: Sequence[SnapshotCommit], where: tuple[str, str], place: Spans
) -> tuple[list[Match], int]:
    lists: dict[str, list[StoredFile]] = {}
    over_time: dict[str, list[tuple[StoredFile, Span]]] = {}
    for entry, span in place:
        if entry.sha256 not in lists:
            lists[entry.sha256] = [file for file in vault.catalog.files(entry) if query.names(*where, file.path)]
        for file in lists[entry.sha256]:
            over_time.setdefault(file.path, []).append((file, span))
    matches: list[Match] = []
    for path, contents in sorted(over_time.items()):
        told = [(file.sha256, file.size, file.rows, span) for file, span in contents]
        matches += _match(query, commits, (*where, path, contents[-1][0].role), told)
    return matches, len(lists)


def _match(
    query: Query,
    commits: Sequence[SnapshotCommit],
    what: tuple[str, str, str, str],
    told: Iterable[tuple[str, int, int, Span]],
) -> Iterator[Match]:
    """What was over time, as a match where any of it is what was asked for."""
    merged: list[tuple[str, int, int, Span]] = []
    for sha256, size, rows, span in told:
        if merged and merged[-1][0] == sha256 and merged[-1][3].last == span.first - 1:
            merged[-1][3].last = span.last
        else:
            merged.append((sha256, size, rows, Span(span.first, span.last)))
    versions = [
        _version(commits, *one, before=merged[number - 1][3] if number else None) for number, one in enumerate(merged)
    ]
    wanted = [
        version
        for version in reversed(versions)
        if query.hashed(version.sha256) and query.sized(version.size) and _within(query, commits, version)
    ]
    if wanted:
        yield Match(*what, tuple(wanted))


def _version(
    commits: Sequence[SnapshotCommit], sha256: str, size: int, rows: int, span: Span, before: Span | None
) -> Version:
    after = commits[span.last + 1] if span.last + 1 < len(commits) else None
    change: Change = "added" if before is None else "changed" if before.last == span.first - 1 else "came back"
    return Version(
        sha256,
        size,
        rows,
        change,
        commits[span.first].committed,
        after.committed if after else None,
        commits[span.first].snapshot_id,
        commits[span.last].snapshot_id,
        span.last - span.first + 1,
    )


def _within(query: Query, commits: Sequence[SnapshotCommit], version: Version) -> bool:
    """Whether a snapshot that holds it was taken within the time asked for."""
    if query.since is None and query.until is None:
        return True
    held = _between(commits, version.first, version.last)
    return any(
        (query.since is None or one.committed >= query.since) and (query.until is None or one.committed <= query.until)
        for one in held
    )


def _between(commits: Sequence[SnapshotCommit], first: str, last: str) -> Sequence[SnapshotCommit]:
    place: Callable[[str], int] = [commit.snapshot_id for commit in commits].index
    return commits[place(first) : place(last) + 1]
