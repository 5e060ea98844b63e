"""One meaning for each value: CSV text, a JSON value and a Parquet value become the same, or are refused alike."""

import json
import os
from datetime import UTC, date, datetime
from datetime import time as clock
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrai.contracts.contract import Column, Contract, arrow_type
from orchestrai.ingest.conversions.conversion_table import CONVERSIONS, FAMILIES, as_markdown, family_of, kind_of
from orchestrai.ingest.conversions.convert import convert
from orchestrai.ingest.conversions.declared_formats import parse_moment, parse_moments, spelled_out
from orchestrai.ingest.conversions.spelling import spelled
from orchestrai.ingest.conversions.text_numbers import from_text, parse_boolean, parse_decimal, parse_double, parse_integer
from orchestrai.ingest.readers.object_reader import ObjectOutcome, Typing
from orchestrai.ingest.spec import SourceSpec
from orchestrai_tests.docs.pages import ROOT

pytestmark = pytest.mark.usefixtures("by_arrow")

REFUSED = object()
TYPES = ("STRING", "BIGINT", "INT", "DOUBLE", "DECIMAL(12,2)", "DECIMAL(38,30)", "BOOLEAN", "TIMESTAMP", "DATE")


def one(physical: str, data: bytes, folder: Path, *, unit: str = "", **options: Any) -> Any:
    """What the value `v` of an object's only row becomes, REFUSED where the row is set aside."""
    column = Column("v", physical, "v", unit=unit)  # type: ignore[arg-type]
    path = folder / "object"
    path.write_bytes(data)
    outcome = ObjectOutcome()
    typing = Typing(
        SourceSpec(url="x", max_refused_share=1, **options), Contract("c", "1", (Column("id", "INT", "id"), column))
    )
    rows = [row["v"] for batch in typing.batches(path, outcome) for row in batch.to_pylist()]
    assert not outcome.unreadable and len(rows) + len(outcome.refused) == 1, outcome
    assert all(refused.reason.startswith("expected") and ", found " in refused.reason for refused in outcome.refused)
    return rows[0] if rows else REFUSED


def three(value: Any, physical: str, folder: Path, *, landed: pa.DataType | None = None, **options: Any) -> list[Any]:
    """What a value becomes from CSV, JSON Lines and Parquet."""
    text = spelled(pa.array([value], landed), kind_of(pa.array([value], landed).type) or "text")[0][0].as_py()
    quoted = '"' + text.replace('"', '""') + '"'
    literal = (
        text
        if isinstance(value, int | float | Decimal) and not isinstance(value, bool)
        else json.dumps(value if isinstance(value, str | bool | dict | list) else text)
    )
    pq.write_table(pa.table({"id": [1], "v": pa.array([value], landed)}), folder / "made")
    return [
        one(physical, f"id,v\n1,{quoted}\n".encode(), folder, format="csv", null_values=(), **options),
        one(physical, f'{{"id":1,"v":{literal}}}\n'.encode(), folder, format="jsonl", **options),
        one(physical, (folder / "made").read_bytes(), folder, format="parquet", **options),
    ]


