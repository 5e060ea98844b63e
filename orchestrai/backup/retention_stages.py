"""Run retention and prune as declared, and say what models need snapshots for, as the ledger's receipts tell.

A model is rebuilt from the partitions it learned from, at the roots it learned from. Those of every champion and of every newest
candidate stay in the vault, and so do those of the current restored data, which the next model learns from. Models are found in the
ledger, not among the declarations: one whose pipeline is not deployed today serves nevertheless.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrai.backup.checks import RETENTION_CHECKS
from orchestrai.backup.subjects import DatabaseNode, VaultNode
from orchestrai.errors import IntegrityError
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import PartitionEntry, decode_partition
from orchestrai.ledger.receipt import InputRef, Receipt
from orchestrai.ledger.report import StageReport
from orchestrai.restore.ports import Drilled
from orchestrai.stage.context import RunContext
from orchestrai.stage.stage import AssetNode, Stage
from orchestrai.vault.dead_letter_copy import DEAD_LETTERS
from orchestrai.vault.lifecycle.prune_run import PRODUCER as PRUNING
from orchestrai.vault.lifecycle.prune_run import give_back
from orchestrai.vault.lifecycle.retention import PartitionUse, apply_retention, plan_dataset
from orchestrai.vault.lifecycle.retention_run import PRODUCER as RETAINING
from orchestrai.vault.lifecycle.retention_run import retain
from orchestrai.vault.spec import BackupSpec, KeepSpec
from orchestrai.vault.vault import Vault

if TYPE_CHECKING:
    from orchestrai.vault.lifecycle.prune import PruneReport

CHAMPION, CANDIDATE, RESTORED = "/champion", "/candidate", "/restored"


def run_retention(context: RunContext, node: AssetNode[Drilled], *, apply: bool | None = None) -> StageReport:
    """Plan and apply the declared `keep` of a node's subject; `apply` overrules what is declared. Raises OrchestraiError."""
    from orchestrai.backup.wal.log_retention import trim_log
    from orchestrai.vault.protection import anchor_of

    subject, ledger, vault = node.subject, context.ledger, context.port(Vault)
    spec = subject.backup or BackupSpec()
    anchor = anchor_of(context.settings)
    if anchor is not None:
        anchored = anchor.check(vault.catalog)
        if anchored is not None:
            anchored.require_none()
    applied = spec.retention.apply if apply is None else apply
    if applied and subject.kind == "dataset":
        _retain_letters(vault, f"{subject.prefix}/{DEAD_LETTERS}", spec.keep)
    report = retain(
        ledger,
        vault,
        asset=node.asset,
        dataset=subject.kept_as,
        keep=spec.keep,
        apply=applied,
        uses=uses_of(ledger, subject.prefix) if subject.kind == "dataset" else None,
        inputs=list(_inputs(ledger, node.deps[:1])),
        after=None if anchor is None else lambda: anchor.update(vault),
    )
    if isinstance(subject, DatabaseNode) and subject.follows_log and applied:
        # the bases first: what is needed of the log follows from those that stay
        trimmed = trim_log(vault, subject.kept_as, subject.log_kept_as, subject.spec.window)
        report = replace(report, facts={**report.facts, **trimmed.facts})
    return report


def _retain_letters(vault: Vault, dataset: str, keep: KeepSpec) -> None:
    """The dead letters of a dataset stay as its events do; their tombstones say what went."""
    if vault.snapshots(dataset):
        apply_retention(vault, plan_dataset(vault, dataset, keep)[0], policy=keep.describe())


def run_prune(context: RunContext, node: AssetNode[VaultNode]) -> "tuple[StageReport, PruneReport]":
    """Give back what no snapshot needs, and say which objects went; raises OrchestraiError."""
    from orchestrai.storage.cloud.control import control_plane
    from orchestrai.vault.lifecycle.prune import Pruning
    from orchestrai.vault.protection import anchor_of, witness_now

    ledger, vault = context.ledger, context.port(Vault)
    inputs = list(_inputs(ledger, node.deps))
    anchor = anchor_of(context.settings)
    pruning = Pruning(vault, control=control_plane(vault.store), anchor=anchor)
    report = give_back(ledger, pruning, asset=node.asset, inputs=inputs)
    if anchor is not None:
        anchor.update(vault)
    witness_now(vault, context.settings)
    return report


