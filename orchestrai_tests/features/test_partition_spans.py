"""The spans of published partitions, each worked out when asked for, are those that a walk over all of them gives."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrai.core.time.calendar import Grain, grain_in, partition_of
from orchestrai.errors import FeatureViewError
from orchestrai.features.incremental.partition_spans import ALWAYS, PartitionSpans, overlapping, spans

START = datetime(2025, 10, 20, tzinfo=UTC)
GRAINS = [grain_in(name, zone) for name in ("day", "week", "month") for zone in ("UTC", "America/Los_Angeles")]
MOMENTS = st.integers(-200, 3_000).map(lambda hours: START + timedelta(hours=hours))


@given(st.sampled_from([*GRAINS, "hour"]), st.sets(MOMENTS, max_size=30), st.none() | MOMENTS, st.none() | MOMENTS)
@settings(max_examples=150, deadline=None)
def test_the_overlapping_partitions_are_those_of_a_walk_over_all(
    grain: Grain, moments: set[datetime], since: datetime | None, until: datetime | None
) -> None:
    keys = dict.fromkeys(partition_of(moment, grain) for moment in moments)  # type: ignore[arg-type]
    lazy, whole = PartitionSpans(keys, grain), spans(keys, grain)
    assert overlapping(lazy, since, until) == overlapping(whole, since, until)
    assert dict(lazy) == whole and list(lazy) == list(whole) and ("2025-01-01" in lazy) == ("2025-01-01" in whole)
    assert lazy.ends == ((min(whole.values())[0], max(whole.values())[1]) if whole else None)


@pytest.mark.parametrize(
    ("keys", "grain"),
    [
        (["2026-01-01", "2026-02-01"], "month"),
        (["2026-01-01", "2026-01-02"], "day"),
        (["2026-01-01", "2026-01-31", "2026-02-01"], "day"),
        (["2026-01-01-00:00"], "hour"),
        (["all"], "all"),
        ([], "all"),
    ],
)
def test_the_grain_is_read_off_the_keys_where_none_is_noted(keys: list[str], grain: str) -> None:
    assert PartitionSpans(keys).grain == grain
    assert dict(PartitionSpans(keys)) == spans(keys)


def test_a_whole_dataset_overlaps_any_span_and_odd_keys_tell_none() -> None:
    assert overlapping(PartitionSpans(["all"]), START, START + timedelta(days=1)) == ["all"]
    assert overlapping(PartitionSpans(["all"]), *ALWAYS) == ["all"]
    with pytest.raises(FeatureViewError, match="expected partitions by hour"):
        PartitionSpans(["monday"])