EXAMPLES = int(os.environ.get("ORCHESTRAI_TEST_EXAMPLES", "2"))
AT = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
CASES = [
    # value, declared, what it becomes, options
    (1.239, "DECIMAL(12,2)", REFUSED, {}),
    (1.24, "DECIMAL(12,2)", Decimal("1.24"), {}),
    (1.5, "DECIMAL(12,2)", Decimal("1.50"), {}),
    (0.1 + 0.2, "DECIMAL(12,2)", REFUSED, {}),
    ("1.500", "DECIMAL(12,2)", Decimal("1.50"), {}),
    ("1.005", "DECIMAL(12,2)", REFUSED, {}),
    ("9" * 128, "DECIMAL(12,2)", REFUSED, {}),
    ("1" + "0" * 199, "DECIMAL(12,2)", REFUSED, {}),
    ("1e3", "DECIMAL(12,2)", Decimal("1000.00"), {}),
    ("1e200", "DECIMAL(12,2)", REFUSED, {}),
    ("0" * 100 + "1", "DECIMAL(12,2)", Decimal("1.00"), {}),
    (3_244_619_004_912_436_835, "DECIMAL(38,30)", REFUSED, {}),
    (12_345_678, "DECIMAL(38,30)", Decimal(12_345_678), {}),
    (7, "DECIMAL(12,2)", Decimal(7), {}),
    (10**10, "DECIMAL(12,2)", REFUSED, {}),
    (Decimal("1.50"), "DECIMAL(38,30)", Decimal("1.5"), {}),
    (2, "BOOLEAN", REFUSED, {}),
    (1, "BOOLEAN", True, {}),
    (0, "BOOLEAN", False, {}),
    (1.0, "BOOLEAN", REFUSED, {}),
    (True, "BOOLEAN", True, {}),
    ("TRUE", "BOOLEAN", True, {}),
    ("yes", "BOOLEAN", REFUSED, {}),
    (True, "BIGINT", REFUSED, {}),
    (True, "STRING", "true", {}),
    (1.0, "BIGINT", 1, {}),
    (1.5, "BIGINT", REFUSED, {}),
    (1e16, "BIGINT", REFUSED, {}),
    (Decimal("5.00"), "BIGINT", 5, {}),
    (Decimal("5.01"), "BIGINT", REFUSED, {}),
    (2**31, "INT", REFUSED, {}),
    ("0x10", "BIGINT", REFUSED, {}),
    ("+-5", "BIGINT", REFUSED, {}),
    (2**53 + 1, "DOUBLE", REFUSED, {}),
    (2**53, "DOUBLE", float(2**53), {}),
    (2**54, "DOUBLE", float(2**54), {}),
    (10**30, "DOUBLE", REFUSED, {"landed": pa.decimal128(38, 0)}),
    (1e300, "DOUBLE", 1e300, {}),
    ("1e400", "DOUBLE", REFUSED, {}),
    (17850.0, "STRING", "17850.0", {}),
    (17850, "STRING", "17850", {}),
    ({"b": 1.5, "a": [1, None]}, "STRING", '{"a": [1, null], "b": 1.5}', {}),
    (1_700_000_000, "TIMESTAMP", REFUSED, {}),
    (1_700_000_000, "TIMESTAMP", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), {"unit": "s"}),
    (1_700_000_000_123, "TIMESTAMP", datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC), {"unit": "ms"}),
    (1_700_000_000_123_456, "TIMESTAMP", datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC), {"unit": "us"}),
    (1_700_000_000_123_456_000, "TIMESTAMP", datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC), {"unit": "ns"}),
    (1_700_000_000_123_456_789, "TIMESTAMP", REFUSED, {"unit": "ns"}),
    (1_700_000_000_123_456, "TIMESTAMP", REFUSED, {"unit": "s"}),
    (1_700_000_000.0, "TIMESTAMP", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), {"unit": "s"}),
    (1_700_000_000.5, "TIMESTAMP", REFUSED, {"unit": "s"}),
    (20_000, "DATE", date(2024, 10, 4), {"unit": "days"}),
    (20_000, "DATE", REFUSED, {}),
    (1_700_006_400, "DATE", date(2023, 11, 15), {"unit": "s"}),
    (1_700_006_401, "DATE", REFUSED, {"unit": "s"}),
    (20_261_122, "DATE", date(2026, 11, 22), {"timestamp_formats": ("%Y%m%d",)}),
    ("2026-11-22T10:30:00Z", "TIMESTAMP", AT, {"unit": "s"}),
    ("2026-11-22T12:30:00+02:00", "TIMESTAMP", AT, {}),
    ("2026-11-22 10:30:00.000000000", "TIMESTAMP", AT, {}),
    ("2026-11-22 10:30:00.0000001", "TIMESTAMP", REFUSED, {}),
    ("0000-01-01", "TIMESTAMP", REFUSED, {}),
    ("2026-11-22", "DATE", date(2026, 11, 22), {}),
    ("2026-11-22 00:00", "DATE", date(2026, 11, 22), {}),
    ("2026-11-22 10:30", "DATE", REFUSED, {}),
    ("2026-11-22T00:00:00Z", "DATE", REFUSED, {}),
    ("2026-11-22T23:30:00-05:00", "DATE", REFUSED, {}),
    ("31/02/2026", "DATE", REFUSED, {"timestamp_formats": ("%d/%m/%Y",)}),
    ("29/02/2026", "DATE", REFUSED, {"timestamp_formats": ("%d/%m/%Y",)}),
    ("29/02/2024", "DATE", date(2024, 2, 29), {"timestamp_formats": ("%d/%m/%Y",)}),
    ("01/04/26", "DATE", REFUSED, {"timestamp_formats": ("%d/%m/%Y",)}),
    ("01/04/26", "DATE", date(2026, 4, 1), {"timestamp_formats": ("%d/%m/%y",)}),
    ("1/4/2026", "DATE", date(2026, 4, 1), {"timestamp_formats": ("%d/%m/%Y",)}),
    ("31/02/2026 11:00", "TIMESTAMP", REFUSED, {"timestamp_formats": ("%d/%m/%Y %H:%M",)}),
    (
        "22/11/2026 10:30:00.25",
        "TIMESTAMP",
        AT.replace(microsecond=250000),
        {"timestamp_formats": ("%d/%m/%Y %H:%M:%S.%f",)},
    ),
    ("22.11.2026 12:30 +0200", "TIMESTAMP", AT, {"timestamp_formats": ("%d.%m.%Y %H:%M %z",)}),
    ("22.11.2026 00:00 +0200", "DATE", REFUSED, {"timestamp_formats": ("%d.%m.%Y %H:%M %z",)}),
    ("22-Nov-2026", "DATE", date(2026, 11, 22), {"timestamp_formats": ("%d/%m/%Y", "%d-%b-%Y")}),
]


