"""Retention keeps what its rules name, and nothing else."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.lifecycle.retention import apply_retention, plan_retention
from orchestrai.vault.spec import BackupSpec, KeepSpec
from orchestrai.vault.vault import Vault
from orchestrai_tests.vault.conftest import Clock
from orchestrai_tests.vault.contents import files

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def taken(seq: int, committed: datetime, tags: tuple[str, ...] = ()) -> SnapshotCommit:
    return SnapshotCommit(
        vault="v", dataset="d", seq=seq, snapshot_id=f"s{seq}", session=f"s{seq}", previous="", started="", created="",
        version="", tree="", tree_sha256="", tree_length=0, partitions=0, files=0, rows=0, size=0, tags=tags,
        committed=committed,
    )  # fmt: skip


# one every 8 hours for 60 days, ending now: seq 1 is the oldest
SERIES = [taken(n + 1, NOW - timedelta(hours=8 * (179 - n))) for n in range(180)]
GOLDEN = {
    "last 3": (KeepSpec(last=3), [180, 179, 178]),
    "hourly 2": (KeepSpec(hourly=2), [180, 179]),
    "daily 4": (KeepSpec(daily=4), [180, 178, 175, 172]),
    "weekly 3": (KeepSpec(weekly=3), [180, 160, 139]),
    "monthly 12": (KeepSpec(monthly=12), [180, 115, 22]),
    "yearly 5": (KeepSpec(yearly=5), [180]),
    "within 1d": (KeepSpec(within="1d"), [180, 179, 178, 177]),
    "daily 2, monthly 2": (KeepSpec(daily=2, monthly=2), [180, 178, 115]),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_rules_keep_the_golden_list(name: str) -> None:
    keep, expected = GOLDEN[name]
    plan = plan_retention(SERIES, keep, NOW)
    assert [decision.snapshot.seq for decision in plan.decisions if decision.kept] == expected
    assert len(plan.forget) == 180 - len(expected)


def test_a_tag_keeps_a_snapshot_of_any_age() -> None:
    series = [taken(1, NOW - timedelta(days=4000), ("golden",)), *SERIES[1:]]
    plan = plan_retention(series, KeepSpec(last=1, tagged=("golden",)), NOW)
    assert [d.snapshot.seq for d in plan.decisions if d.kept] == [180, 1]


def test_no_policy_forgets_nothing() -> None:
    assert plan_retention(SERIES, KeepSpec(), NOW).forget == ()


@given(
    st.lists(st.integers(0, 10**6), min_size=1, max_size=60, unique=True),
    st.builds(
        KeepSpec, last=st.integers(0, 5), daily=st.integers(0, 5), weekly=st.integers(0, 3), monthly=st.integers(0, 3)
    ),
)
def test_the_newest_stays_and_a_second_run_changes_nothing(minutes: list[int], keep: KeepSpec) -> None:
    series = [taken(n, NOW - timedelta(minutes=m)) for n, m in enumerate(sorted(minutes, reverse=True), 1)]
    plan = plan_retention(series, keep, NOW)
    kept = [decision.snapshot for decision in plan.decisions if decision.kept]
    assert kept[0].seq == len(series)
    assert plan_retention(kept, keep, NOW).forget == ()


def test_applying_a_plan_forgets_and_can_be_repeated(vault: Vault, clock: Clock) -> None:
    for day in range(4):
        vault.commit("d", {"p": files(a=b"%d" % day)})
        clock.pass_by(days=1)
    plan = plan_retention(vault.snapshots("d"), KeepSpec(last=2), clock())
    assert apply_retention(vault, plan) == apply_retention(vault, plan)
    assert [commit.seq for commit in vault.snapshots("d")] == [3, 4]


@pytest.mark.parametrize(
    "wrong", [{"rpo": "soon"}, {"keep": {"daily": -1}}, {"keep": {"fortnightly": 1}}, {"every": "daily"}]
)
def test_a_wrong_backup_declaration_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        BackupSpec.model_validate(wrong)
