"""The alarm on unusual change: quiet over ordinary days, raised by an attack, and no older snapshot goes while it stands."""

import hashlib
import random
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrai.errors import ConfigError
from orchestrai.ledger.decisions.acknowledgements import ACKNOWLEDGEMENTS, Acknowledgement
from orchestrai.ledger.signing import Signer
from orchestrai.vault.change.measure import SnapshotChange
from orchestrai.vault.change.unusual_change import LEAST, WINDOW, alarms, change_verdict, standing
from orchestrai.vault.commit.source import SourceFile
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.lifecycle.retention import plan_dataset
from orchestrai.vault.spec import KeepSpec
from orchestrai.vault.vault import Vault
from orchestrai_tests.vault.conftest import Clock, clock, signer, vault

__all__ = ["clock", "signer", "vault"]
DATASET = "shop/orders/raw_events"


def day_of(number: int) -> str:
    return f"d{number:03d}"


def text(seed: int) -> bytes:
    """A day's CSV."""
    rng = random.Random(seed)
    lines = (
        f"2011-03-{rng.randint(1, 28):02d},{rng.randint(1, 9999)},item {rng.choice('abcdef')},{rng.random():.2f}"
        for _ in range(400)
    )
    return "\n".join(lines).encode()


def encrypted(seed: int) -> bytes:
    return random.Random(seed).randbytes(12_000)


def source(data: bytes) -> list[SourceFile]:
    return [SourceFile("orders.csv", len(data), data, hashlib.sha256(data).hexdigest(), rows=1, role="landed")]


def commit_days(vault: Vault, clock: Clock, first: int, last: int) -> SnapshotCommit:
    """A new day a snapshot."""
    for number in range(first, last):
        clock.pass_by(days=1)
        commit = vault.commit(DATASET, {day_of(number): source(text(number))})
    return commit


@pytest.fixture
def history(vault: Vault, clock: Clock) -> Vault:
    """Forty days of text."""
    vault.commit(DATASET, {day_of(number): source(text(number)) for number in range(10)})
    commit_days(vault, clock, 10, 40)
    return vault


def acknowledge(vault: Vault, commit: SnapshotCommit) -> None:
    said = Acknowledgement(
        commit.snapshot_id, vault.identity(), DATASET, commit.seq, commit.digest, "meant", "ana", "2026-11-30"
    )
    ACKNOWLEDGEMENTS.put([vault.store], vault.signer, said)


def test_a_commit_says_what_it_changed(vault: Vault) -> None:
    vault.commit(DATASET, {name: source(text(number)) for number, name in enumerate("abcd")})
    change = SnapshotChange.of(
        vault.commit(DATASET, {"a": source(encrypted(1)), "b": source(text(1)), "e": source(text(9))}, drop=["d"])
    )
    assert change is not None
    assert (change.partitions, change.rewritten, change.removed, change.old, change.young) == (4, 1, 1, ("a", "d"), ("e",))
    sample = change.content["landed"]
    assert 0.4 < sample.incompressible < 0.6 and 0.5 < sample.ratio < 0.9
    first = SnapshotChange.of(vault.snapshots(DATASET)[0])
    assert first is not None and first.share == 0 and first.content["landed"].incompressible == 0


def test_ordinary_days_and_a_correction_raise_nothing(history: Vault, clock: Clock) -> None:
    history.commit(DATASET, {day_of(38): source(text(500)), day_of(40): source(text(40))})
    assert not alarms(history)
    assert change_verdict(history, DATASET, history.latest(DATASET).seq).passed


@pytest.mark.parametrize("share", [0.05, 0.2, 1.0])
def test_encrypted_partitions_raise_the_alarm(history: Vault, share: float) -> None:
    days = range(max(2, int(40 * share)))
    history.commit(DATASET, {day_of(number): source(encrypted(number)) for number in days})
    (alarm,) = standing(history)
    assert "compresses" in alarm.reasons[0]
    verdict = change_verdict(history, DATASET, alarm.commit.seq)
    assert (verdict.passed, verdict.severity) == (False, "warn")


@pytest.mark.parametrize("count", [4, 8])
def test_removed_partitions_raise_the_alarm(history: Vault, count: int) -> None:
    history.commit(DATASET, {}, drop=[day_of(number) for number in range(count)])
    (alarm,) = standing(history)
    assert f"{count} removed" in alarm.reasons[0]


def test_partitions_that_always_go_after_a_time_are_usual(vault: Vault, clock: Clock) -> None:
    vault.commit(DATASET, {day_of(number): source(text(number)) for number in range(30)})
    for number in range(6):
        clock.pass_by(days=7)
        fresh = range(30 + 5 * number, 35 + 5 * number)
        vault.commit(DATASET, {day_of(day): source(text(day)) for day in fresh}, drop=[day_of(day - 30) for day in fresh])
    assert not alarms(vault)