@pytest.mark.parametrize(("value", "physical", "expected", "options"), CASES)
def test_a_value_becomes_the_same_from_every_format(
    tmp_path: Path, value: Any, physical: str, expected: Any, options: dict[str, Any]
) -> None:
    assert three(value, physical, tmp_path, **options) == [expected] * 3


ONLY_PARQUET = [
    (pa.array([1], pa.timestamp("ns")), "TIMESTAMP", REFUSED),
    (pa.array([1_000], pa.timestamp("ns")), "TIMESTAMP", datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
    (pa.array([AT], pa.timestamp("us", "Europe/Paris")), "TIMESTAMP", AT),
    (pa.array([AT], pa.timestamp("us", "Europe/Paris")), "DATE", REFUSED),
    (pa.array([AT.replace(hour=0, minute=0)], pa.timestamp("us", "UTC")), "DATE", REFUSED),
    (pa.array([AT.replace(tzinfo=None)], pa.timestamp("us")), "DATE", REFUSED),
    (pa.array([AT.replace(hour=0, minute=0, tzinfo=None)], pa.timestamp("s")), "DATE", date(2026, 11, 22)),
    (pa.array([date(2026, 11, 22)]), "TIMESTAMP", datetime(2026, 11, 22, tzinfo=UTC)),
    (pa.array([2**62], pa.timestamp("us")), "TIMESTAMP", REFUSED),
    (pa.array([clock(10, 30)]), "TIMESTAMP", REFUSED),
    (pa.array([clock(10, 30)], pa.time32("ms")), "STRING", "10:30:00.000"),
    (pa.array([b"lamp"]), "STRING", "lamp"),
    (pa.array([b"\xff"]), "STRING", REFUSED),
    (pa.array([b"1"]), "BIGINT", REFUSED),
    (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), "STRING", REFUSED),
    (pa.array([float("nan")]), "STRING", REFUSED),
    (pa.array([2**64 - 1], pa.uint64()), "BIGINT", REFUSED),
    (pa.array(["a"]).dictionary_encode(), "STRING", "a"),
]


