"""The copy of an asset's log in the vault, from which it is rebuilt and by which a lake that was cut off is found."""

from collections.abc import Iterable

from orchestrai.errors import IntegrityError, NotCounted, ObjectNotFound
from orchestrai.ledger.dataset import dataset_at
from orchestrai.ledger.decisions.standing import Decision, standing_head
from orchestrai.ledger.decisions.transactions import decide
from orchestrai.ledger.format.dataset_pages import DatasetPages
from orchestrai.ledger.heads import Head, has_head, head_key, read_head
from orchestrai.ledger.log import Log
from orchestrai.ledger.manifest import blob_key
from orchestrai.storage.base import put_absent

# all that the vault has of the ledger, which a copy of the vault has too
RECORDS = (
    "heads/",
    "receipts/",
    "manifests/",
    "contracts/",
    "recalls/",
    "erasures/",
    "retrainings/",
    "skips/",
    "transactions/",
    "renames/",
    "acknowledgements/",
    "alerts/",
    "exports/",
    "void_heads/",
)


def copy_head(log: Log, head: Head, partition_manifests: Iterable[str]) -> None:
    """Copy an entry and the manifests it names to the vault, where there is one (idempotent)."""
    if log.vault is None:
        return
    # the entry goes last: where the vault has one, it has what the entry names
    for digest in (*_new_pages(log, head), *partition_manifests):
        put_absent(log.vault, blob_key("manifests", digest), log.blob("manifests", digest))
    key = head_key(head.asset, head.seq)
    put_absent(log.vault, key, log.lake.read(key))


def _new_pages(log: Log, head: Head) -> list[str]:
    """The pages of an entry's manifest that the entry before it does not name; all where that one's cannot be read."""
    pages = DatasetPages(head.asset, lambda digest: log.blob("manifests", digest))
    try:
        before = pages.tree(read_head(log.lake, log.keyring, head.asset, head.seq - 1).manifest) if head.seq > 1 else None
    except (IntegrityError, ObjectNotFound):
        before = None
    tree = pages.tree(head.manifest)
    # the page of the whole is named by the entry itself
    return list(dict.fromkeys([head.manifest, *(page.place for page, _ in tree.fresh(before))]))


def _read(log: Log, asset: str, seq: int) -> Head:
    """An entry as it was written, or, where it does not count, what it stands for."""
    try:
        return read_head(log.lake, log.keyring, asset, seq)
    except NotCounted:
        return standing_head(log.lake, log.keyring, asset, seq)


def copy_missing_heads(log: Log, newest: Head | None) -> None:
    """Copy what a writer that died left uncopied, so that the copy of the log has no gap."""
    if log.vault is None or newest is None:
        return
    last = _read(log, newest.asset, newest.seq)
    if last.transaction:
        decide(log, Decision(last.transaction, "abort"))  # it is decided: only its copy may be missing
    seq, lacking = newest.seq, []
    while seq > 0 and not has_head(log.vault, newest.asset, seq):
        lacking.append(_read(log, newest.asset, seq))
        seq -= 1
    for head in reversed(lacking):
        entries = dataset_at(log, head).partitions
        copy_head(log, head, [entries[key].manifest for key in head.changed if key in entries])
