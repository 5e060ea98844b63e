"""No row, moment or entity on both sides."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrai.errors import ModelError
from orchestrai.models.rows import Rows, encode, infer_columns
from orchestrai.models.splitting import folds, hold_out, stopping_rows
from orchestrai_tests.models.conftest import customers, spec

DAY = 86_400_000_000


def _rows(table: pa.Table, model: Any) -> Rows:
    return encode(table, infer_columns(table, model), model.entity)


def test_a_split_by_time_tests_on_later_moments_only() -> None:
    model = spec()
    rows = _rows(customers(), model)
    parts = hold_out(rows, model)
    assert rows.event_time[parts.train].max() < rows.event_time[parts.test].min()
    assert len(parts.train) + len(parts.test) == len(rows)


@given(gap=st.integers(0, 59), share=st.floats(0.1, 0.6))
@settings(max_examples=40)
def test_the_gap_keeps_the_labels_horizon_out_of_the_test(gap: int, share: float) -> None:
    model = spec(split={"gap": f"{gap}d", "test_share": share})
    rows = _rows(customers(per_moment=20), model)
    parts = hold_out(rows, model)
    assert rows.event_time[parts.train].max() + gap * DAY <= rows.event_time[parts.test].min()


def test_disjoint_entities_are_on_one_side_only() -> None:
    table = pa.concat_tables([customers(moments=3), customers(seed=2, moments=6, per_moment=50)])
    model = spec(split={"disjoint_entities": True, "test_share": 0.1})
    rows = _rows(table, model)
    parts = hold_out(rows, model)
    assert not set(rows.entity[0][parts.train]) & set(rows.entity[0][parts.test])


@given(seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_an_entity_stays_on_its_side_when_more_data_arrives(seed: int) -> None:
    model = spec(split={"by": "entity", "seed": seed})
    sides = []
    for moments in (2, 6):
        rows = _rows(customers(moments=moments), model)
        parts = hold_out(rows, model)
        train, test = set(rows.entity[0][parts.train]), set(rows.entity[0][parts.test])
        assert not train & test
        sides.append((train, test))
    assert sides[0] == sides[1]


def test_folds_test_each_row_once_with_equal_shares_of_labels_and_no_shared_entity() -> None:
    model = spec(split={"folds": 5})
    table = customers(moments=1, per_moment=1000)
    rows = _rows(table, model)
    dealt = folds(rows, model)
    assert sorted(np.concatenate([part.test for part in dealt])) == list(range(len(rows)))
    shares = [rows.label[part.test].mean() for part in dealt]
    assert max(shares) - min(shares) < 0.01
    repeated = _rows(customers(), model)
    for part in folds(repeated, model):
        assert not set(repeated.entity[0][part.train]) & set(repeated.entity[0][part.test])


def test_early_stopping_looks_at_the_latest_training_rows_and_never_at_the_test() -> None:
    model = spec()
    rows = _rows(customers(), model)
    parts = hold_out(rows, model)
    fit, stop = stopping_rows(rows, model, parts.train)
    assert rows.event_time[fit].max() < rows.event_time[stop].min() <= rows.event_time[stop].max()
    assert set(fit) | set(stop) == set(parts.train)


def test_a_gap_longer_than_the_history_is_refused_with_a_remedy() -> None:
    model = spec(split={"gap": "400d"})
    with pytest.raises(ModelError, match=r"shorten split\.gap"):
        hold_out(_rows(customers(), model), model)
