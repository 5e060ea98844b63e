"""What a receiver does that runs all the time, beside following: have bases taken where they are needed, trim, lock, copy and anchor."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event

from orchestrai.backup.subjects import DatabaseNode
from orchestrai.backup.wal.log_position import base_needed, log_source
from orchestrai.backup.wal.log_retention import trim_log
from orchestrai.backup.wal.receiver.log_connection import Received
from orchestrai.backup.wal.receiver.receive import Receiver
from orchestrai.core.canonical import JsonValue
from orchestrai.errors import OrchestraiError
from orchestrai.settings import Settings
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.protection import protect, protection_of, require_ready
from orchestrai.vault.vault import Vault

# each reads lists of the whole log, so not with every commit
CARE_SECONDS = 600.0


@dataclass
class ReceiverService:
    """A receiver of a declared database; `take_base` has a base taken in a process of its own, one at a time."""

    vault: Vault
    subject: DatabaseNode
    settings: Settings
    tell: Callable[[str], None]
    take_base: Callable[[str], None]
    _cared: float = field(default=0.0, init=False)

    def run(self, stop: Event) -> Received:
        """Follow until told to stop; raises OrchestraiError for what no waiting mends."""
        wanted = protection_of(self.subject.spec, self.settings)
        require_ready(self.vault, wanted, self.subject.prefix)
        receiver = Receiver(self.vault, log_source(self.subject, self.vault, self.settings), self._after)
        return receiver.follow(stop, self._note)

    def _note(self, text: str) -> None:
        self.tell(text)
        self._cared = 0.0  # what was told may need a base

    def _after(self, commit: SnapshotCommit) -> None:
        if self._cared and time.monotonic() - self._cared < CARE_SECONDS:
            return
        self._cared = time.monotonic()
        try:
            missing = base_needed(self.subject, self.vault)
            if missing:
                self.take_base(missing)
            trim_log(self.vault, self.subject.kept_as, self.subject.log_kept_as, self.subject.spec.window)
            snapshot: dict[str, JsonValue] = {
                "dataset": commit.dataset,
                "snapshot_id": commit.snapshot_id,
                "snapshot_seq": commit.seq,
            }
            protect(self.vault, snapshot, protection_of(self.subject.spec, self.settings))
        except OrchestraiError as exc:
            # the log goes on being received; the check of the asset and the next round tell it again
            self.tell(f"{exc.message}; trying again in {CARE_SECONDS:g} s")
