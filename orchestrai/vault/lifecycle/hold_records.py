"""The signed records of legal holds: which snapshots are held now, and since when and why."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrai.errors import IntegrityError
from orchestrai.ledger.signing import Keyring
from orchestrai.storage.base import Store
from orchestrai.vault.format.layout import HOLDS
from orchestrai.vault.format.records import HOLD_TYPE, SnapshotCommit, document

WHOLE_DATASET = 0


@dataclass(frozen=True)
class Hold:
    """One placing or release; `seq` 0 is the whole dataset, `key` where the record lies."""

    vault: str
    dataset: str
    seq: int
    key: str
    snapshot_id: str
    on: bool
    reason: str
    placed: str


def holds(store: Store, keyring: Keyring, vault: str) -> dict[tuple[str, int], Hold]:
    """The holds that are on, by dataset and number; raises SignatureInvalid, IntegrityError for a record that is not this vault's."""
    newest: dict[tuple[str, int], Hold] = {}
    for info in store.list(HOLDS):
        found = Hold(**document(keyring, HOLD_TYPE, store.read(info.key)))
        if (found.vault, found.key) != (vault, info.key):
            raise IntegrityError(f"expected the hold {info.key} of vault {vault[:8]}, found one moved there: restore it")
        newest[found.dataset, found.seq] = found
    return {place: hold for place, hold in newest.items() if hold.on}


def held_by(active: Mapping[tuple[str, int], Hold], commit: SnapshotCommit) -> Hold | None:
    """The hold that a snapshot is under, or None."""
    return active.get((commit.dataset, commit.seq)) or active.get((commit.dataset, WHOLE_DATASET))


def next_key(store: Store, dataset: str, seq: int) -> str:
    """Where the next record of a dataset's or snapshot's hold goes."""
    prefix = f"{HOLDS}{dataset}/{seq:012d}/"
    return f"{prefix}{sum(1 for _ in store.list(prefix)) + 1:06d}.json"