def test_one_partition_encrypted_a_day_is_seen_in_what_is_new(history: Vault, clock: Clock) -> None:
    for number in range(5):
        clock.pass_by(days=1)
        history.commit(DATASET, {day_of(number): source(encrypted(number)), day_of(40 + number): source(text(40 + number))})
    assert standing(history)[0].commit.seq == 32  # the first of them


def test_content_rewritten_slowly_adds_up(vault: Vault, clock: Clock) -> None:
    """What does not compress before either, as Parquet, shows only by how much of it is rewritten."""
    vault.commit(DATASET, {day_of(number): source(encrypted(number)) for number in range(30)})
    for number in range(30, 70):
        clock.pass_by(days=1)
        vault.commit(DATASET, {day_of(number): source(encrypted(number))})
    assert not alarms(vault)
    for number in range(30):
        clock.pass_by(days=1)
        vault.commit(
            DATASET, {day_of(number): source(encrypted(1000 + number)), day_of(70 + number): source(encrypted(70 + number))}
        )
    raised = standing(vault)
    assert raised and "within" in raised[0].reasons[0]


def test_a_running_partition_that_fills_up_is_no_attack(vault: Vault, clock: Clock) -> None:
    for number in range(3 * WINDOW):
        clock.pass_by(days=1)
        vault.commit(DATASET, {day_of(number): source(text(number)), day_of(number - 1): source(text(10_000 + number))})
    assert not alarms(vault)


def test_what_is_always_rewritten_whole_is_usual(vault: Vault, clock: Clock) -> None:
    for number in range(20):
        clock.pass_by(days=1)
        vault.commit(DATASET, {name: source(text(100 * number + place)) for place, name in enumerate("abcdef")})
    assert not alarms(vault)


def test_too_little_is_known_of_a_young_dataset(vault: Vault, clock: Clock) -> None:
    for number in range(LEAST):
        vault.commit(DATASET, {day_of(place): source(encrypted(100 * number + place)) for place in range(5)})
    assert not alarms(vault)


def test_no_older_snapshot_goes_until_somebody_says_it_is_well(history: Vault, clock: Clock) -> None:
    before = plan_dataset(history, DATASET, KeepSpec(last=2))[0]
    assert len(before.forget) == 29
    attack = history.commit(DATASET, {day_of(number): source(encrypted(number)) for number in range(40)})
    clock.pass_by(days=1)
    history.commit(DATASET, {day_of(41): source(text(41))})
    plan = plan_dataset(history, DATASET, KeepSpec(last=1))[0]
    assert not plan.forget
    assert f"unusual change in snapshot {attack.seq}, not acknowledged" in plan.decisions[-1].reasons
    acknowledge(history, attack)
    assert len(plan_dataset(history, DATASET, KeepSpec(last=1))[0].forget) == 32
    (alarm,) = alarms(history)
    assert alarm.acknowledged is not None and not standing(history)


def test_an_attack_that_goes_on_does_not_become_usual(history: Vault, clock: Clock) -> None:
    for number in range(10):
        clock.pass_by(days=1)
        history.commit(DATASET, {day_of(place): source(encrypted(100 * number + place)) for place in range(4)})
    assert len(standing(history)) == 10


def test_an_acknowledgement_says_who_and_why() -> None:
    with pytest.raises(ConfigError, match="reason"):
        Acknowledgement("s", "v", DATASET, 1, "c", " ", "ana", "2026-11-30")


def test_commits_that_did_not_measure_are_passed_over(history: Vault) -> None:
    assert SnapshotChange.of(SnapshotCommit("v", DATASET, 1, "s", "s", "", "", "", "", "", "", 0, 0, 0, 0, 0)) is None


def test_an_acknowledgement_by_a_stranger_or_of_another_commit_says_nothing(history: Vault) -> None:
    attack = history.commit(DATASET, {day_of(number): source(encrypted(number)) for number in range(40)})
    said = Acknowledgement(
        attack.snapshot_id, history.identity(), DATASET, attack.seq, attack.digest, "meant", "eve", "2026-11-30"
    )
    key = ACKNOWLEDGEMENTS.key(attack.snapshot_id)
    for forged in (
        ACKNOWLEDGEMENTS.sign(Signer(Ed25519PrivateKey.generate()), said),
        ACKNOWLEDGEMENTS.sign(history.signer, replace(said, commit="ab" * 32)),
        b"{}",
    ):
        history.store.write(key, forged)
        assert [alarm.commit.seq for alarm in standing(history)] == [attack.seq]
        assert not plan_dataset(history, DATASET, KeepSpec(last=1))[0].forget
