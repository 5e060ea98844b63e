"""What was mended is locked and held as what it took the place of."""

from collections.abc import Iterator
from datetime import datetime

from orchestrai.errors import OrchestraiError, TransientStorageError
from orchestrai.storage.cloud.control import Capabilities, ControlPlane
from orchestrai.vault.format.layout import BYTES, DATA_KEYS, IDENTITY, SNAPSHOTS, numbered
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.heal.content_plan import ContentReader
from orchestrai.vault.lifecycle.hold_records import held_by
from orchestrai.vault.lifecycle.lock import locked_until
from orchestrai.vault.replica.copies import Copy


def lock_again(copy: Copy, reader: ContentReader, keys: set[str]) -> Iterator[tuple[str, str]]:
    """Lock each key as long as the snapshots that need it were locked in this store, and hold what is held; yields what failed."""
    control = copy.control
    can = control.capabilities() if control is not None else Capabilities()
    if control is None or not keys or (can.lock == "none" and not can.legal_hold):
        return
    needing = _needing(reader, keys)
    holds = reader.vault.holds(strict=False)
    locks = {
        commit.dataset: locked_until(reader.vault, commit.dataset) for commits in needing.values() for commit in commits
    }
    for key, commits in sorted(needing.items()):
        until = max((locks[one.dataset][one.seq] for one in commits if one.seq in locks[one.dataset]), default=None)
        try:
            _lock(control, can, key, until, any(held_by(holds, commit) for commit in commits))
        except TransientStorageError:
            raise
        except OrchestraiError as exc:
            yield key, exc.message


def _lock(control: ControlPlane, can: Capabilities, key: str, until: datetime | None, held: bool) -> None:
    if until is not None and can.lock != "none":
        control.retain(key, until, can.lock)
    if held and can.legal_hold:
        control.hold(key, True)


def _needing(reader: ContentReader, keys: set[str]) -> dict[str, list[SnapshotCommit]]:
    """The snapshots that need each key: all of them the vault's identity and data keys, one its own record."""
    needing: dict[str, list[SnapshotCommit]] = {}
    for key, commit, _ in reader.naming({key for key in keys if key.startswith(BYTES)}):
        needing.setdefault(key, []).append(commit)
    commits = reader.commits()
    for key in keys:
        if key == IDENTITY or key.startswith(DATA_KEYS):
            needing[key] = commits
        elif key.startswith(SNAPSHOTS):
            needing[key] = [one for one in commits if (one.dataset, one.seq) == numbered(SNAPSHOTS, key)]
    return needing
