"""The signed records of legal holds: which snapshots are held now, and since when and why."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrai.errors import IntegrityError
from orchestrai.ledger.decisions.signed_record import RecordKind
from orchestrai.ledger.signing import Keyring
from orchestrai.storage.base import Store
from orchestrai.vault.format.layout import HOLDS
from orchestrai.vault.format.records import SnapshotCommit

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


HOLD_RECORDS = RecordKind[Hold](
    what="hold",
    payload_type="application/vnd.orchestrai.hold+json",
    folder=HOLDS,
    name=lambda hold: hold.key.removeprefix(HOLDS).removesuffix(".json"),
    body=lambda hold: hold.__dict__,
    decode=lambda body: Hold(**body),
)


def holds(store: Store, keyring: Keyring, vault: str) -> dict[tuple[str, int], Hold]:
    """The holds that are on, by dataset and number; raises SignatureInvalid, IntegrityError for a record that is not this vault's."""
    newest: dict[tuple[str, int], Hold] = {}
    for hold in HOLD_RECORDS.all(store, keyring):
        if hold.vault != vault:
            raise IntegrityError(f"expected the hold {hold.key} of vault {vault[:8]}, found one moved there: restore it")
        newest[hold.dataset, hold.seq] = hold
    return {place: hold for place, hold in newest.items() if hold.on}


def held_by(active: Mapping[tuple[str, int], Hold], commit: SnapshotCommit) -> Hold | None:
    """The hold that a snapshot is under, or None."""
    return active.get((commit.dataset, commit.seq)) or active.get((commit.dataset, WHOLE_DATASET))


def next_key(store: Store, dataset: str, seq: int) -> str:
    """Where the next record of a dataset's or snapshot's hold goes."""
    prefix = f"{HOLDS}{dataset}/{seq:012d}/"
    return f"{prefix}{sum(1 for _ in store.list(prefix)) + 1:06d}.json"
