"""The signed records of legal holds: which snapshots are held now, and since when and why."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrai.errors import IntegrityError
from orchestrai.ledger.decisions.signed_record import RecordKind
from orchestrai.ledger.signing import Keyring
from orchestrai.storage.base import Store
from orchestrai.vault.chain.chain_head import WHOLE_DATASET, Head
from orchestrai.vault.chain.chain_reader import ChainReader
from orchestrai.vault.format.layout import HOLDS
from orchestrai.vault.format.records import HOLD_TYPE, SnapshotCommit


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
    payload_type=HOLD_TYPE,
    folder=HOLDS,
    name=lambda hold: hold.key.removeprefix(HOLDS).removesuffix(".json"),
    body=lambda hold: hold.__dict__,
    decode=lambda body: Hold(**body),
)


def holds(
    store: Store, keyring: Keyring, vault: str, *, strict: bool = True, heads: Mapping[str, Head] | None = None
) -> dict[tuple[str, int], Hold]:
    """The holds that are on, by dataset and number: a hold is on while its own records or the chain of its dataset say so.

    `heads` is as in `chained_holds`.
    Raises SignatureInvalid, IntegrityError for a record that is not this vault's, and for a damaged end of a chain unless `strict` is off.
    """
    chains = ChainReader(store, keyring, lambda: vault)
    return recorded_holds(store, keyring, vault) | chained_holds(chains, strict=strict, heads=heads)


def recorded_holds(store: Store, keyring: Keyring, vault: str) -> dict[tuple[str, int], Hold]:
    """The holds that are on by their own records, which anybody who deletes objects can remove."""
    newest: dict[tuple[str, int], Hold] = {}
    for hold in HOLD_RECORDS.all(store, keyring):
        if hold.vault != vault:
            raise IntegrityError(
                f"expected the hold {hold.key} of vault {vault[:8]}, found one moved there: run `orchestrai vault heal --apply`"
            )
        newest[hold.dataset, hold.seq] = hold
    return {place: hold for place, hold in newest.items() if hold.on}


def chained_holds(
    chains: ChainReader, dataset: str | None = None, *, strict: bool = True, heads: Mapping[str, Head] | None = None
) -> dict[tuple[str, int], Hold]:
    """The holds that are on by the chains: all of a dataset are in the newest note of a hold.

    `heads` are the ends of the chains, where they are known.
    """
    active: dict[tuple[str, int], Hold] = {}
    for name in [dataset] if dataset is not None else chains.chains() if heads is None else sorted(heads):
        head = heads[name] if heads is not None and name in heads else chains.head(name, strict=strict)
        for body in chains.held(name, head.holds)[1]:
            hold = Hold(**body)
            active[hold.dataset, hold.seq] = hold
    return active


def held_by(active: Mapping[tuple[str, int], Hold], commit: SnapshotCommit) -> Hold | None:
    """The hold that a snapshot is under, or None."""
    return active.get((commit.dataset, commit.seq)) or active.get((commit.dataset, WHOLE_DATASET))


def next_key(store: Store, dataset: str, seq: int) -> str:
    """Where the next record of a dataset's or snapshot's hold goes: behind the last, also where one before it was removed."""
    prefix = f"{HOLDS}{dataset}/{seq:012d}/"
    names = (info.key.removeprefix(prefix).removesuffix(".json") for info in store.list(prefix))
    return f"{prefix}{max((int(name) for name in names if name.isdigit()), default=0) + 1:06d}.json"
