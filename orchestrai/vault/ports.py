"""What the vault asks of others: a dataset whose events it keeps."""

from typing import TYPE_CHECKING, Protocol

from orchestrai.stage.outcomes import Partitioned

if TYPE_CHECKING:
    from orchestrai.vault.spec import BackupSpec


class BackedUpDataset(Partitioned, Protocol):
    """A dataset and how it is kept."""

    @property
    def backup(self) -> "BackupSpec":
        """How it is kept."""
        ...
