"""A snapshot and a restore by executors, through the stages: the versions, bytes and refusals of one process."""

from pathlib import Path

import pytest

from orchestrai.errors import DigestMismatch
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.storage.local import LocalStore
from orchestrai.vault.keys.key_file import FileKey
from orchestrai.vault.spread import content_tasks, copy_tasks
from orchestrai.vault.spread.vault_spread import VaultSpread
from orchestrai.vault.vault import Vault
from orchestrai_tests.restore.test_restore import CONTENT, DAYS, KEPT, RAW, RESTORED, publish
from orchestrai_tests.running import restore, snapshot
from orchestrai_tests.vault.spread.in_place import InPlace

LANDED = b"day,shop,item,price\n2026-01-01,north,blue teapot,12.50\n" * 400
EVENTS = {**CONTENT, DAYS[0]: {**CONTENT[DAYS[0]], "landed/text.csv": LANDED}}


class House:
    """A ledger and its vault on disk."""

    def __init__(self, folder: Path, executors: InPlace | None = None, key: FileKey | None = None) -> None:
        self.ledger = Ledger(
            LocalStore(folder / "lake"), load_or_create_signer(folder / "keys"), vault=LocalStore(folder / "vault")
        )
        assert self.ledger.vault is not None
        self.vault = Vault(self.ledger.vault, self.ledger.signer, self.ledger.keyring, encryption=key)
        self.vault.spread = VaultSpread(executors, self.vault.store, lake=self.ledger.lake) if executors else None
        publish(self.ledger, EVENTS)

    def through(self) -> dict[str, dict[str, tuple[bytes, bool]]]:
        """Back up and restore; what is restored then, and whether it lies compressed."""
        snapshot(self.ledger, self.vault, source=RAW, asset=KEPT, partitions=DAYS)
        restore(self.ledger, self.vault, snapshot=KEPT, asset=RESTORED, partitions=DAYS)
        with self.ledger.open(RESTORED).fetched(DAYS, role=None) as files:
            return {
                day: {one.entry.path: (one.path.read_bytes(), bool(one.entry.packed)) for one in files[day]} for day in DAYS
            }


@pytest.fixture(autouse=True)
def several_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (content_tasks, copy_tasks):
        monkeypatch.setattr(module, "TASK_BYTES", 100_000)


@pytest.mark.parametrize("sealed", [False, True])
def test_events_go_through_executors_to_restored_data_of_their_version(tmp_path: Path, sealed: bool) -> None:
    key = FileKey(tmp_path / "vault.key") if sealed else None
    here, there = House(tmp_path / "here"), House(tmp_path / "there", executors := InPlace(lost=2), key)
    one, other = here.through(), there.through()
    assert one == other and {path: data for path, (data, _) in other[DAYS[0]].items()} == EVENTS[DAYS[0]]
    assert other[DAYS[0]]["landed/text.csv"][1]
    assert there.ledger.open(RESTORED).version == here.ledger.open(RAW).version == there.ledger.open(RAW).version
    assert sum('"target"' in task for task in executors.tasks) > 1 and any('"pieces"' in task for task in executors.tasks)


def test_a_damaged_object_is_refused_as_by_one_process_and_nothing_is_published(tmp_path: Path) -> None:
    told = []
    for name, executors in (("here", None), ("there", InPlace())):
        house = House(tmp_path / name, executors)
        snapshot(house.ledger, house.vault, source=RAW, asset=KEPT, partitions=DAYS)
        victim = next(info.key for info in house.vault.store.list("vault/objects/"))
        data = house.vault.store.read(victim)
        house.vault.store.write(victim, data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(DigestMismatch) as caught:
            restore(house.ledger, house.vault, snapshot=KEPT, asset=RESTORED, partitions=DAYS)
        session = victim.split("/")[2]
        told.append(caught.value.message.replace(session, "SESSION"))
        assert house.ledger.find(RESTORED) is None
    assert told[0] == told[1]
