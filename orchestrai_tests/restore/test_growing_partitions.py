"""A partition that still grows: what was restored of it stands, byte for byte, and all of it is restored once more when it is over."""

from datetime import timedelta
from pathlib import Path

import pytest

from orchestrai.ledger.manifest import FileEntry
from orchestrai_tests.ingest.declaring import RAW, RESTORED, ids
from orchestrai_tests.restore.test_closed_partitions import DAY, NOON, ODD, OVER, PER_DAY, Plant

LATER = NOON + timedelta(hours=1)


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """A day of which the morning is restored."""
    plant = Plant(tmp_path)
    plant.add(ODD, PER_DAY // 2)
    assert not plant.run(NOON).refused
    return plant


def files(plant: Plant, day: str = DAY) -> dict[str, FileEntry]:
    """The restored files of a day, by path."""
    return {entry.path: entry for entry in plant.at(OVER).ledger.open(RESTORED).files(day).files}


def grown(plant: Plant) -> None:
    """The rows of an hour more."""
    plant.add(ODD + timedelta(seconds=(PER_DAY // 2) * 2_100), 1)


def copied(plant: Plant) -> tuple[object, object]:
    """The bytes that the newest restore copied, and how many files stood."""
    ledger = plant.at(OVER).ledger
    facts = ledger.receipt(ledger.open(RESTORED).head.receipt).facts
    return facts["bytes"], facts.get("restored_before")


def test_what_is_new_alone_is_copied_and_the_version_is_that_of_the_raw_events(plant: Plant) -> None:
    before = files(plant)
    grown(plant)
    assert not plant.run(LATER).refused
    after = files(plant)
    assert {path: after[path] for path in before} == before
    new = [entry for path, entry in after.items() if path not in before]
    assert new and copied(plant) == (sum(entry.size for entry in new), len(before))
    ledger = plant.at(OVER).ledger
    assert ledger.open(RESTORED).version == ledger.open(RAW).version
    assert ids(plant.at(OVER)) == list(range(plant.count))


def test_a_file_that_was_altered_is_copied_again_with_all_beside_it(plant: Plant) -> None:
    before = files(plant)
    path = plant.at(NOON).ledger.lake.local_path(next(iter(before.values())).key)
    assert path is not None
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[::-1])
    grown(plant)
    assert not plant.run(LATER).refused
    after = files(plant)
    assert all(after[path].key != entry.key and after[path].sha256 == entry.sha256 for path, entry in before.items())
    assert copied(plant) == (sum(entry.size for entry in after.values()), None)
    assert ids(plant.at(OVER)) == list(range(plant.count))


def test_when_it_is_over_all_of_it_is_restored_once_more(plant: Plant) -> None:
    grown(plant)
    plant.run(LATER)
    before = files(plant)
    plant.add(ODD + timedelta(seconds=(PER_DAY // 2 + 1) * 2_100), PER_DAY // 2 - 1)
    assert not plant.run(OVER).refused
    after = files(plant)
    assert set(before) <= set(after)
    assert not {entry.key for entry in before.values()} & {entry.key for entry in after.values()}
    assert copied(plant) == (sum(entry.size for entry in after.values()), None)


def test_a_run_that_is_a_proof_restores_all_of_it(plant: Plant) -> None:
    before = files(plant)
    grown(plant)
    runtime = plant.at(LATER)
    for asset in (RAW, f"{RAW.rpartition('/')[0]}/snapshot"):
        runtime.run(runtime.project.nodes[asset], [DAY])
    runtime.run(runtime.project.nodes[RESTORED], [DAY], again=True)
    assert not {entry.key for entry in before.values()} & {entry.key for entry in files(plant).values()}


def test_under_other_rules_all_of_it_is_restored_and_judged(plant: Plant) -> None:
    before = files(plant)
    contract = plant.folder / "readings.contract.yaml"
    contract.write_text(contract.read_text().replace("{maximum: 100}", "{maximum: 50}"))
    grown(plant)
    assert not plant.run(LATER).refused
    assert not {entry.key for entry in before.values()} & {entry.key for entry in files(plant).values()}