def uses_of(ledger: Ledger, dataset: str) -> list[PartitionUse]:
    """Who needs which partitions of the raw events of a dataset, `<pipeline>/<name>`.

    Raises IntegrityError when a model's records do not tell.
    """
    restored = f"{dataset}/restored"
    uses = []
    # after a rollback these are older than the newest snapshot
    for current in (ledger.find(f"{dataset}/snapshot"), ledger.find(restored)):
        if current is not None:
            roots = {key: frozenset({root}) for key, root in current.roots().items()}
            uses.append(PartitionUse(f"current {current.asset}@{current.version[7:15]}", roots))
    for asset in ledger.assets():
        if asset.endswith((CHAMPION, CANDIDATE)):
            model = ledger.find(asset)
            roots = learned_roots(ledger, model).get(restored, {}) if model is not None and model.partitions else {}
            if model is not None and roots:
                prefix, _, stage = asset.rpartition("/")
                uses.append(PartitionUse(f"{stage} {prefix}@{model.version[7:15]}", roots))
    return uses


def learned_roots(ledger: Ledger, model: Dataset) -> dict[str, dict[str, frozenset[str]]]:
    """The partition roots of each restored dataset that a model learned from, as the receipts behind it name them."""
    learned: dict[str, dict[str, frozenset[str]]] = {}
    waiting = [(model.asset, entry) for entry in model.partitions.values()]
    seen = set(waiting)
    for asset, entry in waiting:
        receipt = ledger.receipt(entry.receipt)
        for ref in receipt.inputs:
            roots = _read_roots(ledger, asset, entry, receipt, ref)
            if ref.asset.endswith(RESTORED):
                known = learned.setdefault(ref.asset, {})
                for key, root in roots.items():
                    known[key] = known.get(key, frozenset()) | {root}
            elif not ref.asset.endswith(CHAMPION):  # what a candidate was compared with is nothing it learned from
                read = [(ref.asset, partition) for partition in _entries(ledger, ref, receipt, roots)]
                waiting += [step for step in read if step not in seen]
                seen.update(read)
    return learned


def _read_roots(ledger: Ledger, asset: str, entry: PartitionEntry, receipt: Receipt, ref: InputRef) -> Mapping[str, str]:
    """The partitions of an input that went into one partition; a feature partition names its own, else all of the receipt's count."""
    if receipt.stage == "features":
        named = decode_partition(ledger.blob("manifests", entry.manifest)).stats.get("inputs")
        roots = named.get(ref.asset, {}) if isinstance(named, Mapping) else None
        if isinstance(roots, Mapping):
            return roots
    return ref.partitions or _as_read(ledger, ref, receipt).roots()


def _entries(ledger: Ledger, ref: InputRef, receipt: Receipt, roots: Mapping[str, str]) -> Iterator[PartitionEntry]:
    partitions = _as_read(ledger, ref, receipt).partitions
    for key, root in roots.items():
        if key not in partitions or partitions[key].root != root:
            raise IntegrityError(
                f"expected {ref.asset}@{key} at {root[:19]} in version {ref.version[:19]}, found another: run `orchestrai rebuild`"
            )
        yield partitions[key]


def _as_read(ledger: Ledger, ref: InputRef, receipt: Receipt) -> Dataset:
    """An input's version as it was when it was read: the same bytes may have been made again from others since."""
    newest = None
    for head in ledger.history(ref.asset):
        if head.version == ref.version:
            newest = newest or head
            if head.time <= receipt.finished:
                return ledger.dataset(head)
    return ledger.dataset(newest) if newest is not None else ledger.open(ref.asset, ref.version)


def _inputs(ledger: Ledger, assets: tuple[str, ...]) -> Iterator[InputRef]:
    for asset in assets:
        dataset = ledger.find(asset)
        if dataset is not None:
            yield InputRef(asset, dataset.version)


def _keep(subject: Drilled) -> BackupSpec:
    return subject.backup or BackupSpec()


def _kept_first(subject: Drilled) -> tuple[str, ...]:
    # what is to be archived is copied before it may go
    cold = (f"{subject.prefix}/cold_copy",) if _keep(subject).cold.url else ()
    return (subject.backup_asset, *cold)


RETENTION: Stage[Drilled] = Stage(
    "retention",
    ("dataset", "view", "model", "database", "instance", "definitions"),
    "Which snapshots the declared `keep` lets go and which stay, and why; those that go are forgotten, by signed tombstones. "
    "Their bytes go by orchestrai/vault/prune.",
    frozenset({"vault"}),
    RETAINING,
    lambda context, node, partitions: run_retention(context, node),
    deps=_kept_first,
    checks=lambda subject: RETENTION_CHECKS if subject.kind == "dataset" else (),
    applies=lambda subject: subject.backup is not None and not subject.backup.keep.keeps_all,
    about=lambda subject: f"Kept: {_keep(subject).keep.describe()}.",
    role="release",
)
PRUNE: Stage[VaultNode] = Stage(
    "prune",
    ("vault",),
    "The bytes that no snapshot needs any more: one run marks them, a later one deletes them. What a lock holds stays "
    "until it ends.",
    frozenset({"vault"}),
    PRUNING,
    lambda context, node, partitions: run_prune(context, node)[0],
    deps=lambda vault: vault.after,
    role="release",
)
