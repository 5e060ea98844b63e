"""Which partitions of a feature table are stale: exactly those whose inputs or code differ from what their records name."""

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrai.features.views.view import FeatureView
from orchestrai.ledger.format.dataset_pages import PAGE_ROWS
from orchestrai.stage.staleness import Cause, difference
from orchestrai_tests.features.staleness.tables import IN, OUT, FeatureTable, day, view_of
from orchestrai_tests.producers import producer


def table_of(view: FeatureView, days: int, *, missing: tuple[int, ...] = ()) -> FeatureTable:
    """A table over days 0 to `days`, all computed."""
    table = FeatureTable(view)
    table.arrive({day(number): f"a{number}" for number in range(days) if number not in missing})
    shift = int(view.kind != "row")
    table.run(day(number + shift) for number in range(days) if shift or number not in missing)
    return table


def numbers(stale: Any) -> list[int]:
    days = {day(number): number for number in range(4000)}
    return [days[key] for key in stale]


def test_nothing_is_stale_after_a_run() -> None:
    for view in (view_of("time", "3d"), view_of("rows"), view_of("moments", "3d"), view_of("moments")):
        assert table_of(view, 8).stale() == {}


def test_a_day_that_comes_after_later_ones_makes_those_stale_whose_windows_hold_it() -> None:
    table = table_of(view_of("time", "3d"), 12, missing=(4,))
    table.arrive({day(4): "late"})
    stale = table.stale()
    assert numbers(stale) == [5, 6, 7]
    assert stale[day(5)].causes == (Cause("late", IN, (day(4),)),) and stale[day(5)].by_inputs


def test_a_day_27_days_back_is_inside_a_window_of_28_days_and_one_outside_is_not() -> None:
    table = table_of(view_of("time", "28d"), 60)
    table.arrive({day(32): "changed"})
    assert numbers(table.stale()) == list(range(32, 60))
    table.run(map(day, range(32, 60)))
    table.arrive({day(0): "changed"})
    assert day(28) in table.stale() and day(29) not in table.stale()
    assert table.stale()[day(28)].causes == (Cause("changed", IN, (day(0),)),)


def test_a_change_after_the_moment_or_before_the_window_makes_no_moment_stale() -> None:
    table = table_of(view_of("moments", "3d"), 12)
    table.arrive({day(12): "new", day(13): "new"})
    assert table.stale() == {}
    table.arrive({day(5): "changed"})
    # [as_of - 3d, as_of)
    assert numbers(table.stale()) == [6, 7, 8]


def test_a_view_over_all_history_is_stale_from_the_change_on() -> None:
    table = table_of(view_of("moments"), 9)
    table.arrive({day(4): "changed"})
    assert numbers(table.stale()) == [5, 6, 7, 8, 9]


def test_frames_of_rows_are_stale_as_far_as_their_search_reached() -> None:
    table = table_of(view_of("rows"), 9)
    table.arrive({day(4): "changed"})
    # each looked one partition back, the first to the beginning
    assert numbers(table.stale()) == [4, 5]


def test_what_is_put_back_as_it_was_is_not_stale() -> None:
    table = table_of(view_of("time", "3d"), 8)
    table.arrive({day(4): "changed"})
    table.run([day(7)])
    assert numbers(table.stale()) == [4, 5, 6]
    table.arrive({day(4): "a4"})
    # the one that was computed in between is of what was there then
    assert numbers(table.stale()) == [7]


def test_another_definition_makes_all_partitions_stale_by_code_and_none_of_them_by_inputs() -> None:
    table = table_of(view_of("time", "3d"), 8)
    table.code = "code-2"
    stale = table.stale()
    assert numbers(stale) == list(range(8))
    assert {one.causes for one in stale.values()} == {(Cause("code"),)} and not any(one.by_inputs for one in stale.values())
    table.run([day(7)])
    assert numbers(table.stale()) == list(range(7))
    table.code = "code-1"
    assert numbers(table.stale()) == [7]
    table.arrive({day(0): "changed"})
    assert numbers(table.stale()) == [0, 1, 2, 3, 7]


def test_a_partition_that_is_there_no_more_is_told() -> None:
    table = table_of(view_of("time", "3d"), 6)
    table.arrive({}, drop=[day(2)])
    stale = table.stale()
    assert numbers(stale) == [2, 3, 4, 5]
    assert stale[day(2)].causes == (Cause("gone", IN, (day(2),)),) == stale[day(5)].causes


