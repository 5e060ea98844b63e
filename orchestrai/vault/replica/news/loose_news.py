"""The records that lie beside the chains and logs: few, made by people or once, so both stores are listed for them."""

from collections.abc import Iterator

from orchestrai.ledger.log_replica import RECORDS
from orchestrai.ledger.trust.approvals import PROPOSALS
from orchestrai.ledger.trust.key_log import CENSUS, KEY_LOG
from orchestrai.storage.base import Store
from orchestrai.vault.format.layout import DATA_KEYS, HOLDS, IDENTITY
from orchestrai.vault.replica.news.copy_plan import Lacking

# what entries of the ledger's logs name, and these themselves
LOGGED = ("heads/", "receipts/", "manifests/")
# what says which keys count comes first
LOOSE = (IDENTITY, KEY_LOG, CENSUS, DATA_KEYS, PROPOSALS, HOLDS, *(folder for folder in RECORDS if folder not in LOGGED))


def loose_records(store: Store) -> Iterator[Lacking]:
    """Every loose record of a store."""
    for prefix in LOOSE:
        for info in store.list(prefix):
            yield Lacking(info.key, size=info.size)


def loose_sizes(store: Store) -> dict[str, int]:
    """The size of each loose record that a store has."""
    return {info.key: info.size for prefix in LOOSE for info in store.list(prefix)}
