"""Executors without a cluster: each task by this process, through the same texts, by ones that are lost at times too."""

import itertools
from collections.abc import Sequence
from pathlib import Path

from orchestrai.ledger.signing import Signer
from orchestrai.storage.base import Store
from orchestrai.storage.local import LocalStore
from orchestrai.storage.spread.executors import Work, answer_of
from orchestrai.vault.commit.source import SourceFile, StoredAt, file_token
from orchestrai.vault.keys.key_file import FileKey
from orchestrai.vault.spread.vault_spread import VaultSpread
from orchestrai.vault.vault import Vault
from orchestrai_tests.vault.conftest import Clock


class InPlace:
    """Does tasks here; every `lost`-th is done twice, as Spark has it done again whose executor was lost before it answered."""

    def __init__(self, lost: int = 0) -> None:
        self.lost = lost
        self.tasks: list[str] = []
        self._tries = itertools.count(1)

    @property
    def name(self) -> str:
        return "this process"

    def answers(self, work: Work, tasks: Sequence[str]) -> list[str]:
        found = []
        for number, task in enumerate(tasks):
            self.tasks.append(task)
            if self.lost and number % self.lost == 0:
                answer_of(work, task, next(self._tries))
            found.append(answer_of(work, task, next(self._tries)))
        return found


def opened(where: Path | Store, signer: Signer, key: FileKey | None = None) -> Vault:
    """A vault in a folder or store, whose names, times and, if it is plain, borders are the same each time."""
    numbers = itertools.count()
    store = LocalStore(where) if isinstance(where, Path) else where
    return Vault(store, signer, clock=Clock(), new_id=lambda: f"s{next(numbers):04d}", workers=0, encryption=key)


def spread(vault: Vault, executors: InPlace | None = None, threshold: int = 0, lake: Store | None = None) -> Vault:
    """The same vault with executors."""
    vault.spread = VaultSpread(executors or InPlace(), vault.store, threshold, lake)
    return vault


def on_disk(folder: Path, **contents: bytes) -> list[SourceFile]:
    """Files of a folder, as a backup of it lists them: by token, not by hash."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = []
    for name, data in contents.items():
        (folder / name).write_bytes(data)
        status = (folder / name).stat()
        sources.append(SourceFile(name, len(data), folder / name, rows=1, token=file_token(status)))
    return sources


def in_store(store: Store, prefix: str, hashes: dict[str, str], **contents: bytes) -> list[SourceFile]:
    """Files of a store, by the hashes that their manifest has."""
    sources = []
    for name, data in contents.items():
        store.write(f"{prefix}/{name}", data)
        sources.append(SourceFile(name, len(data), StoredAt(store, f"{prefix}/{name}"), hashes[name], rows=1))
    return sources


def kept_bytes(vault: Vault) -> dict[str, bytes]:
    """Every object of contents and lists, by its key."""
    return {info.key: vault.store.read(info.key) for info in vault.store.list("vault/") if "/snapshots/" not in info.key}