def test_what_others_published_meanwhile_is_looked_at() -> None:
    table = table_of(view_of("time", "3d"), 6)
    first, table.store.reads = table.ledger, 0
    # a run that opened its inputs before the change publishes after it
    session = first.session(OUT, producer("features"))
    record = first.open(OUT).files(day(5))
    session.add_entry(day(5), record.files[0])
    session.add_stats(day(5), **record.stats)
    table.arrive({day(4): "changed"})
    table.run([day(4)])
    session.commit(parameters={"late": True})
    assert numbers(table.stale()) == [5]


def test_an_older_table_without_a_note_is_judged_by_its_own_records() -> None:
    table = FeatureTable(view_of("time", "3d"))
    table.arrive({day(number): "a" for number in range(6)})
    table.run(map(day, range(6)), note=False)
    table.arrive({day(2): "changed"})
    assert numbers(table.stale()) == [2, 3, 4, 5]


def test_inputs_that_are_stale_themselves_are_told() -> None:
    table = table_of(view_of("time", "3d"), 8)
    stale = table.stale({IN: [day(5)]})
    assert numbers(stale) == [5, 6, 7] and stale[day(6)].causes == (Cause("upstream", IN, (day(5),)),)


@pytest.mark.parametrize(
    "view", [view_of("time", "28d"), view_of("moments", "28d"), view_of("rows")], ids=["time", "moments", "rows"]
)
def test_the_cost_follows_what_changed_and_not_the_length_of_history(view: FeatureView) -> None:
    reads = {}
    for days in (30, 3650):
        table = table_of(view, days)
        for number in range(3):
            table.arrive({day(days + number): "new"})
            table.run([day(days + number + int(view.kind != "row"))])
        counts = []
        for late in (None, days - 2):
            if late is not None:
                table.arrive({day(late): "changed"})
            table.store.reads = 0
            stale = table.stale()
            counts.append((table.store.reads, len(stale)))
        reads[days] = counts
    assert [left for _, left in reads[30]] == [left for _, left in reads[3650]]
    # beside that a request for each page of the table's manifest, of its input's, and of the one that it was made of
    pages = 3 * (3650 // PAGE_ROWS + 1)
    assert all(long - short <= pages for (short, _), (long, _) in zip(reads[30], reads[3650], strict=True))
    assert reads[30][0] == (reads[30][0][0], 0) and reads[30][0][0] <= 10 and reads[30][1][0] <= 30


KINDS = st.sampled_from([("time", "3d"), ("rows", ""), ("moments", "3d"), ("moments", "")])


@given(kind=KINDS, seed=st.integers(0, 10**6))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_is_told_is_what_every_record_says(kind: tuple[str, str], seed: int) -> None:
    """Whatever came, changed, was put back, dropped and computed in which order, by whatever code."""
    rng = random.Random(seed)
    table = FeatureTable(view_of(*kind))
    shift = int(kind[0] == "moments")
    held: dict[int, str] = {}
    for _ in range(rng.randrange(3, 9)):
        some = {rng.randrange(10): rng.choice("abc") for _ in range(rng.randrange(1, 4))}
        gone = [number for number in held if rng.random() < 0.05 and number not in some]
        table.arrive({day(number): content for number, content in some.items()}, drop=[day(number) for number in gone])
        held = {number: content for number, content in (held | some).items() if number not in gone}
        if rng.random() < 0.15:
            table.code = rng.choice(["code-1", "code-2"])
        wanted = [number for number in held if rng.random() < 0.5]
        if wanted:
            table.run((day(number + shift) for number in wanted), note=rng.random() < 0.8)
        if table.ledger.find(OUT) is not None:
            assert {key: one.causes for key, one in table.stale().items()} == table.by_records()


def test_the_difference_of_two_readings_names_what_changed_came_and_went() -> None:
    named, now = {"a": {"1": "x", "2": "y"}}, {"a": {"1": "z", "3": "w"}, "b": {"1": "q"}}
    assert difference(named, now) == (
        Cause("changed", "a", ("1",)), Cause("late", "a", ("3",)), Cause("gone", "a", ("2",)), Cause("late", "b", ("1",)),
    )  # fmt: skip
    assert difference(named, named) == ()
