"""Every rule on every type: none refuses a day on which its column has no value, and each is held in the column's own type."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrai.contracts.contract import Column, Contract, arrow_type
from orchestrai.contracts.footers import read_footers
from orchestrai.contracts.rules.column_rules import bounds_of, broken_rules, check_column, members_of
from orchestrai.contracts.values import value_faults

VALUES: dict[str, list[Any]] = {
    "STRING": ["a", "b"],
    "BIGINT": [1, 2],
    "INT": [1, 2],
    "DOUBLE": [1.0, 2.5],
    "BOOLEAN": [False, True],
    "TIMESTAMP": [datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)],
    "DATE": [date(2026, 1, 1), date(2026, 1, 2)],
    "DECIMAL(12,2)": [Decimal("1.00"), Decimal("2.50")],
    "DECIMAL(38,2)": [Decimal("1.00"), Decimal("2.50")],
}
RULES = ("required", "unique", "key", "allowed", "minimum", "maximum", "pattern", "max_length")


def column(physical: str, rule: str) -> Column:
    first = VALUES[physical][0]
    given = {
        "required": {"required": True},
        "unique": {"unique": True},
        "key": {"key": 1, "required": True},
        "allowed": {"allowed": (str(first),)},
        "minimum": {"minimum": str(first)},
        "maximum": {"maximum": str(first)},
        "pattern": {"pattern": "[a]"},
        "max_length": {"max_length": 1},
    }[rule]
    return Column("v", physical, "v", **given)  # type: ignore[arg-type]


def faults(made: Column, values: list[Any], folder: Path, *, statistics: bool = True) -> list[str]:
    contract = Contract("c", "1", (made,))
    table = pa.table({"v": pa.array(values, arrow_type(made.type))}, schema=contract.arrow_schema())
    path = folder / "part.parquet"
    pq.write_table(table, path, write_statistics=statistics)
    return [fault.message for fault in value_faults(contract, read_footers([path], contract.names))]


def possible(physical: str, rule: str) -> bool:
    if rule in ("pattern", "max_length"):
        return physical == "STRING"
    return not (physical == "BOOLEAN" and rule in ("minimum", "maximum"))


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("physical", VALUES)
def test_every_rule_on_every_type_holds_on_days_without_values_with_one_and_with_a_broken_one(
    tmp_path: Path, physical: str, rule: str, statistics: bool
) -> None:
    made = column(physical, rule)
    if not possible(physical, rule):
        with pytest.raises(ValueError, match="expected"):
            check_column(made)
        return
    check_column(made)
    first, last = VALUES[physical]
    assert faults(made, [], tmp_path, statistics=statistics) == []
    nulls = faults(made, [None, None], tmp_path, statistics=statistics)
    assert nulls == (["expected v in every row, found 2 rows without"] if rule in ("required", "key") else [])
    assert faults(made, [first], tmp_path, statistics=statistics) == []
    assert faults(made, [first, None], tmp_path, statistics=statistics) == [n.replace("2", "1") for n in nulls]
    breaks = {
        "unique": [first, first],
        "key": [first, first],
        "minimum": [],
        "required": [],
        "pattern": [last],
        "max_length": ["ab"],
    }
    values = breaks.get(rule, [last])
    broken = faults(made, [first, *values], tmp_path, statistics=statistics)
    assert len(broken) == (1 if values else 0), broken
    assert "readable" not in "".join(broken)


@given(
    values=st.lists(st.one_of(st.none(), st.integers(-5, 5)), max_size=8), low=st.integers(-3, 3), high=st.integers(-3, 3)
)
@settings(max_examples=60, deadline=None)
def test_a_mask_names_exactly_the_rows_that_break_a_bound(values: list[int | None], low: int, high: int) -> None:
    made = Column("v", "DECIMAL(12,2)", "v", minimum=low + 0.005, maximum=high)
    array = pa.array([None if v is None else Decimal(v) for v in values], arrow_type(made.type))
    masks = dict(broken_rules(made, array))
    below = [v is not None and v < low + 0.005 for v in values]
    above = [v is not None and v > high for v in values]
    assert (masks["minimum"].to_pylist() if "minimum" in masks else [False] * len(values)) == below
    assert (masks["maximum"].to_pylist() if "maximum" in masks else [False] * len(values)) == above


def test_bounds_and_members_are_values_of_the_columns_own_type() -> None:
    assert bounds_of(Column("v", "BIGINT", "v", minimum=0.5, maximum=1e30)) == (1, 2**63 - 1)
    assert bounds_of(Column("v", "DECIMAL(38,2)", "v", minimum=0.001, maximum=9.999)) == (Decimal("0.01"), Decimal("9.99"))
    assert bounds_of(Column("v", "DATE", "v", minimum="2026-01-01")) == (date(2026, 1, 1), None)
    assert members_of(Column("v", "STRING", "v", allowed=(True, 1, "a"))) == ("true", "1", "a")


@pytest.mark.parametrize(
    "made",
    [
        Column("v", "BIGINT", "v", allowed=(1.5,)),
        Column("v", "INT", "v", minimum=2**31),
        Column("v", "DATE", "v", allowed=("soon",)),
        Column("v", "DECIMAL(12,2)", "v", allowed=("1.005",)),
        Column("v", "STRING", "v", pattern="(?=a)"),
        Column("v", "BIGINT", "v", unit="s"),
    ],
)
def test_a_rule_that_no_value_could_be_held_against_is_a_mistake(made: Column) -> None:
    with pytest.raises(ValueError, match=r"^expected .*, found "):
        check_column(made)


def test_nulls_repeat_nothing(tmp_path: Path) -> None:
    assert faults(Column("v", "BIGINT", "v", unique=True), [1, None, None, 2], tmp_path) == []
    assert faults(Column("v", "BIGINT", "v", unique=True), [1, None, 1], tmp_path) == [
        "expected each v once, found 1 rows that repeat one such as '1'"
    ]


def test_a_key_that_stands_twice_is_named_in_the_order_of_the_keys(tmp_path: Path) -> None:
    values = ["d", "b", "a", "b", "e", "d", "c", "c", "e", "e"]
    assert faults(Column("v", "STRING", "v", key=1), values, tmp_path) == [
        "expected each v once, found 5 rows that repeat one such as 'b', 'c', 'd'"
    ]


def test_a_personal_key_that_stands_twice_is_not_named(tmp_path: Path) -> None:
    assert faults(Column("v", "STRING", "v", key=1, classification="pii"), ["ann", "ann"], tmp_path) == [
        "expected each v once, found 1 rows that repeat one"
    ]
