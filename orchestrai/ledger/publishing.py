"""One entry more in an asset's log: what a session commits, fenced against what others committed since it began."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC

from orchestrai.core.tree.paged_tree import PagedTree
from orchestrai.errors import ConcurrentCommit, ObjectExists
from orchestrai.ledger.costs.run_meter import note_receipt
from orchestrai.ledger.dataset import Dataset, as_recorded, dataset_at
from orchestrai.ledger.decisions.standing import Decision, standing_head, undecided
from orchestrai.ledger.decisions.transactions import Transaction, decide
from orchestrai.ledger.format.dataset_pages import DatasetPages, encode_page
from orchestrai.ledger.heads import Action, Head, append_head
from orchestrai.ledger.log import Log
from orchestrai.ledger.log_replica import copy_head, copy_missing_heads
from orchestrai.ledger.manifest import PartitionEntry, PartitionManifest
from orchestrai.ledger.receipt import Receipt

MAX_ATTEMPTS = 100


@dataclass(frozen=True)
class Publication:
    """What a session wants to become current; `draft` is its receipt without version and end, `fence` the head it began at."""

    draft: Receipt
    manifests: Mapping[str, PartitionManifest]
    fence: Head | None
    drop: tuple[str, ...] = ()
    action: Action = "publish"
    reason: str = ""
    transaction: Transaction | None = None

    @property
    def changed(self) -> tuple[str, ...]:
        """The partitions it touches, sorted."""
        return tuple(sorted({*self.manifests, *self.drop}))


def publish(log: Log, wanted: Publication) -> Head:
    """Append one entry with all partitions; raises ConcurrentCommit when a rival touched one of them since the fence.

    Atomic. What is current already, from the same inputs, objects and code, gets no entry: the newest head is returned. Where bytes of it
    rotted or went, the new ones take their place by an entry of their own.
    """
    asset = wanted.draft.asset
    digests = {key: log.put_blob("manifests", manifest.encode()) for key, manifest in wanted.manifests.items()}
    for _ in range(MAX_ATTEMPTS):
        log.require_may("write", anew=False)
        newest = _decided(log, asset)
        copy_missing_heads(log, newest)
        base = dataset_at(log, newest).partitions if newest else {}
        _check_fence(log, wanted, newest)
        same = wanted.action == "publish" and not wanted.drop and _unchanged(log, base, wanted.draft)
        if newest and same and _lies_there(log, base, wanted.manifests):
            # a commit whose copy to the vault failed is repeated to mend just that
            copy_head(log, newest, digests.values())
            return newest
        try:
            committed = append_head(log.lake, log.signer, _entry(log, wanted, newest, base, digests))
        except ObjectExists:
            continue
        note_receipt(committed.receipt)
        # an entry by a key that was ended meanwhile may not count
        log.require_may("write")
        copy_head(log, committed, digests.values())
        if wanted.transaction is not None:
            wanted.transaction.heads[asset] = committed.digest
        else:
            log.published(committed)
        return committed
    raise ConcurrentCommit(f"expected to publish {asset} within {MAX_ATTEMPTS} tries, found a rival each time: retry")


def confirm(log: Log, current: Dataset, partitions: Sequence[str]) -> None:
    """What publishing the same again does beside publishing nothing: a copy that lacks the entry, or what it names, gets it."""
    log.require_may("write", anew=False)
    copy_missing_heads(log, current.head)
    copy_head(log, current.head, [current.partitions[key].manifest for key in partitions])


def _entry(
    log: Log, wanted: Publication, newest: Head | None, base: Mapping[str, PartitionEntry], digests: Mapping[str, str]
) -> Head:
    asset = wanted.draft.asset
    pages = DatasetPages(asset, lambda digest: log.blob("manifests", digest))
    before = base if isinstance(base, PagedTree) else None

    def rows(receipt: str) -> dict[str, PartitionEntry | None]:
        left_out: dict[str, PartitionEntry | None] = dict.fromkeys(wanted.drop)
        return left_out | {
            key: PartitionEntry(key, one.root, one.rows, one.size, len(one.files), digests[key], receipt)
            for key, one in wanted.manifests.items()
        }

    # the receipt names the version, and the pages name the receipt: so the version comes first, and no page of it is kept
    version = pages.changed(before, rows(""), lambda height, content: "").version
    receipt = replace(wanted.draft, version=version, finished=_now(log))
    receipt_digest = log.put_blob("receipts", receipt.sign(log.signer), witness=True)
    dataset = pages.changed(
        before,
        rows(receipt_digest),
        lambda height, content: log.put_blob("manifests", encode_page(asset, height, content)),
    )
    log.lake.sync()
    return Head(
        asset=receipt.asset,
        seq=newest.seq + 1 if newest else 1,
        version=dataset.version,
        manifest=dataset.root.place,
        receipt=receipt_digest,
        session=receipt.session,
        time=_now(log),
        changed=wanted.changed,
        previous=newest.digest if newest else "",
        action=wanted.action,
        reason=wanted.reason,
        transaction=wanted.transaction.id if wanted.transaction else "",
        key_log=log.key_log,
    )


def _now(log: Log) -> str:
    return log.clock().astimezone(UTC).isoformat()


def _decided(log: Log, asset: str) -> Head | None:
    """The newest head, after a transaction that nobody decided was aborted: what comes next must know what it follows."""
    while (newest := log.newest(asset)) is not None:
        waiting = undecided(log.lake, log.keyring, asset, newest.seq)
        if waiting is None:
            break
        decide(log, Decision(waiting, "abort", time=_now(log)))
    return newest


def _check_fence(log: Log, wanted: Publication, newest: Head | None) -> None:
    asset, seen = wanted.draft.asset, wanted.fence.seq if wanted.fence else 0
    if newest is None or newest.seq == seen:
        return
    for seq in range(seen + 1, newest.seq + 1):
        head = standing_head(log.lake, log.keyring, asset, seq)
        rivals = sorted(set(head.changed) & set(wanted.changed))
        if head.session != wanted.draft.session and (rivals or head.action != "publish"):
            raise ConcurrentCommit(
                f"expected {asset} partitions {', '.join(rivals[:3]) or 'any'} unchanged since this session began, "
                f"found head {seq} by session {head.session}: run the step again on the newest data",
                asset=asset,
            )


def _unchanged(log: Log, base: Mapping[str, PartitionEntry], draft: Receipt) -> bool:
    recalls = log.newest_recalls()
    for key, root in draft.partitions.items():
        entry = base.get(key)
        if entry is None or entry.root != root:
            return False
        if recalls.find(draft.asset, key, root, entry.receipt):
            return False  # the same bytes from clean inputs need a receipt of their own
        current = log.receipt(entry.receipt)
        same = (
            current.inputs == draft.inputs
            and current.code_version == draft.code_version
            and current.parameters == draft.parameters
            and current.verdicts.get(key) == draft.verdicts.get(key)
            and current.override(key) == draft.override(key)
            and _objects(current, key) == _objects(draft, key)
        )
        if not same:
            return False
    return bool(draft.partitions)


def _lies_there(log: Log, base: Mapping[str, PartitionEntry], wanted: Mapping[str, PartitionManifest]) -> bool:
    """Whether the bytes that are current are as recorded: who made them again must not be told that nothing was to be done.

    Those of the lake, that is: what a snapshot names lies in the vault, in pieces, and is proven there.
    """
    for key in wanted:
        files = log.partition(base[key].manifest).files
        if not as_recorded(log, [file for file in files if file.store == "lake"]):
            return False
    return True


def _objects(receipt: Receipt, partition: str) -> set[tuple[str, ...]]:
    """The landed objects behind a partition: one that came again, with the same bytes or under
    another key, is told too, since a receipt that lacks it would leave it waiting for ever."""
    materials = [m for m in receipt.materials if m.partition in ("", partition)]
    return {(m.uri, m.etag, m.sha256, m.same_as) for m in materials}