@pytest.mark.parametrize(("array", "physical", "expected"), ONLY_PARQUET)
def test_what_only_parquet_can_hold_is_taken_by_the_same_table(
    tmp_path: Path, array: pa.Array, physical: str, expected: Any
) -> None:
    pq.write_table(pa.table({"id": [1], "v": array}), tmp_path / "made")
    assert one(physical, (tmp_path / "made").read_bytes(), tmp_path, format="parquet") == expected


SAMPLES: dict[str, pa.Array] = {
    "text": pa.array(["x"]),
    "integer": pa.array([7]),
    "float": pa.array([7.0]),
    "decimal": pa.array([Decimal(1)]),
    "boolean": pa.array([True]),
    "moment": pa.array([AT.replace(hour=0, minute=0, tzinfo=None)]),
    "moment with a zone": pa.array([AT]),
    "date": pa.array([date(2026, 11, 22)]),
    "time of day": pa.array([clock(10)]),
    "bytes": pa.array([b"x"]),
    "nested": pa.array([[1]]),
}


@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.parametrize("physical", TYPES)
def test_a_conversion_that_is_not_in_the_table_refuses_every_row(kind: str, physical: str) -> None:
    contract = Contract("c", "1", (Column("v", physical, "v"),))
    assert kind_of(SAMPLES[kind].type) == kind
    batch, misfits = convert(contract, {"v": SAMPLES[kind]}, 1)
    if (kind, family_of(physical)) not in CONVERSIONS:
        assert [misfit.row for misfit in misfits] == [0] and batch.column(0).null_count == 1
    elif (kind, family_of(physical)) in {(kind, "STRING"), ("date", "DATE"), ("boolean", "BOOLEAN"), ("decimal", "BOOLEAN")}:
        assert not misfits


@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.parametrize("physical", TYPES)
def test_columns_without_a_value_become_nulls_of_the_declared_type(kind: str, physical: str) -> None:
    contract = Contract("c", "1", (Column("v", physical, "v"),))
    for rows in (0, 1, 3):
        batch, misfits = convert(contract, {"v": pa.nulls(rows, SAMPLES[kind].type)}, rows)
        assert not misfits and batch.column(0).null_count == batch.num_rows == rows
        assert batch.column(0).type == arrow_type(physical)


def test_every_declared_type_can_come_as_text_and_the_table_names_no_other() -> None:
    assert {family for kind, family in CONVERSIONS if kind == "text"} == set(FAMILIES) == {family_of(t) for t in TYPES}
    assert {kind for kind, _ in CONVERSIONS} == set(SAMPLES)


def test_the_page_shows_the_table_that_the_code_goes_by() -> None:
    assert as_markdown() in (ROOT / "docs" / "gates.md").read_text()


NUMBER = st.one_of(
    st.from_regex(r"\A[+-]?[0-9]{1,40}(\.[0-9]{0,8})?([eE][+-]?[0-9]{1,2})?\Z"),
    st.text("0123456789+-.eE x_", max_size=8),
    st.integers(-(2**65), 2**65).map(str),
    st.floats(allow_nan=False).map(repr),
    st.sampled_from(["true", "False", "1", "nan", "-inf", "0x1F", "1e99999", "0e99999", "0." + "0" * 45]),
)
WAYS: list[tuple[pa.DataType, Any]] = [
    (pa.int64(), lambda text: parse_integer(text, -(2**63), 2**63 - 1)),
    (pa.int32(), lambda text: parse_integer(text, -(2**31), 2**31 - 1)),
    (pa.float64(), parse_double),
    (pa.decimal128(12, 2), lambda text: parse_decimal(text, 12, 2)),
    (pa.decimal128(38, 30), lambda text: parse_decimal(text, 38, 30)),
    (pa.decimal128(38, 0), lambda text: parse_decimal(text, 38, 0)),
    (pa.bool_(), parse_boolean),
]


