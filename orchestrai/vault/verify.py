"""Verify: is every kept byte what its signed commit says?

listing    commits, chain, lists and roots; every object present at its length (no content is read)
checksum   and the service's own cryptographic checksum of each object that has one
read       and every file read back and hashed, or a rotating sample of them
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Literal

from orchestrai.contracts.verdict import JsonValue
from orchestrai.errors import ConfigError, IntegrityError, ObjectNotFound
from orchestrai.ledger.manifest import dataset_version
from orchestrai.vault.anchor import Anchor, Rollback, rollback_state
from orchestrai.vault.layout import BYTES, FORGOTTEN, SNAPSHOTS, numbered
from orchestrai.vault.reader import read_packed
from orchestrai.vault.records import SnapshotCommit, open_commit, require_place
from orchestrai.vault.rows import StoredFile, partition_root
from orchestrai.vault.vault import Progress, Vault

if TYPE_CHECKING:
    from orchestrai.storage.control import ControlPlane

Level = Literal["listing", "checksum", "read"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be; `key` names the object."""

    key: str
    problem: str


@dataclass(frozen=True)
class VerifyReport:
    """What was checked and what was found; `unchecked` objects had no cryptographic checksum at that level."""

    level: Level
    snapshots: int
    objects: int
    files_read: int
    bytes_read: int
    findings: tuple[Finding, ...]
    rollback: Rollback
    unchecked: int = 0

    @property
    def ok(self) -> bool:
        """True when nothing was found."""
        return not self.findings

    def as_json(self) -> dict[str, JsonValue]:
        """The form shown to people and programs."""
        body: dict[str, JsonValue] = {
            name: getattr(self, name)
            for name in ("level", "snapshots", "objects", "files_read", "bytes_read", "rollback", "unchecked", "ok")
        }
        return body | {"findings": [{"key": found.key, "problem": found.problem} for found in self.findings]}


@dataclass
class _Walk:
    vault: Vault
    findings: list[Finding] = field(default_factory=list)
    files: dict[tuple[str, int, int], StoredFile] = field(default_factory=dict)
    read: int = 0
    bytes: int = 0
    unchecked: int = 0

    def note(self, key: str, problem: object) -> None:
        self.findings.append(Finding(key, getattr(problem, "message", None) or str(problem)))


def verify(
    vault: Vault,
    *,
    level: Level = "listing",
    sample: tuple[int, int] | None = None,
    dataset: str | None = None,
    control: "ControlPlane | None" = None,
    anchor: Anchor | None = None,
    progress: Progress | None = None,
) -> VerifyReport:
    """Check the vault and report all that is wrong; nothing damaged raises.

    `sample` (part, parts) reads back one part of all files at level "read": part 1 of 30 today, part 2 tomorrow. Level
    "checksum" needs the store's control plane; raises ConfigError without.
    """
    if level == "checksum" and control is None:
        raise ConfigError("expected a store with a control plane for level checksum, found none: use level read")
    walk = _Walk(vault)
    try:
        vault.identity()
        assert vault.encryption is None or vault.cipher is not None
    except (IntegrityError, ConfigError, ObjectNotFound) as exc:
        walk.note("vault/identity.json", exc)
        return VerifyReport(level, 0, 0, 0, 0, tuple(walk.findings), "not provable")
    commits = _check_commits(walk, dataset)
    _check_tombstones(walk, commits, dataset)
    try:
        visible = [c for c in vault.catalog.visible(dataset, strict=False) if (c.dataset, c.seq) in commits]
    except IntegrityError as exc:
        walk.note("vault/attested/", exc)
        visible = []
    for commit in visible:
        _check_lists(walk, commit)
    _check_presence(walk)
    if level == "checksum" and control is not None:
        _check_checksums(walk, control)
    if level == "read":
        _read_back(walk, sample, progress)
    problems = _check_anchor(walk, anchor)
    objects = len({key for key, _, _ in walk.files})
    return VerifyReport(
        level, len(visible), objects, walk.read, walk.bytes, tuple(walk.findings), rollback_state(problems), walk.unchecked
    )


def _check_commits(walk: _Walk, dataset: str | None) -> dict[tuple[str, int], SnapshotCommit]:
    vault, found = walk.vault, {}
    places = []
    for info in vault.store.list(SNAPSHOTS if dataset is None else f"{SNAPSHOTS}{dataset}/"):
        place = numbered(SNAPSHOTS, info.key)
        if place is None:
            walk.note(info.key, "expected a commit's number as its name, found another: remove it")
            continue
        places.append(place)
        try:
            commit = open_commit(vault.keyring, vault.store.read(info.key), info.modified)
            require_place(commit, vault.identity(), *place)
        except (IntegrityError, ObjectNotFound, TypeError, KeyError) as exc:
            walk.note(info.key, exc)
        else:
            found[place] = commit
    for name, group in groupby(sorted(places), key=lambda place: place[0]):
        _check_chain(walk, name, [seq for _, seq in group], found)
    return found


