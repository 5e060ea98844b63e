"""Verify: is every kept byte what its signed commit says?

listing    chains, what they name, lists and roots; every object present at its length (no content is read)
checksum   and the service's own cryptographic checksum of each object that has one
read       and every file read back and hashed, or a rotating sample of them
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from orchestrai.core.canonical import JsonValue
from orchestrai.core.progress import Progress
from orchestrai.core.tree.paged_tree import Subtree, subtree_of
from orchestrai.errors import ConfigError, IntegrityError, ObjectNotFound, StorageError
from orchestrai.storage.base import Store
from orchestrai.vault.catalog import Catalog
from orchestrai.vault.chain.chain_head import Head
from orchestrai.vault.format.chunk_table import StoredObject
from orchestrai.vault.format.layout import BYTES, SNAPSHOTS
from orchestrai.vault.format.lists import PagePlace, StoredPartition, partition_root
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.format.tree_pages import Tree
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.chain_check import check_chains
from orchestrai.vault.verify.content_check import check_contents
from orchestrai.vault.verify.proven import Proven, Reached
from orchestrai.vault.verify.verification import Finding, Walk

if TYPE_CHECKING:
    from orchestrai.storage.cloud.control import ControlPlane
    from orchestrai.vault.lifecycle.anchor import Anchor, Rollback
    from orchestrai.vault.witness.witness_log import WitnessLog
    from orchestrai.vault.witness.witness_record import WitnessReport

__all__ = ["Finding", "Level", "VerifyReport", "verify"]

Level = Literal["listing", "checksum", "read"]
# so many objects are looked up one by one; beyond it a listing costs less
LOOKED_UP = 64


@dataclass(frozen=True)
class VerifyReport:
    """What was checked and what was found; `unchecked` objects had no cryptographic checksum at that level.

    With `since`, what was there before was looked at then and not now. `proven` is how far the chains were found sound by then.
    """

    level: Level
    snapshots: int
    objects: int
    files_read: int
    bytes_read: int
    findings: tuple[Finding, ...]
    rollback: "Rollback"
    unchecked: int = 0
    since: datetime | None = None
    proven: Proven | None = None
    witnessed: "WitnessReport | None" = None

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
        body["since"] = self.since.isoformat() if self.since else None
        body["witness"] = self.witnessed.as_json() if self.witnessed else None
        return body | {"findings": [{"key": finding.key, "problem": finding.problem} for finding in self.findings]}


def verify(
    vault: Vault,
    *,
    level: Level = "listing",
    sample: tuple[int, int] | None = None,
    dataset: str | None = None,
    control: "ControlPlane | None" = None,
    anchor: "Anchor | None" = None,
    witness: "WitnessLog | None" = None,
    progress: Progress | None = None,
    proven: Proven | None = None,
) -> VerifyReport:
    """Check the vault and report all that is wrong; nothing damaged raises.

    What `anchor` and `witness` remember outside the vault is held against it. `sample` (part, parts) reads back one part of all files
    at level "read": part 1 of 30 today, part 2 tomorrow. Level
    "checksum" needs the store's control plane; raises ConfigError without. What was `proven` of this vault in this store before is
    not looked at again, and the report says since when that is known.
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
    proven = proven.of(vault.identity(), vault.store.url) if proven else None
    begun = vault.clock()
    chains = check_chains(walk, dataset, proven)
    before = proven.chains if proven else {}
    visible = [one for one in chains if isinstance(one, SnapshotCommit) and one.seq > _reached(before, one)]
    _check_trees(walk, visible, before)
    _check_presence(walk)
    if level != "listing" and control is not None and control.capabilities().versions:
        from orchestrai.vault.verify.service_checksums import check_hidden

        check_hidden(walk, control)
    if level == "checksum" and control is not None:
        from orchestrai.vault.verify.service_checksums import check_checksums

        check_checksums(walk, control)
    if level == "read":
        check_contents(walk, sample, progress)
    rollback = _check_anchor(walk, anchor)
    witnessed = _check_witness(walk, witness)
    if witnessed is not None and witnessed.records and rollback != "found":
        # an anchor that finds nothing does not unsay what a witness finds
        rollback = "found" if witnessed.losses else "none found"
    objects = len(walk.places)
    since = proven.since if proven else begun
    now = Proven(vault.identity(), vault.store.url, since, {**before, **walk.reached}, proven.logs if proven else None)
    return VerifyReport(
        level, len(visible), objects, walk.read, walk.bytes, tuple(walk.findings), rollback, walk.unchecked,
        since=proven.since if proven else None, proven=None if walk.findings else now, witnessed=witnessed,
    )  # fmt: skip


