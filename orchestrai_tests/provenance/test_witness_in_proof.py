"""A proof with what a place outside the vault saw: a stranger learns since when each snapshot was there, and of a rollback."""

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrai.errors import IntegrityError
from orchestrai.provenance.export.proof_folder import write_proof
from orchestrai.storage.local import LocalStore
from orchestrai.storage.memory import MemoryStore
from orchestrai.vault.format.layout import commit_key
from orchestrai.vault.vault import Vault
from orchestrai.vault.witness.witness_log import WitnessLog, ends_of
from orchestrai.vault.witness.witness_record import Place
from orchestrai_tests.provenance.builder import MODEL, ORDERS, World, written
from orchestrai_tests.provenance.test_offline_verifier import check

DAYS = ("2026-01-01", "2026-01-02")
LATER = {"2026-01-03": b"landed once the model was trained"}


class Seen:
    """A world whose vault was witnessed after each day, and once more after a snapshot that no model used."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.world = folder, World(store=LocalStore(folder / "vault"))
        self.witness = MemoryStore()
        self.log = WitnessLog(self.witness)
        for day in DAYS:
            self.world.prove({day: day.encode()})
            self.note()
        self.world.features(DAYS)
        self.file = written(folder, self.world.train())
        self.world.prove(LATER)
        self.note()

    def note(self) -> None:
        self.log.note(self.world.vault, ends_of(self.world.vault))

    def proof(self, name: str, *, witness: bool = True) -> Path:
        files, asset = {"model.ubj": self.file}, f"{MODEL}/champion"
        store = self.witness if witness else None
        keyring = self.world.keyring
        return write_proof(
            files, vault=self.world.store, keyring=keyring, asset=asset, to=self.folder / name, witness=store
        ).path


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return Seen(tmp_path_factory.mktemp("seen"))


@pytest.fixture(scope="module")
def proof(seen: Seen) -> Path:
    return seen.proof("proof")


@pytest.fixture
def copy(proof: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(proof, tmp_path / "copy"))


def records(place: Path) -> list[Path]:
    return sorted((place / "witness").glob("*/*.json"))


def test_a_stranger_is_told_since_when_each_snapshot_that_was_used_is_witnessed(seen: Seen, proof: Path) -> None:
    code, found, _ = check(proof)
    assert (code, found["problems"]) == (0, [])
    (row,) = [one for one in found["checks"] if one["name"] == "witness"]  # type: ignore[attr-defined]
    assert row["count"] == len(DAYS) and row["passed"]
    vault = seen.world.vault
    dataset = f"{ORDERS}/raw_events"
    since = {
        f"{dataset}@{commit.seq}": seen.log.since(vault, dataset, commit.seq) for commit in vault.snapshots(dataset)[:2]
    }
    assert found["witnessed"] == {name: one.witnessed.isoformat() for name, one in since.items() if one is not None}
    assert all("no records of a witness" not in text for text in found["unprovable"])  # type: ignore[attr-defined]


def test_a_proof_without_a_witness_says_that_nothing_bounds_its_times(seen: Seen) -> None:
    code, found, _ = check(seen.proof("alone", witness=False))
    assert code == 0 and found["witnessed"] == {}
    assert any("no records of a witness" in text for text in found["unprovable"])  # type: ignore[attr-defined]


def flipped(path: Path) -> None:
    envelope = json.loads(path.read_bytes())
    body = json.loads(base64.b64decode(envelope["payload"]))
    envelope["payload"] = base64.b64encode(
        json.dumps({**body, "time": "2020" + body["time"][4:]}, sort_keys=True, separators=(",", ":")).encode()
    ).decode()
    path.write_bytes(json.dumps(envelope, sort_keys=True, separators=(",", ":")).encode())


TAMPERS: dict[str, Callable[[list[Path]], Any]] = {
    "an earlier time in the first record": lambda found: flipped(found[0]),
    "an earlier time in the last record": lambda found: flipped(found[-1]),
    "the first record gone": lambda found: found[0].unlink(),
    "one in the middle gone": lambda found: found[1].unlink(),
    "one in the place of another": lambda found: shutil.copyfile(found[0], found[1]),
}


@pytest.mark.parametrize("tamper", TAMPERS, ids=str)
def test_records_of_the_witness_that_were_altered_are_refused(copy: Path, tamper: str) -> None:
    TAMPERS[tamper](records(copy))
    code, found, _ = check(copy)
    assert code == 1
    assert {problem["check"] for problem in found["problems"]} <= {"witness", "signatures"}  # type: ignore[attr-defined]


def test_a_chain_that_was_rolled_back_behind_what_was_seen_is_found(copy: Path) -> None:
    newest = sorted((copy / "vault" / "snapshots").rglob("*.json"))[-1]
    newest.unlink()
    code, found, _ = check(copy)
    assert code == 1
    assert [problem["check"] for problem in found["problems"]] == ["witness"]  # type: ignore[attr-defined]


def test_a_rollback_is_found_although_the_chain_has_grown_past_it(seen: Seen, tmp_path: Path) -> None:
    """The chain is whole and its end is as it was seen last; what was seen before that was another record."""
    name, dataset = seen.world.vault.identity(), f"{ORDERS}/raw_events"
    ends = ends_of(seen.world.vault)
    log = WitnessLog(MemoryStore())
    log.note(seen.world.vault, {**ends, dataset: Place(1, "0" * 64)})
    log.note(seen.world.vault, ends)
    kept = {info.key: seen.witness.read(info.key) for info in seen.witness.list(f"{name}/")}
    place = Path(shutil.copytree(seen.proof("grown"), tmp_path / "grown"))
    for key in kept:
        (place / "witness" / key).unlink()
    for info in log.store.list(f"{name}/"):
        (place / "witness" / info.key).write_bytes(log.store.read(info.key))
    code, found, _ = check(place)
    assert code == 1 and found["witnessed"] == {}
    assert [problem["check"] for problem in found["problems"]] == ["witness"]  # type: ignore[attr-defined]


def test_a_record_that_was_given_up_for_lost_does_not_refute_the_proof(tmp_path: Path) -> None:
    seen = Seen(tmp_path)
    dataset = f"{ORDERS}/raw_events"
    lost = seen.world.vault.catalog.head(dataset).seq
    seen.world.prove({"2026-01-04": b"and a day that nobody lost"})
    seen.note()
    seen.world.store.delete(commit_key(dataset, lost))
    again = Vault(seen.world.store, seen.world.signer, clock=seen.world.vault.clock)
    again.forget_record(dataset, lost, reason="lost with a disk")
    code, found, _ = check(seen.proof("proof"))
    assert (code, found["problems"]) == (0, [])


def test_a_proof_is_not_written_where_the_vault_lost_what_was_seen(tmp_path: Path) -> None:
    seen = Seen(tmp_path)
    newest = [info.key for info in seen.world.store.list(f"vault/snapshots/{ORDERS}/raw_events/")][-1]
    seen.world.store.delete(newest)
    with pytest.raises(IntegrityError, match="rolled back"):
        seen.proof("proof")
    assert not (tmp_path / "proof").exists()


def test_a_loss_that_was_accepted_is_told_and_what_was_seen_before_it_counts_no_more(tmp_path: Path) -> None:
    seen = Seen(tmp_path)
    seen.world.start += timedelta(days=1)
    seen.log.accept(seen.world.vault, "ada", "restored from Sunday's copy")
    code, found, _ = check(seen.proof("proof"))
    assert code == 0
    assert any("accepted" in text and "Sunday" in text for text in found["unprovable"])  # type: ignore[attr-defined]
    assert len(set(found["witnessed"].values())) == 1  # type: ignore[attr-defined]


def test_the_same_records_give_the_same_proof_with_time_stamps_among_them(seen: Seen, tmp_path: Path) -> None:
    name = seen.world.vault.identity()
    seen.witness.write(f"{name}/000000000001.tsr", b"the word of an authority")
    try:
        one, two = seen.proof("one.zip"), seen.proof("two.zip")
        assert one.read_bytes() == two.read_bytes()
        subprocess.run(["python3", "-m", "zipfile", "-e", str(one), str(tmp_path / "out")], check=True)
        code, found, _ = check(tmp_path / "out")
        assert code == 0 and any("openssl ts -verify" in text for text in found["unprovable"])  # type: ignore[attr-defined]
    finally:
        seen.witness.delete(f"{name}/000000000001.tsr")
