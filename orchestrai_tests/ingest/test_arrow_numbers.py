"""Numbers of Arrow columns are those that Arrow's own conversion gives, which loads pandas."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from orchestrai.ingest.conversions.arrow_numbers import floats, integers, valid


@given(st.lists(st.none() | st.floats(width=64) | st.integers(-(2**40), 2**40).map(float)), st.integers(0, 5))
def test_floats_and_where_they_are_missing(values: list[float | None], skip: int) -> None:
    column = pa.array(values, pa.float64())[skip:]
    np.testing.assert_array_equal(floats(column), column.to_numpy(zero_copy_only=False).astype(float))
    np.testing.assert_array_equal(valid(column), [value.is_valid for value in column])


@given(st.lists(st.integers(-(2**31), 2**31 - 1)), st.integers(0, 5), st.sampled_from([pa.int32(), pa.int64()]))
def test_integers_from_anywhere_in_a_column(values: list[int], skip: int, kind: pa.DataType) -> None:
    column = pa.array(values, kind)[skip:]
    assert integers(column).tolist() == values[skip:]
    assert floats(column).tolist() == [float(value) for value in values[skip:]]


def test_moments_decimals_truths_and_columns_without_a_value() -> None:
    moments = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in range(3)]
    assert integers(pa.array(moments, pa.timestamp("us", "UTC"))).tolist() == [
        int(moment.timestamp()) * 1_000_000 for moment in moments
    ]
    assert floats(pa.array([Decimal("1.25"), None], pa.decimal128(12, 2))).tolist()[0] == 1.25
    assert floats(pa.array([True, False])).tolist() == [1.0, 0.0]
    assert np.isnan(floats(pa.nulls(3, pa.float64()))).all()
    assert not valid(pa.nulls(3)).any()
    assert len(floats(pa.array([], pa.float64()))) == 0