def _reached(before: Mapping[str, Reached], commit: SnapshotCommit) -> int:
    return before[commit.dataset].seq if commit.dataset in before else 0


def _check_trees(walk: Walk, visible: Sequence[SnapshotCommit], before: Mapping[str, Reached]) -> None:
    """The pages and lists of each snapshot, those that snapshots share once, without what the last one looked at before has."""
    # it has read nothing: what was read before may have been altered since
    catalog = walk.vault.catalog.anew()
    known = {
        name: _tree_before(catalog, name, before[name].commit, walk.heads[name]) if name in before else None
        for name in {commit.dataset for commit in visible}
    }
    seen: set[Subtree[PagePlace]] = set()
    for commit in visible:
        walk.named.add(commit.tree)
        try:
            beyond = known[commit.dataset]
            tree = catalog.tree(commit)
            if tree.version != commit.version:
                walk.note(commit.tree, f"expected the partitions to give {commit.version}, found another version")
            for page, content in tree.fresh(beyond, seen):
                walk.named.add(page.place.key)
                if subtree_of(catalog.pages, page.height, content, page.place) != page:
                    walk.note(
                        page.place.key, f"expected the page at {page.place.offset} as what refers to it says, found another"
                    )
                for entry in content if page.height == 0 else ():
                    if beyond is None or beyond.get(entry.partition) != entry:
                        _check_list(walk, catalog, entry)
        except IntegrityError as exc:
            walk.note(str(exc.fields.get("key") or commit.tree), exc)


def _tree_before(catalog: Catalog, dataset: str, number: int, head: Head) -> Tree | None:
    """The tree of the newest snapshot that was looked at before and still counts: of what was forgotten a prune may have taken a part.

    None where there is none, or its tree cannot be read.
    """
    try:
        commit = catalog.shown_before(dataset, number, head)
        return catalog.tree(commit) if commit is not None else None
    except (IntegrityError, ObjectNotFound):
        return None


def _check_list(walk: Walk, catalog: Catalog, entry: StoredPartition) -> None:
    # lists are shared between snapshots, and looked at once
    walk.named.add(entry.key)
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
        walk.add(file)


def _check_presence(walk: Walk) -> None:
    sizes = _sizes(walk.vault.store, walk.places.keys())
    for key, file in walk.places.items():
        length, size = file.length, sizes.get(key)
        if size == length:
            continue
        if _has_version(walk, file):
            what = "deleted" if size is None else "overwritten"
            walk.note(
                key,
                f"expected it as it was written, found it {what}; its version is kept and read: run `orchestrai vault heal --apply`",
            )
        elif size is None:
            walk.note(key, "expected an object, found none: run `orchestrai vault heal --apply`")
        else:
            walk.note(key, f"expected {length} bytes, found {size}: run `orchestrai vault heal --apply`")


def _sizes(store: Store, wanted: Collection[str]) -> dict[str, int]:
    """The sizes of objects that are there; a few are looked up, many are listed."""
    if len(wanted) > LOOKED_UP:
        return {info.key: info.size for prefix in BYTES[:2] for info in store.list(prefix) if info.key in wanted}
    sizes = {}
    for key in wanted:
        with suppress(ObjectNotFound):
            sizes[key] = store.head(key).size
    return sizes


def _has_version(walk: Walk, file: StoredObject) -> bool:
    """Whether the version that was written is still there, whatever lies over it."""
    try:
        return bool(file.version) and walk.vault.store.head(file.key, version=file.version).size == file.length
    except ObjectNotFound:
        return False


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


def _check_witness(walk: Walk, witness: "WitnessLog | None") -> "WitnessReport | None":
    if witness is None:
        return None
    try:
        report = witness.check(walk.vault)
    except (IntegrityError, StorageError) as exc:
        walk.note(witness.store.url, exc)
        return None
    for loss in report.losses:
        walk.note(SNAPSHOTS, loss)
    return report
