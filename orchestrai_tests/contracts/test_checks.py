"""The audit: what a day may look like, and what closes the gate."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrai.contracts.checks import check_names, check_partition
from orchestrai.contracts.contract import ClosedDays, Column, Contract, VolumeRule
from orchestrai.core.verdict import Verdict
from orchestrai.ingest.readers.row_rules import _reason

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CONTRACT = Contract(
    "orders",
    "1.0.0",
    (
        Column("id", "BIGINT", "id", required=True, key=1),
        Column("kind", "STRING", "kind", allowed=("a", "b")),
        Column("price", "DOUBLE", "price", minimum=0, maximum=100),
        Column("at", "TIMESTAMP", "at", required=True),
    ),
    event_time="at",
    freshness=timedelta(hours=12),
    closed=ClosedDays(frozenset({5}), ((date(2010, 12, 24), date(2011, 1, 3)),)),
)


def day(folder: Path, start: str = "2024-03-05", rows: int = 10, **columns: object) -> Path:
    first = datetime.fromisoformat(start).replace(tzinfo=UTC)
    values: dict[str, object] = {
        "id": list(range(rows)),
        "kind": ["a"] * rows,
        "price": [1.0] * rows,
        "at": [first + timedelta(hours=23) * i / max(rows - 1, 1) for i in range(rows)],
    }
    values |= columns
    schema = CONTRACT.arrow_schema()
    arrays = [pa.array(values[f.name], f.type) for f in schema]
    path = folder / "part-00000.parquet"
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path)
    return path


def judge(files: list[Path], partition: str = "2024-03-05", **options: object) -> dict[str, Verdict]:
    settings: dict[str, object] = {"history": {}, "now": NOW, "grain": "day", "contract": CONTRACT} | options
    contract = settings.pop("contract")
    found = check_partition(contract, files, partition=partition, **settings)  # type: ignore[arg-type]
    assert [v.check for v in found] == [info.name for info in check_names(CONTRACT)]
    return {v.check: v for v in found}


def failed(found: dict[str, Verdict]) -> set[str]:
    return {name for name, verdict in found.items() if verdict.closes_gate}


def test_an_ordinary_day_long_past_passes_everything(tmp_path: Path) -> None:
    assert failed(judge([day(tmp_path)])) == set()


def test_a_due_day_without_rows_closes_the_gate(tmp_path: Path) -> None:
    found = judge([])
    assert failed(found) == {"row_volume"}
    assert "0 rows" in found["row_volume"].message
    assert failed(judge([day(tmp_path, rows=0)])) == {"row_volume"}


@pytest.mark.parametrize(
    "partition", ["2024-03-09", "2010-12-25", "2011-01-03"], ids=["saturday", "holiday", "last holiday"]
)
def test_a_day_on_which_nothing_is_due_passes_empty(partition: str) -> None:
    assert failed(judge([], partition)) == set()


def test_an_hour_on_a_closed_day_is_not_due_and_a_month_is() -> None:
    closed = ClosedDays(frozenset({5}))
    assert not closed.due("2024-03-09-13:00", "hour")
    assert closed.due("2024-03-01", "month")


def test_the_file_of_another_day_closes_the_gate(tmp_path: Path) -> None:
    assert failed(judge([day(tmp_path, "2024-03-04")])) == {"partition", "freshness"}


def test_a_source_that_fell_silent_is_stale_and_a_promise_is_measured_at_the_days_end(tmp_path: Path) -> None:
    early = [datetime(2024, 3, 5, h, tzinfo=UTC) for h in range(10)]
    assert failed(judge([day(tmp_path, at=early)])) == {"freshness"}
    late = [datetime(2024, 3, 5, h + 3, tzinfo=UTC) for h in range(10)]
    assert failed(judge([day(tmp_path, at=late)])) == set()


def test_an_open_day_is_measured_at_now(tmp_path: Path) -> None:
    morning = [datetime(2024, 3, 5, h, tzinfo=UTC) for h in range(10)]
    now = datetime(2024, 3, 5, 11, tzinfo=UTC)
    assert failed(judge([day(tmp_path, at=morning)], now=now)) == set()


def test_an_event_from_the_future_or_from_before_all_time_closes_the_gate(tmp_path: Path) -> None:
    now = datetime(2024, 3, 5, 11, tzinfo=UTC)
    assert "freshness" in failed(judge([day(tmp_path)], now=now))
    old = [datetime(1970, 1, 1, tzinfo=UTC)] + [datetime(2024, 3, 5, 23, tzinfo=UTC)] * 9
    assert failed(judge([day(tmp_path, at=old)])) == {"partition", "freshness"}


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"id": [None, *range(9)]}, "id in every row, found 1"),
        ({"id": [1, *range(9)]}, "each id once, found 1"),
        ({"kind": ["a"] * 9 + ["z"]}, "kind to be one of a, b, found 1 others such as 'z'"),
        ({"price": [-1.0] + [1.0] * 9}, "price from 0, found -1.0"),
        ({"price": [101.0] + [1.0] * 9}, "price up to 100, found 101.0"),
    ],
)
def test_a_broken_rule_on_values_is_named(tmp_path: Path, columns: dict[str, object], words: str) -> None:
    found = judge([day(tmp_path, **columns)])
    assert failed(found) == {"values"}
    assert words in found["values"].message


def test_a_verdict_says_no_value_of_a_personal_column(tmp_path: Path) -> None:
    """It goes into receipts and logs, from which nobody is ever erased."""
    secret = ("+49 30 1234", 4711.25, "a name too long for it")
    columns = (
        Column("id", "BIGINT", "id", required=True, key=1),
        Column("kind", "STRING", "kind", pattern="[a-z ]+", max_length=8, classification="pii"),
        Column("price", "DOUBLE", "price", minimum=0, maximum=100, classification="PII"),
        Column("at", "TIMESTAMP", "at", required=True),
    )
    guarded = replace(CONTRACT, columns=columns)
    found = judge([day(tmp_path, kind=[secret[0], secret[2]] * 5, price=[secret[1]] * 10)], contract=guarded)
    assert failed(found) == {"values"}
    assert "kind" in found["values"].message and "price up to 100" in found["values"].message
    told = str([(verdict.message, verdict.details) for verdict in found.values()])
    assert not [value for value in secret if str(value) in told]
    for rule, column, value in (("pattern", columns[1], secret[0]), ("maximum", columns[2], secret[1])):
        assert str(value) not in _reason(column, rule, value) and "personal" in _reason(column, rule, value)


def test_nulls_are_no_break_of_ranges_and_enumerations(tmp_path: Path) -> None:
    assert failed(judge([day(tmp_path, kind=[None] * 10, price=[None] * 10)])) == set()


def test_keys_are_judged_over_all_files_of_a_partition(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir(), two.mkdir()
    assert "values" in failed(judge([day(one), day(two)]))


def test_a_dropped_column_breaks_and_an_added_one_warns(tmp_path: Path) -> None:
    path = day(tmp_path)
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["id"]), path)
    found = judge([path])
    assert "schema" in failed(found) and "- id int64" in found["schema"].message
    pq.write_table(table.append_column("note", pa.array(["x"] * 10)), path)
    found = judge([path])
    assert failed(found) == set() and not found["schema"].passed and found["schema"].severity == "warn"
    pq.write_table(table.set_column(2, "price", pa.array(["1"] * 10)), path)
    assert "schema" in failed(judge([path]))


def test_a_day_older_than_an_optional_column_or_a_wider_type_is_told_and_let_through(tmp_path: Path) -> None:
    path = day(tmp_path)
    table = pq.read_table(path)
    # kind has an enumeration, price a range: what is not there breaks neither
    older = table.drop_columns(["kind", "price"]).set_column(0, "id", table.column("id").cast(pa.int32()))
    pq.write_table(older, path)
    verdicts = judge([path])
    assert failed(verdicts) == set() and verdicts["values"].passed
    assert verdicts["schema"].severity == "warn" and not verdicts["schema"].passed
    assert verdicts["schema"].details["diff"] == ["~ id int64 -> int32", "- kind string", "- price double"]


def test_rows_are_judged_by_declared_bounds_whatever_the_history(tmp_path: Path) -> None:
    contract = Contract(**{**CONTRACT.__dict__, "volume": VolumeRule(minimum=50)})
    assert failed(judge([day(tmp_path)], contract=contract)) == {"row_volume"}
    contract = Contract(**{**CONTRACT.__dict__, "volume": VolumeRule(maximum=5)})
    assert failed(judge([day(tmp_path)], contract=contract)) == {"row_volume"}


def test_a_mild_change_of_volume_warns_and_a_gross_one_closes_the_gate(tmp_path: Path) -> None:
    history = {f"2024-{month:02d}-{number:02d}": 100 for month in (1, 2) for number in range(1, 29)}
    found = judge([day(tmp_path, rows=50)], history=history)["row_volume"]
    assert (found.passed, found.severity) == (False, "warn")
    found = judge([day(tmp_path, rows=5)], history=history)["row_volume"]
    assert (found.passed, found.severity) == (False, "error")
    assert found.details["expected"] == 100 and found.details["history"] == 48


def test_an_open_partition_is_not_blamed_for_rows_still_to_come(tmp_path: Path) -> None:
    history = {f"2024-{month:02d}-{number:02d}": 100 for month in (1, 2) for number in range(1, 29)}
    now = datetime(2024, 3, 5, 23, 30, tzinfo=UTC)
    assert judge([day(tmp_path, rows=5)], history=history, now=now)["row_volume"].passed


def test_a_damaged_file_fails_by_name_and_nothing_is_raised(tmp_path: Path) -> None:
    path = day(tmp_path)
    whole = path.read_bytes()
    for damaged in (whole[:-100], whole[:10], b"", b"PAR1" + b"\xff" * 8 + b"PAR1", whole[:-8] + b"\xff\xff\xff\x7fPAR1"):
        path.write_bytes(damaged)
        assert "schema" in failed(judge([path]))
