"""Retention and prune as published runs: what stays is the record, what went is in the receipt, whoever died on the way."""

import itertools
import os
import signal
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrai.errors import MissingObject, RetentionLocked
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import StageReport
from orchestrai.ledger.signing import Signer
from orchestrai.storage.local import LocalStore
from orchestrai.storage.memory import MemoryStore
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.lifecycle.legal_hold import place_hold
from orchestrai.vault.lifecycle.lock import lock_snapshot, locked_until
from orchestrai.vault.lifecycle.prune import Pruning
from orchestrai.vault.lifecycle.prune_run import give_back
from orchestrai.vault.lifecycle.retention import PartitionUse, apply_retention, cover_uses, plan_dataset, plan_retention
from orchestrai.vault.lifecycle.retention_run import retain
from orchestrai.vault.spec import BackupSpec, KeepSpec, RetentionSpec
from orchestrai.vault.vault import Vault
from orchestrai_tests.vault.conftest import Clock
from orchestrai_tests.vault.contents import files
from orchestrai_tests.vault.test_incremental import CountedLocks
from orchestrai_tests.vault.test_retention import NOW, SERIES

ASSET, PRUNE = "shop/d/retention", "orchestrai/vault/prune"
TWO = KeepSpec(last=2)


@pytest.fixture
def ledger(vault: Vault, clock: Clock, signer: Signer) -> Ledger:
    numbers = itertools.count()
    return Ledger(MemoryStore(clock), signer, vault=vault.store, clock=clock, new_id=lambda: f"r{next(numbers):04d}")


def take(vault: Vault, clock: Clock, count: int) -> list[SnapshotCommit]:
    taken = []
    for _ in range(count):
        taken.append(vault.commit("d", {"p": files(a=f"{clock.now}".encode() * 20_000)}))
        clock.pass_by(days=1)
    return taken


def let_go(ledger: Ledger, vault: Vault, keep: KeepSpec = TWO, **more: object) -> StageReport:
    return retain(ledger, vault, asset=ASSET, dataset="d", keep=keep, **more)  # type: ignore[arg-type]


def rows(report: StageReport) -> dict[int, tuple[str, str]]:
    decisions = report.facts["decisions"]
    assert isinstance(decisions, list)
    return {row["seq"]: (row["decision"], row["why"]) for row in decisions}  # type: ignore[call-overload, index, misc]


# -- retention ---------------------------------------------------------------------------------------------------


def test_what_goes_is_forgotten_and_signed_under_its_policy(ledger: Ledger, vault: Vault, clock: Clock) -> None:
    taken = take(vault, clock, 4)
    report = let_go(ledger, vault)
    assert [commit.seq for commit in vault.snapshots("d")] == [3, 4]
    assert rows(report) == {
        4: ("stays", "newest; last 1"),
        3: ("stays", "last 2"),
        2: ("forgotten", "retention: last 2"),
        1: ("forgotten", "retention: last 2"),
    }
    head = ledger.head(ASSET)
    assert head is not None
    receipt = ledger.receipt(head.receipt)
    assert receipt.facts["forgotten"] == [taken[1].snapshot_id, taken[0].snapshot_id]
    assert (receipt.stage, receipt.parameters) == ("retention", {"keep": {"last": 2}, "apply": True})
    assert (report.facts["stay"], report.facts["policy"], report.rows) == (2, "last 2", 2)


def test_a_second_run_changes_nothing(ledger: Ledger, vault: Vault, clock: Clock) -> None:
    take(vault, clock, 4)
    first = let_go(ledger, vault)
    before, head = {info.key for info in vault.store.list("vault/")}, ledger.head(ASSET)
    clock.pass_by(hours=1)
    second = let_go(ledger, vault)
    assert (second.version, second.refused) == (first.version, ())
    assert second.facts["forgotten"] == [] and set(rows(second)) == {3, 4}
    assert ledger.head(ASSET) == head
    assert {info.key for info in vault.store.list("vault/")} == before