def _check_chain(walk: _Walk, dataset: str, numbers: Sequence[int], commits: dict[tuple[str, int], SnapshotCommit]) -> None:
    for expected, seq in enumerate(numbers, numbers[0] if numbers else 1):
        if seq != expected or (expected == numbers[0] and seq != 1):
            walk.note(f"{SNAPSHOTS}{dataset}/", f"expected commit {expected if seq != expected else 1}, found it gone")
            return
    for seq in numbers[1:]:
        before, commit = commits.get((dataset, seq - 1)), commits.get((dataset, seq))
        if before is not None and commit is not None and commit.previous != before.digest:
            walk.note(f"{SNAPSHOTS}{dataset}/", f"expected commit {seq} to follow {seq - 1}, found another before it")


def _check_tombstones(walk: _Walk, commits: dict[tuple[str, int], SnapshotCommit], dataset: str | None) -> None:
    for info in walk.vault.store.list(FORGOTTEN if dataset is None else f"{FORGOTTEN}{dataset}/"):
        place = numbered(FORGOTTEN, info.key)
        try:
            stone = walk.vault.catalog.tombstone(info.key)
            if place is None:
                raise IntegrityError("expected a commit's number as its name, found another: remove it")
            require_place(stone, walk.vault.identity(), *place)
            commit = commits.get(place)
            if commit is not None and commit.digest != stone.commit:
                raise IntegrityError("expected a tombstone of this commit, found one of another: treat it as forged")
        except (IntegrityError, ObjectNotFound, TypeError) as exc:
            walk.note(info.key, exc)


def _check_lists(walk: _Walk, commit: SnapshotCommit) -> None:
    catalog = walk.vault.catalog
    try:
        catalog.forget_read(commit)
        entries = catalog.tree(commit)
    except IntegrityError as exc:
        walk.note(commit.tree, exc)
        return
    if dataset_version({entry.partition: entry.root for entry in entries}) != commit.version:
        walk.note(commit.tree, f"expected the partitions to give {commit.version}, found another version")
    for entry in entries:
        try:
            files = catalog.files(entry)
        except IntegrityError as exc:
            walk.note(entry.key, exc)
            continue
        if partition_root(files) != entry.root:
            walk.note(entry.key, f"expected the files of {entry.partition} to give {entry.root}, found another root")
        for file in files:
            walk.files.setdefault((file.key, file.offset, file.length), file)


def _check_presence(walk: _Walk) -> None:
    wanted = {key: file.object_length for (key, _, _), file in walk.files.items()}
    sizes = {info.key: info.size for prefix in BYTES[:2] for info in walk.vault.store.list(prefix) if info.key in wanted}
    for key, length in wanted.items():
        if key not in sizes:
            walk.note(key, "expected an object, found none: copy it back from the replica")
        elif sizes[key] != length:
            walk.note(key, f"expected {length} bytes, found {sizes[key]}: copy it back from the replica")


def _check_checksums(walk: _Walk, control: "ControlPlane") -> None:
    plain = walk.vault.cipher is None
    for (key, _, _), file in walk.files.items():
        sum_ = control.checksum(key) if plain and file.pack < 0 else None
        if sum_ is None or not sum_.cryptographic or sum_.algorithm.lower() != "sha256":
            walk.unchecked += 1
        elif sum_.value != file.sha256:
            walk.note(key, f"expected sha256 {file.sha256[:12]}, found that the service has {sum_.value[:12]}: copy it back")


def _read_back(walk: _Walk, sample: tuple[int, int] | None, progress: Progress | None) -> None:
    by_key: dict[str, list[StoredFile]] = {}
    for (key, _, _), file in walk.files.items():
        by_key.setdefault(key, []).append(file)
    groups = [by_key[key] for key in sorted(by_key) if _in_sample(key, sample)]
    for number, group in enumerate(groups, 1):
        for file, problem in _read_object(walk.vault, group):
            walk.read += 1
            walk.bytes += file.size
            if problem:
                walk.note(file.key, problem)
        if progress is not None:
            progress("read back", number, len(groups))


def _read_object(vault: Vault, group: Sequence[StoredFile]) -> Iterator[tuple[StoredFile, str]]:
    try:
        if group[0].pack >= 0:
            for file, _ in read_packed(vault.store, vault.identity(), vault.cipher, group, reuse=True):
                yield file, ""
        else:
            for file in group:
                for _ in vault.stream(file, reuse=True):
                    pass
                yield file, ""
    except IntegrityError as exc:
        yield group[0], exc.message


def _in_sample(key: str, sample: tuple[int, int] | None) -> bool:
    if sample is None:
        return True
    part, parts = sample
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % parts == part % parts


def _check_anchor(walk: _Walk, anchor: Anchor | None) -> list[str] | None:
    if anchor is None:
        return None
    try:
        problems = anchor.problems(walk.vault)
    except (IntegrityError, TypeError, KeyError) as exc:
        walk.note(anchor.path.name, exc)
        return []
    for problem in problems or []:
        walk.note(SNAPSHOTS, problem)
    return problems
