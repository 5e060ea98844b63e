"""Three hundred tampers of a proof and its vault, by kind: all found, or harmless for a reason that is told."""

import os
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest

from orchestrai.provenance.export.proof_folder import write_proof
from orchestrai.storage.local import LocalStore
from orchestrai_tests.provenance.builder import MODEL, World, written
from orchestrai_tests.provenance.tampers import KINDS, TIMES, Kind, Scene
from orchestrai_tests.provenance.test_offline_verifier import outcome

DAYS = ("2026-01-01", "2026-01-02", "2026-01-03")
EACH = int(os.environ.get("ORCHESTRAI_TEST_TAMPERS_EACH", "1"))


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, World, World]:
    """A proof and its vault, and another world of the same owner."""
    folder = tmp_path_factory.mktemp("origin")
    world = World(store=LocalStore(folder / "vault"))
    for number, day in enumerate(DAYS):
        # the first is larger than what is packed with others
        world.prove({day: f"orders of {day}".encode() * (1 if number else 20_000)})
    world.features(DAYS)
    file = written(folder, world.train())
    other = World(signer=world.signer)
    while int(other.ledger.new_id(), 16) < 1_000:
        pass
    other.whole(DAYS)
    write_proof(
        {"model.ubj": file}, vault=world.store, keyring=world.keyring, asset=f"{MODEL}/champion", to=folder / "proof"
    )
    return folder, world, other


def tampered(origin: tuple[Path, World, World], folder: Path, kind: Kind, seed: int) -> list[str]:
    """The checks that fail after one tampering."""
    source, world, other = origin
    for name in ("proof", "vault"):
        shutil.copytree(source / name, folder / name)
    kind.apply(Scene(folder / "proof", folder / "vault", world, other, random.Random(f"{kind.name} {seed}")))
    try:
        return outcome(folder / "proof", world, folder / "vault")
    finally:
        for name in ("proof", "vault"):
            shutil.rmtree(folder / name)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name.replace(" ", "-"))
def test_each_tampering_is_found_by_its_check_or_harmless(
    origin: tuple[Path, World, World], tmp_path: Path, kind: Kind
) -> None:
    for seed in range(EACH):
        failed = tampered(origin, tmp_path, kind, seed)
        assert bool(failed) == bool(kind.found), (kind.name, seed, failed)
        assert not kind.found or kind.found & set(failed), (kind.name, seed, failed)


@pytest.mark.thorough("each kind once, one by one")
def test_three_hundred_tampers_by_kind(
    origin: tuple[Path, World, World], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    each, total = max(EACH, TIMES), 0
    lines = ["| tampering | tries | found | by |", "|---|---|---|---|"]
    for kind in KINDS:
        by: Counter[str] = Counter()
        found = 0
        for seed in range(each):
            failed = tampered(origin, tmp_path, kind, seed)
            assert bool(failed) == bool(kind.found), (kind.name, seed, failed)
            found += bool(failed)
            by.update(set(failed))
        total += each
        told = ", ".join(f"{check} {count}" for check, count in by.most_common()) or f"harmless: {kind.why}"
        lines.append(f"| {kind.name} | {each} | {found} | {told} |")
    assert total >= 300
    with capsys.disabled():
        print("\n" + "\n".join(lines))  # noqa: T201 - the table is what a person asks this test for