@given(texts=st.lists(NUMBER, min_size=1, max_size=5), plain=st.integers(0, 200))
@settings(max_examples=300, deadline=None)
def test_the_quick_way_of_a_column_and_the_reference_of_a_value_agree(texts: list[str], plain: int) -> None:
    texts = [text.strip() for text in [*texts, *["7"] * plain]]
    for target, reference in WAYS:
        typed, bad = from_text(pa.array(["0", *texts, None]).slice(1), target)
        signless = [
            text[1:] if text[:1] == "+" and text[1:2] in {*"0123456789."} and target != pa.bool_() else text
            for text in texts
        ]
        expected = [reference(text) for text in signless]
        assert bad == [row for row, value in enumerate(expected) if value is None], target
        assert typed.to_pylist() == [*expected, None], target


FORMS = [
    "%d/%m/%Y",
    "%d/%m/%Y %H:%M",
    "%Y%m%d",
    "%Y-%m-%dT%H:%M:%S.%f%z",
    "%m/%d/%y %H:%M:%S",
    "%H:%M %d.%m.%Y",
    "%d-%b-%Y",
    "%Y/%m",
]


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_times_read_by_their_bytes_are_those_that_strptime_reads(data: st.DataObject) -> None:
    forms = data.draw(st.lists(st.sampled_from(FORMS), min_size=1, max_size=2, unique=True))
    texts = []
    for moment in data.draw(
        st.lists(st.datetimes(min_value=datetime(1000, 1, 1, tzinfo=UTC).replace(tzinfo=None)), min_size=1, max_size=4)
    ):
        text = moment.replace(tzinfo=UTC).strftime(data.draw(st.sampled_from(forms)))
        at = data.draw(st.integers(0, len(text)))
        texts += [
            text,
            text[:at] + data.draw(st.sampled_from("0123 /:+Z\u0661")) + text[at + data.draw(st.integers(0, 1)) :],
        ]
    texts += ["31/02/2026", "29/02/2024", "01/04/26", "30/02/2026 10:00", "20260230", "1/2/2026"]
    moments = parse_moments(pa.array(["x", *texts, None]).slice(1), forms)
    for row, text in enumerate(texts):
        expected = parse_moment(text, forms)
        assert bool(moments.read[row]) == (expected is not None), text
        if expected is not None:
            there = expected if expected.tzinfo else expected.replace(tzinfo=UTC)
            assert int(moments.micros[row]) == round(
                (there - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 10**6
            ) // 1 or (abs(there.year - 1970) > 200)
            assert bool(moments.zoned[row]) == (expected.tzinfo is not None)
    assert not moments.read[-1]


def test_a_format_in_directives_of_another_language_is_refused_and_short_ones_are_spelled_out() -> None:
    assert spelled_out("%F %T") == "%Y-%m-%d %H:%M:%S"
    with pytest.raises(ValueError, match="expected directives of strptime, found %Q"):
        spelled_out("%Q")


VALUE = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**9), max_value=10**9),
    st.booleans(),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00\r\n"), max_size=8),
    st.sampled_from(["1", "1.50", "true", "2026-11-22", "2026-11-22T10:30:00Z"]),
)


@given(value=VALUE, physical=st.sampled_from(TYPES))
@settings(max_examples=10 * EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_value_through_three_formats_is_one_value(tmp_path: Path, value: Any, physical: str) -> None:
    csv, jsonl, parquet = three(value, physical, tmp_path)
    assert csv == jsonl == parquet or (value == "" and jsonl == parquet)


@pytest.mark.parametrize("day", [date(1, 1, 1), date(1684, 1, 1), date(2255, 6, 6), date(2300, 2, 28), date(9999, 12, 31)])
def test_a_date_of_any_year_is_read_from_moments_and_from_text(day: date) -> None:
    contract = Contract("days", "1.0.0", (Column("day", "DATE", "day"),))
    midnight = datetime.combine(day, clock.min)
    for landed in (pa.array([midnight], pa.timestamp("us")), pa.array([midnight.isoformat()])):
        batch, misfits = convert(contract, {"day": landed}, 1)
        assert misfits == [] and batch.column(0).to_pylist() == [day]