def test_a_run_that_only_plans_shows_what_would_go_and_forgets_nothing(ledger: Ledger, vault: Vault, clock: Clock) -> None:
    take(vault, clock, 3)
    report = let_go(ledger, vault, apply=False)
    assert rows(report)[1] == ("would go", "no rule keeps it")
    assert (report.facts["would_go"], report.facts["applied"]) == (1, False)
    assert len(vault.snapshots("d")) == 3
    assert rows(let_go(ledger, vault))[1] == ("forgotten", "retention: last 2")


def test_a_run_that_died_after_its_tombstones_is_told_of_by_the_next(ledger: Ledger, vault: Vault, clock: Clock) -> None:
    take(vault, clock, 3)
    let_go(ledger, vault)
    take(vault, clock, 3)
    plan, _ = plan_dataset(vault, "d", TWO)
    apply_retention(vault, plan, policy=TWO.describe())
    report = let_go(ledger, vault)
    told = rows(report)
    # the first was told of by the record before
    assert {seq: told[seq][0] for seq in told} == {n: "stays" if n > 4 else "forgotten" for n in range(2, 7)}
    head = ledger.head(ASSET)
    assert head is not None and len(ledger.receipt(head.receipt).facts["forgotten"]) == 3  # type: ignore[arg-type]


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_killed_process_leaves_what_the_next_finishes(tmp_path: Path, signer: Signer, after: int) -> None:
    """SIGKILL before the first tombstone, after one, and between the last and the receipt."""

    def opened() -> tuple[Ledger, Vault]:
        store = LocalStore(tmp_path / "vault")
        return Ledger(LocalStore(tmp_path / "lake"), signer, vault=store), Vault(store, signer)

    _, vault = opened()
    for number in range(4):
        vault.commit("d", {"p": files(a=b"%d" % number)})
    pid = os.fork()
    if pid == 0:
        ledger, vault = opened()
        forget, done = vault.forget_record, itertools.count()

        def die_at(dataset: str, seq: int, *, reason: str) -> None:
            if next(done) == after:
                os.kill(os.getpid(), signal.SIGKILL)
            forget(dataset, seq, reason=reason)

        vault.forget_record = die_at  # type: ignore[method-assign]
        let_go(ledger, vault, after=lambda: os.kill(os.getpid(), signal.SIGKILL))
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    ledger, vault = opened()
    assert ledger.head(ASSET) is None and len(vault.snapshots("d")) == 4 - after
    report = let_go(ledger, vault)
    assert {seq: decision for seq, (decision, _) in rows(report).items()} == {
        4: "stays", 3: "stays", 2: "forgotten", 1: "forgotten",
    }  # fmt: skip
    assert let_go(ledger, vault).version == report.version


def test_what_a_person_forgot_meanwhile_is_told_with_the_persons_reason(ledger: Ledger, vault: Vault, clock: Clock) -> None:
    taken = take(vault, clock, 3)
    let_go(ledger, vault)
    vault.forget(taken[1].snapshot_id, reason="half-written export")
    assert rows(let_go(ledger, vault)) == {3: ("stays", "newest; last 1"), 2: ("forgotten", "half-written export")}


def test_a_snapshot_taken_meanwhile_stays_whole(ledger: Ledger, vault: Vault, clock: Clock) -> None:
    take(vault, clock, 3)
    other = Vault(vault.store, vault.signer, clock=clock, new_id=lambda: "other", workers=0)
    late: list[SnapshotCommit] = []
    let_go(ledger, vault, after=lambda: late.append(other.commit("d", {"q": files(b=b"b")})))
    assert [commit.seq for commit in vault.snapshots("d")] == [2, 3, 4]
    assert late[0].seq == 4 and set(vault.partitions(late[0])) == {"p", "q"}
    assert rows(let_go(ledger, vault))[2] == ("forgotten", "retention: last 2")


def test_what_is_held_stays_with_the_reason(ledger: Ledger, vault: Vault, clock: Clock) -> None:
    first, *_ = take(vault, clock, 4)
    place_hold(vault, "d", first, None, reason="case 17")
    assert rows(let_go(ledger, vault))[1] == ("stays", "legal hold: case 17")
    assert [commit.seq for commit in vault.snapshots("d")] == [1, 3, 4]


