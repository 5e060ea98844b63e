"""The snapshots whose change is unusual and that nobody acknowledged, for reports and `doctor`."""

from typing import TYPE_CHECKING

from orchestrai.pipeline.runtime import Runtime
from orchestrai.vault.protection import is_sealed

if TYPE_CHECKING:
    from orchestrai.vault.change.unusual_change import Alarm


def unusual_snapshots(runtime: Runtime) -> "list[Alarm]":
    """Those of the vault of the settings; none where there is no vault yet. Raises StorageError, IntegrityError."""
    from orchestrai.vault.change.unusual_change import standing

    store = runtime.ledger.vault
    if store is None or is_sealed(store, runtime.ledger.keyring) is None:
        return []
    return standing(runtime.vault)
