"""Partitions that still grow, fed batch by batch: what was restored of one stands, and only what is new in it is copied from the vault.

Each byte was copied from the vault and hashed on the way, when its batch came. When the partition is over it is restored once more, all
of it, and judged whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrai.contracts.checks import VALUES
from orchestrai.core.canonical import JsonValue
from orchestrai.core.code_identity import Producer
from orchestrai.errors import ObjectNotFound
from orchestrai.ingest.ports import LandedDataset
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.manifest import FileEntry
from orchestrai.restore.open_partitions.closed_partitions import ClosedPartitions, grew, is_over
from orchestrai.stage.context import RunContext
from orchestrai.storage.base import Store
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.vault import Vault


@dataclass(frozen=True)
class RestoredFiles:
    """What is published of a partition that still grows: its files by path; `sound` is whether no rule on values found a fault in them."""

    files: Mapping[str, FileEntry]
    sound: bool

    def of(self, file: StoredFile) -> FileEntry | None:
        """The published file that a file of the vault would be restored as; None where there is none of these very bytes."""
        entry = self.files.get(file.path)
        if entry is None or (entry.size, entry.rows, entry.sha256) != (file.size, file.rows, file.sha256):
            return None
        return entry if (entry.role == "landed") == (file.role == "landed") else None


NOTHING = RestoredFiles({}, sound=False)


@dataclass(frozen=True)
class GrowingPartitions:
    """Those of a dataset that batches feed, in one run of the stage `made_by`, which publishes under `parameters`."""

    context: RunContext
    subject: LandedDataset
    made_by: Producer
    parameters: Mapping[str, JsonValue]

    def standing(self, current: Dataset | None, vault: Vault, partitions: Sequence[str]) -> dict[str, RestoredFiles]:
        """What stands of the partitions that were not over when they were restored, and are not now.

        Nothing of one that other code made, or from another vault, under another contract, or of which a file is not where it was put.
        A run that is a proof, or that a person opens a gate by, restores all of it. What they hold is hashed by who judges them.
        """
        context, subject = self.context, self.subject
        if current is None or context.again or context.overrides:
            return {}
        if ClosedPartitions.of(subject, current, context.now()) is None:
            return {}  # nothing would restore it whole when it is over
        open_still = [key for key in partitions if not is_over(subject, key, context.now()) and grew(current, key)]
        return {key: found for key in open_still if (found := self._found(current, key, vault)) is not None}

    def _found(self, current: Dataset, key: str, vault: Vault) -> RestoredFiles | None:
        receipt = current.receipt(key)
        made = (receipt.code_version, dict(receipt.parameters), receipt.facts.get("vault"))
        if made != (self.made_by.code, dict(self.parameters), vault.identity()):
            return None
        files = current.files(key).files
        if any(entry.store != "lake" for entry in files) or not all(_lies(current.ledger.lake, entry) for entry in files):
            return None
        sound = all(verdict.passed for verdict in receipt.verdicts.get(key, ()) if verdict.check == VALUES)
        return RestoredFiles({entry.path: entry for entry in files}, sound)


def _lies(lake: Store, entry: FileEntry) -> bool:
    """Whether something of a file's length lies where it was put."""
    try:
        return lake.head(entry.key).size == entry.stored_size
    except ObjectNotFound:
        return False
