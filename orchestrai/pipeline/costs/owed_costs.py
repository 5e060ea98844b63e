"""Records of costs that could not be written, kept under the home until they can: another process brings them, and people are told."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from orchestrai.errors import OrchestraiError
from orchestrai.ledger.costs.cost_record import COSTS, CostRecord

FOLDER = "owed-costs"
# those of a store that does not answer for longer: the oldest go first
MOST_OWED = 100


@dataclass(frozen=True)
class Owed:
    """A record that is not in the ledger yet, and why it is not."""

    record: CostRecord
    why: str


class OwedCosts:
    """The records that a home owes its ledger; a home that cannot be written keeps none, and no failure of it is raised."""

    def __init__(self, home: Path) -> None:
        self._folder = home / FOLDER

    def put(self, owed: Owed) -> None:
        """Keep one, in place of what was kept of the same run."""
        path = self._path(owed.record)
        staged = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            staged.write_text(json.dumps({"why": owed.why, "record": owed.record.as_json()}), encoding="utf-8")
            staged.replace(path)
            for old in self._paths()[:-MOST_OWED]:
                old.unlink(missing_ok=True)
        except OSError:
            return

    def all(self) -> list[Owed]:
        """What is owed, the oldest first; a file that is no such record is passed over."""
        found = []
        for path in self._paths():
            try:
                body = json.loads(path.read_bytes())
                found.append(Owed(COSTS.decode(body["record"]), str(body["why"])))
            except (OSError, ValueError, KeyError, TypeError, AttributeError, OrchestraiError):
                continue
        return found

    def settle(self, record: CostRecord) -> None:
        """Forget one that the ledger has."""
        try:
            self._path(record).unlink(missing_ok=True)
        except OSError:
            return

    def _paths(self) -> list[Path]:
        try:
            return sorted(self._folder.glob("*.json"))
        except OSError:
            return []

    def _path(self, record: CostRecord) -> Path:
        # the order of names is the order in which runs ended
        return self._folder / f"{record.finished[:19].replace(':', '')}-{record.run}.json"
