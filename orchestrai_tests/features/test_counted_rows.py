"""A view whose look-back would count rows that its windows never see is refused when it is declared."""

import pytest

from orchestrai.errors import FeatureViewError
from orchestrai.features.views.lint.look_back import require_counted_rows
from orchestrai_tests.features.test_tail import FRAMES, view_of

# the least of a DOUBLE is not one of the windows that slide over one sort
LEAST = """
SELECT device_id, ts, MIN(temperature) OVER (PARTITION BY device_id ORDER BY {frame}) AS low
FROM {rows}
"""
TEN_ROWS = "ts, seq ROWS BETWEEN 9 PRECEDING AND CURRENT ROW"
WARM = "(SELECT device_id, ts, seq, temperature FROM readings WHERE temperature > 20) AS q"


@pytest.mark.parametrize("rows", [WARM, "readings WHERE temperature > 20"], ids=["below", "beside"])
def test_a_filter_under_a_frame_of_rows_is_refused_with_the_remedy(rows: str) -> None:
    with pytest.raises(FeatureViewError, match="CASE WHEN"):
        require_counted_rows(view_of(LEAST.format(frame=TEN_ROWS, rows=rows)))


@pytest.mark.parametrize(
    "sql",
    [
        LEAST.format(frame=TEN_ROWS, rows="readings"),
        LEAST.format(frame="ts RANGE BETWEEN INTERVAL 5 MINUTES PRECEDING AND CURRENT ROW", rows=WARM),
        f"SELECT device_id, ts, low FROM ({LEAST.format(frame=TEN_ROWS, rows='readings')}) AS q WHERE low > 0",
        FRAMES,
        "device_rolling.sql",
    ],
    ids=["no filter", "frame of time", "filter after the frame", "one sort", "shipped"],
)
def test_what_counts_the_rows_that_it_reads_is_taken(sql: str) -> None:
    view = view_of(sql)
    assert require_counted_rows(view) is view
