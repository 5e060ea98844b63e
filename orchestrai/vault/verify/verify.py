"""Verify: is every kept byte what its signed commit says?

listing    chains, what they name, lists and roots; every object present at its length (no content is read)
checksum   and the service's own cryptographic checksum of each object that has one
read       and every file read back and hashed, or a rotating sample of them
"""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from orchestrai.core.canonical import JsonValue
from orchestrai.core.progress import Progress
from orchestrai.core.tree.paged_tree import Subtree, subtree_of
from orchestrai.errors import ConfigError, IntegrityError, ObjectNotFound
from orchestrai.vault.catalog import Catalog
from orchestrai.vault.format.layout import BYTES, SNAPSHOTS
from orchestrai.vault.format.lists import PagePlace, StoredFile, StoredPartition, partition_root
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.reader import read_packed
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.chain_check import check_chains
from orchestrai.vault.verify.verification import Finding, Walk

if TYPE_CHECKING:
    from orchestrai.storage.cloud.control import ControlPlane
    from orchestrai.vault.lifecycle.anchor import Anchor, Rollback

__all__ = ["Finding", "Level", "VerifyReport", "verify"]

Level = Literal["listing", "checksum", "read"]


@dataclass(frozen=True)
class VerifyReport:
    """What was checked and what was found; `unchecked` objects had no cryptographic checksum at that level."""

    level: Level
    snapshots: int
    objects: int
    files_read: int
    bytes_read: int
    findings: tuple[Finding, ...]
    rollback: "Rollback"
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
        return body | {"findings": [{"key": finding.key, "problem": finding.problem} for finding in self.findings]}


def verify(
    vault: Vault,
    *,
    level: Level = "listing",
    sample: tuple[int, int] | None = None,
    dataset: str | None = None,
    control: "ControlPlane | None" = None,
    anchor: "Anchor | None" = None,
    progress: Progress | None = None,
    since: Collection[str] = (),
) -> VerifyReport:
    """Check the vault and report all that is wrong; nothing damaged raises.

    `sample` (part, parts) reads back one part of all files at level "read": part 1 of 30 today, part 2 tomorrow. Level
    "checksum" needs the store's control plane; raises ConfigError without. Snapshots whose digests are in `since` were verified
    before: their lists and contents are not looked at again.
    """
    if level == "checksum" and control is None:
        raise ConfigError("expected a store with a control plane for level checksum, found none: use level read")
    walk = Walk(vault)
    try:
        if vault.identity():
            assert vault.encryption is None or vault.cipher is not None
    except (IntegrityError, ConfigError, ObjectNotFound) as exc:
        walk.note("vault/identity.json", exc)
        return VerifyReport(level, 0, 0, 0, 0, tuple(walk.findings), "not provable")
    chains = check_chains(walk, dataset)
    visible = [record for record in chains if isinstance(record, SnapshotCommit)]
    _check_trees(walk, visible, since)
    _check_presence(walk)
    if level != "listing" and control is not None and control.capabilities().versions:
        from orchestrai.vault.verify.service_checksums import check_hidden

        check_hidden(walk, control)
    if level == "checksum" and control is not None:
        from orchestrai.vault.verify.service_checksums import check_checksums

        check_checksums(walk, control)
    if level == "read":
        _read_back(walk, sample, progress)
    rollback = _check_anchor(walk, anchor)
    objects = len({key for key, _, _ in walk.files})
    return VerifyReport(level, len(visible), objects, walk.read, walk.bytes, tuple(walk.findings), rollback, walk.unchecked)


def _check_trees(walk: Walk, visible: Sequence[SnapshotCommit], since: Collection[str]) -> None:
    """The pages and lists of each snapshot that was not verified before, those that snapshots share once."""
    # it has read nothing: what was read before may have been altered since
    catalog = walk.vault.catalog.anew()
    verified: dict[str, SnapshotCommit] = {}
    seen: set[Subtree[PagePlace]] = set()
    for commit in visible:
        if commit.digest in since:
            verified[commit.dataset] = commit
            continue
        try:
            beyond = catalog.tree(verified[commit.dataset]) if commit.dataset in verified else None
            tree = catalog.tree(commit)
            if tree.version != commit.version:
                walk.note(commit.tree, f"expected the partitions to give {commit.version}, found another version")
            for page, content in tree.fresh(beyond, seen):
                if subtree_of(catalog.pages, page.height, content, page.place) != page:
                    walk.note(
                        page.place.key, f"expected the page at {page.place.offset} as what refers to it says, found another"
                    )
                for entry in content if page.height == 0 else ():
                    if beyond is None or beyond.get(entry.partition) != entry:
                        _check_list(walk, catalog, entry)
        except IntegrityError as exc:
            walk.note(str(exc.fields.get("key") or commit.tree), exc)


def _check_list(walk: Walk, catalog: Catalog, entry: StoredPartition) -> None:
    # lists are shared between snapshots, and looked at once
    if (entry.key, entry.root, entry.sha256) in walk.lists:
        return
    walk.lists.add((entry.key, entry.root, entry.sha256))
    try:
        files = catalog.files(entry)
    except IntegrityError as exc:
        walk.note(entry.key, exc)
        return
    if partition_root(files) != entry.root:
        walk.note(entry.key, f"expected the files of {entry.partition} to give {entry.root}, found another root")
    for file in files:
        walk.files.setdefault((file.key, file.offset, file.length), file)


def _check_presence(walk: Walk) -> None:
    wanted = {key: file for (key, _, _), file in walk.files.items()}
    sizes = {info.key: info.size for prefix in BYTES[:2] for info in walk.vault.store.list(prefix) if info.key in wanted}
    for key, file in wanted.items():
        length, size = file.object_length, sizes.get(key)
        if size == length:
            continue
        if _has_version(walk, file):
            what = "deleted" if size is None else "overwritten"
            walk.note(
                key, f"expected it as it was written, found it {what}; its version is kept and read: see `vault repair`"
            )
        elif size is None:
            walk.note(key, "expected an object, found none: copy it back from the replica")
        else:
            walk.note(key, f"expected {length} bytes, found {size}: copy it back from the replica")


def _has_version(walk: Walk, file: StoredFile) -> bool:
    """Whether the version that was written is still there, whatever lies over it."""
    try:
        return bool(file.version) and walk.vault.store.head(file.key, version=file.version).size == file.object_length
    except ObjectNotFound:
        return False


def _read_back(walk: Walk, sample: tuple[int, int] | None, progress: Progress | None) -> None:
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


def _check_anchor(walk: Walk, anchor: "Anchor | None") -> "Rollback":
    if anchor is None:
        return "not provable"
    from orchestrai.vault.lifecycle.anchor import rollback_state

    try:
        checked = anchor.check(walk.vault.catalog)
    except IntegrityError as exc:
        walk.note(anchor.path.name, exc)
        return rollback_state(None)
    for loss in checked.losses if checked else ():
        walk.note(SNAPSHOTS, loss.problem)
    return rollback_state(checked)
