"""What a user declares to be pulled: a vault of another account, into a store that its writers do not know."""

from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, Field

from orchestrai.backup.spec import KeptName
from orchestrai.core.time.duration_cron import Cron, Duration
from orchestrai.core.yaml.declaration import Declaration
from orchestrai.errors import ConfigError
from orchestrai.ledger.trust.key_log import typed_fingerprint
from orchestrai.vault.spec import StoreUrl


def _is_fingerprint(text: str) -> str:
    try:
        return typed_fingerprint(text)
    except ConfigError as exc:
        raise ValueError(exc.message) from exc


class PulledVaultSpec(Declaration):
    """A vault to be pulled: `from` is read and listed alone, `root` is the fingerprint of its root key, which came by another way.

    What the primary forgets of snapshots younger than `keep_forgotten` stays in the copy. With `lock` what was pulled is locked so long.
    """

    name: KeptName
    description: str = ""
    source: Annotated[StoreUrl, Field(alias="from", min_length=1)]
    to: Annotated[StoreUrl, Field(min_length=1)]
    root: Annotated[str, AfterValidator(_is_fingerprint)]
    every: Cron | None = "0 3 * * *"
    lock: Duration | None = None
    keep_forgotten: Duration = timedelta(days=30)