def test_a_locked_snapshot_is_forgotten_and_its_bytes_are_said_to_wait(
    ledger: Ledger, vault: Vault, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    control: Any = CountedLocks()
    taken = take(vault, clock, 3)
    lock_snapshot(vault, taken[0], control, timedelta(days=30))
    monkeypatch.setattr("orchestrai.vault.lifecycle.lock.SLACK", timedelta(hours=1))
    lock_snapshot(vault, taken[1], control, timedelta(days=1))
    until = locked_until(vault, "d")[1]
    assert until == min(control.until[file.key] for file in vault.files(taken[0], "p")) >= clock.now + timedelta(days=20)
    report = let_go(ledger, vault, KeepSpec(last=1))
    assert rows(report)[1] == ("forgotten", f"retention: last 1; a lock holds its bytes until {until:%Y-%m-%d %H:%M} UTC")
    # the other's lock has ended
    assert rows(report)[2] == ("forgotten", "retention: last 1")
    assert (report.facts["bytes_locked"], report.facts["bytes_locked_until"]) == (1, until.isoformat())
    assert locked_until(vault, "other") == {}


def test_damage_stops_a_run_before_anything_is_forgotten(ledger: Ledger, vault: Vault, clock: Clock) -> None:
    taken = take(vault, clock, 3)
    vault.store.delete(taken[2].tree)
    fresh = Vault(vault.store, vault.signer, clock=clock, workers=0)
    uses = [PartitionUse("champion", {"p": frozenset({"sha256:1"})})]
    with pytest.raises(MissingObject):
        let_go(ledger, fresh, uses=uses)
    assert len(fresh.snapshots("d")) == 3 and ledger.head(ASSET) is None


def test_without_a_snapshot_the_remedy_is_told(ledger: Ledger, vault: Vault) -> None:
    report = let_go(ledger, vault)
    assert report.version is None and "take one first" in report.refused[0].verdicts[0].message


# -- what somebody needs -----------------------------------------------------------------------------------------


def roots(vault: Vault, commit: SnapshotCommit) -> dict[str, frozenset[str]]:
    return {key: frozenset({row.root}) for key, row in vault.partitions(commit).items()}


def test_the_last_snapshot_to_hold_what_a_champion_learned_from_stays(ledger: Ledger, vault: Vault, clock: Clock) -> None:
    taken = take(vault, clock, 3)
    uses = [PartitionUse("champion churn@3c86", roots(vault, taken[0])), PartitionUse("candidate", roots(vault, taken[2]))]
    report = let_go(ledger, vault, KeepSpec(last=1), uses=uses)
    assert rows(report)[1] == ("stays", "champion churn@3c86")
    assert rows(report)[2][0] == "forgotten"
    assert report.outcomes[0].verdicts[0].passed
    again = let_go(ledger, vault, KeepSpec(last=1), uses=uses)
    assert again.version == report.version
    # once it serves no more, it goes
    assert rows(let_go(ledger, vault, KeepSpec(last=1), uses=uses[1:]))[1][0] == "forgotten"


def test_what_no_snapshot_holds_any_more_is_a_warning(ledger: Ledger, vault: Vault, clock: Clock) -> None:
    taken = take(vault, clock, 2)
    uses = [PartitionUse("champion churn@3c86", roots(vault, taken[0]))]
    vault.forget(taken[0].snapshot_id, reason="by hand")
    (verdict,) = let_go(ledger, vault, uses=uses).outcomes[0].verdicts
    assert (verdict.passed, verdict.severity) == (False, "warn")
    assert "champion churn@3c86: p and 0 more" in verdict.message


@given(
    st.lists(st.dictionaries(st.sampled_from("pqr"), st.sampled_from("abc"), min_size=1), min_size=1, max_size=12),
    st.lists(st.dictionaries(st.sampled_from("pqr"), st.frozensets(st.sampled_from("abc"), max_size=2)), max_size=4),
    st.integers(0, 3),
)
def test_whatever_can_be_kept_for_its_users_is_and_no_more_on_a_second_run(
    held: list[dict[str, str]], wanted: list[dict[str, frozenset[str]]], last: int
) -> None:
    series = SERIES[: len(held)]
    uses = [PartitionUse(f"user {number}", roots) for number, roots in enumerate(wanted)]

    def planned(among: list[SnapshotCommit]) -> list[SnapshotCommit]:
        def roots_of(commit: SnapshotCommit) -> Mapping[str, str]:
            return held[commit.seq - 1]

        keep = KeepSpec(last=last or 1)
        coverage = cover_uses(plan_retention(among, keep, NOW), uses, roots_of)
        plan = plan_retention(among, keep, NOW, needed=coverage.needed)
        stays = [decision.snapshot for decision in plan.decisions if decision.kept]
        told = {place for commit in stays for place in roots_of(commit).items()}
        there = {place for commit in among for place in roots_of(commit).items()}
        asked = {(key, root) for use in uses for key, found in use.roots.items() for root in found}
        assert asked & there <= told
        assert bool(coverage.missing) == bool(asked - there)
        return stays

    once = planned(series)
    assert planned(once) == once


# -- prune -------------------------------------------------------------------------------------------------------


def test_a_prune_marks_then_deletes_and_publishes_both(ledger: Ledger, vault: Vault, clock: Clock) -> None:
    take(vault, clock, 3)
    let_go(ledger, vault, KeepSpec(last=1))
    clock.pass_by(hours=25)
    marked, _ = give_back(ledger, Pruning(vault), asset=PRUNE)
    assert (marked.facts["deleted"], marked.facts["deferred"]) == (0, 0) and marked.facts["marked"] > 0  # type: ignore[operator]
    idle, _ = give_back(ledger, Pruning(vault), asset=PRUNE)
    assert idle.version == marked.version and idle.facts["next_due"] == marked.facts["next_due"]
    clock.pass_by(hours=31)
    deleted, report = give_back(ledger, Pruning(vault), asset=PRUNE)
    assert deleted.facts["deleted"] == len(report.deleted) == marked.facts["marked"]
    assert deleted.facts["deleted_bytes"] == report.bytes > 0
    assert ledger.open(PRUNE).rows == 0
    assert give_back(ledger, Pruning(vault), asset=PRUNE)[0].version == deleted.version


def test_what_a_lock_holds_is_told_and_deleted_later(
    ledger: Ledger, vault: Vault, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(vault, clock, 2)
    let_go(ledger, vault, KeepSpec(last=1))
    clock.pass_by(hours=25)
    give_back(ledger, Pruning(vault), asset=PRUNE)
    clock.pass_by(hours=31)

    def locked(key: str, *, version: str | None = None) -> None:
        if key.startswith("vault/"):
            raise RetentionLocked("locked until 2027-01-01")

    with monkeypatch.context() as patch:
        patch.setattr(vault.store, "delete", locked)
        report, _ = give_back(ledger, Pruning(vault), asset=PRUNE)
    assert report.facts["deleted"] == 0 and report.facts["deferred"] == ledger.open(PRUNE).rows > 0
    assert report.facts["deferred_bytes"] > 0  # type: ignore[operator]
    assert set(report.facts["deferred_reasons"].values()) == {"locked until 2027-01-01"}  # type: ignore[union-attr, arg-type]
    assert give_back(ledger, Pruning(vault), asset=PRUNE)[0].facts["deferred"] == 0
    assert ledger.open(PRUNE).rows == 0


# -- declarations ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({}, RetentionSpec(every="0 8 * * 0", apply=True)),
        ({"retention": "0 5 * * 0"}, RetentionSpec(every="0 5 * * 0")),
        ({"retention": False}, RetentionSpec(every=None)),
        ({"retention": {"apply": False}}, RetentionSpec(apply=False)),
    ],
)
def test_when_retention_runs_is_declared_in_a_word(declared: dict[str, object], expected: RetentionSpec) -> None:
    assert BackupSpec.model_validate(declared).retention == expected


def test_a_policy_is_told_in_words() -> None:
    assert (
        KeepSpec(daily=7, monthly=12, within="3d", tagged=("golden",)).describe()
        == "daily 7, monthly 12, within 3d, tagged golden"
    )
    assert KeepSpec().describe() == "everything"
