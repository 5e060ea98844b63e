"""A partition that grows, and what happens between two of its minutes: a kill, a file taken away, another vault, rot, a late row."""

import signal
import subprocess
import sys
from datetime import timedelta
from unittest.mock import create_autospec

import pytest

from orchestrai.errors import DigestMismatch
from orchestrai.restore.open_partitions.growing_partitions import GrowingPartitions
from orchestrai.restore.run import PRODUCER
from orchestrai.stage.contract_record import judged_by
from orchestrai.vault.vault import Vault
from orchestrai_tests.ingest.declaring import PREFIX, RAW, RESTORED, ids, run
from orchestrai_tests.restore.test_closed_partitions import DAY, ODD, OVER, PER_DAY, Plant
from orchestrai_tests.restore.test_growing_partitions import LATER, copied, files, grown
from orchestrai_tests.restore.test_growing_partitions import plant as plant
from orchestrai_tests.running import context_of

DIES = """
import os, signal, sys
from datetime import datetime
from pathlib import Path
from orchestrai.ledger.session import Session
from orchestrai_tests.ingest.declaring import opened, run
Session.commit = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
run(opened(Path(sys.argv[1]), Path(sys.argv[2]), datetime.fromisoformat(sys.argv[3])), [sys.argv[4]], "restored")
"""


def whole(plant: Plant) -> None:
    """Nothing that stood is published any more, and every row is."""
    facts = copied(plant)
    assert facts == (sum(entry.size for entry in files(plant).values()), None)
    assert ids(plant.at(OVER)) == list(range(plant.count))


def test_a_restore_killed_between_copying_and_publishing_published_nothing_and_the_next_goes_on(plant: Plant) -> None:
    before = files(plant)
    grown(plant)
    run(plant.at(LATER), [DAY], "raw_events", "snapshot")
    program = [sys.executable, "-c", DIES, str(plant.folder), str(plant.home), LATER.isoformat(), DAY]
    assert subprocess.run(program, check=False, capture_output=True).returncode == -signal.SIGKILL
    assert files(plant) == before
    assert not plant.run(LATER).refused
    after, ledger = files(plant), plant.at(OVER).ledger
    assert {path: after[path] for path in before} == before and len(after) > len(before)
    assert copied(plant) == (sum(entry.size for path, entry in after.items() if path not in before), len(before))
    assert ledger.open(RESTORED).version == ledger.open(RAW).version
    assert ids(plant.at(OVER)) == list(range(plant.count))


@pytest.mark.parametrize("fault", ["gone", "cut short"])
def test_a_file_that_is_not_where_it_was_put_has_all_beside_it_restored(plant: Plant, fault: str) -> None:
    before = files(plant)
    path = plant.at(LATER).ledger.lake.local_path(next(iter(before.values())).key)
    assert path is not None
    data = path.read_bytes()
    path.unlink()
    if fault == "cut short":
        path.write_bytes(data[:-1])
    grown(plant)
    assert not plant.run(LATER).refused
    assert not {entry.key for entry in before.values()} & {entry.key for entry in files(plant).values()}
    whole(plant)


@pytest.mark.parametrize("other", ["", " of another place"])
def test_what_another_vault_gave_does_not_stand(plant: Plant, other: str) -> None:
    runtime = plant.at(LATER)
    ledger, dataset = runtime.ledger, runtime.project.dataset(PREFIX)
    current = ledger.open(RESTORED)
    vault = create_autospec(Vault, instance=True)
    vault.identity.return_value = f"{current.receipt(DAY).facts['vault']}{other}"
    growing = GrowingPartitions(context_of(ledger, LATER), dataset, PRODUCER, judged_by(ledger, dataset.contract))
    assert list(growing.standing(current, vault, [DAY])) == ([] if other else [DAY])


def test_rot_in_the_vault_is_found_when_the_partition_is_over(plant: Plant) -> None:
    objects = (plant.home / "vault" / "vault" / "objects").rglob("*")
    newest = max((path for path in objects if path.is_file()), key=lambda path: path.stat().st_mtime_ns)
    grown(plant)
    newest.chmod(0o600)
    newest.write_bytes(bytes(byte ^ 0xFF for byte in newest.read_bytes()))
    # what was restored of it before it rotted is proven, and stands
    assert not plant.run(LATER).refused
    before = files(plant)
    with pytest.raises(DigestMismatch):
        plant.run(OVER)
    assert files(plant) == before


def test_a_late_row_of_a_partition_that_was_over_has_all_of_it_restored(plant: Plant) -> None:
    plant.add(ODD + timedelta(seconds=(PER_DAY // 2) * 2_100), PER_DAY // 2)
    assert not plant.run(OVER).refused
    before = files(plant)
    plant.add(ODD + timedelta(seconds=PER_DAY * 2_100 - 60), 1)
    assert not plant.run(OVER + timedelta(hours=1)).refused
    assert not {entry.key for entry in before.values()} & {entry.key for entry in files(plant).values()}
    whole(plant)
