"""What is pulled is locked in the second account, where its store can."""

from collections.abc import Iterable
from datetime import datetime

from orchestrai.core.parallel import map_calls
from orchestrai.storage.cloud.control import ControlPlane, LockMode


class PulledLocks:
    """Locks keys until a time, each once in a run; what is locked for as long already is left. `changed` is how many were locked."""

    def __init__(self, control: ControlPlane, until: datetime) -> None:
        self.control = control
        self.until = until
        self.mode: LockMode = "compliance" if control.capabilities().lock == "compliance" else "governance"
        self.changed = 0
        self._done: set[str] = set()

    def lock(self, keys: Iterable[str]) -> None:
        """Lock them, and read back that they are; raises StorageError where the store refuses."""
        wanted = sorted(set(keys) - self._done)
        self.changed += sum(map_calls(self._extend, wanted))
        self._done.update(wanted)

    def _extend(self, key: str) -> bool:
        retention = self.control.retention(key)
        if retention is not None and retention.until >= self.until and retention.mode in (self.mode, "compliance"):
            return False
        self.control.retain(key, self.until, self.mode)
        return True
