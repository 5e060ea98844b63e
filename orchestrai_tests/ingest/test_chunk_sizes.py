"""What becomes of an object does not depend on how much of it is read at a time."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrai.contracts.contract import Column, Contract
from orchestrai.ingest.readers import chunks, json_blocks, lines, object_reader, parquet
from orchestrai.ingest.readers.csv import csv_blocks
from orchestrai.ingest.readers.object_reader import ObjectOutcome, Typing, large_part
from orchestrai.ingest.readers.row_rules import RowRules
from orchestrai.ingest.spec import SourceSpec

KEPT = 3
INPUTS = int(os.environ.get("ORCHESTRAI_TEST_CSV_INPUTS", "1000"))
CONTRACT = Contract(
    "t",
    "1",
    (Column("n", "INT", "n", minimum=0), Column("at", "TIMESTAMP", "at", required=True)),
    event_time="at",
)
RULES = RowRules(CONTRACT, "2026-01-01", "day")
AT = "2026-01-01T01:00:00+00:00"
# what a row of each kind says: good, no number (beyond INT where it must be typed), below the minimum, of another day
ROWS = {"good": (7, AT), "untyped": (2**40, AT), "broken": (-1, AT), "elsewhere": (7, "2026-01-05T01:00:00+00:00")}


@contextmanager
def read_at_a_time(size: int) -> Iterator[None]:
    """So many rows, and few bytes, in one chunk; few refused rows are kept whatever their share."""
    blocks = max(8, 16 * size)
    places: list[tuple[Any, str, Any]] = [
        (chunks, "CAREFUL_ROWS", size),
        (parquet, "BATCH_ROWS", size),
        (csv_blocks, "FIRST_BYTES", blocks),
        (csv_blocks, "BLOCK_BYTES", blocks),
        (json_blocks, "BLOCK_BYTES", blocks),
        (lines, "BLOCK", blocks),
        (object_reader, "ALWAYS_KEPT", KEPT),
        (object_reader, "TINY_BYTES", 0 if size % 2 else 1 << 20),
        # a process of its own for each footer, which are all in order here
        (parquet, "probe", lambda path: None),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in places]
    try:
        for module, name, value in places:
            setattr(module, name, value)
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def write(path: Path, form: str, kinds: list[str], torn: bool) -> None:
    """An object of rows of these kinds; a torn one has no end that can be read."""
    rows = [ROWS[kind] for kind in kinds]
    records = [{"n": n, "at": at} for n, at in rows]
    if form == "csv":
        text = "n,at\n" + "".join(f"{n},{at}\n" for n, at in rows) + ("1,2,3\n" * torn)
    elif form == "jsonl":
        text = "".join(json.dumps(record) + "\n" for record in records) + ("{\n" * torn)
    elif form == "json":
        text = json.dumps({"items": records})
    else:
        text = (
            "".join(json.dumps({"items": records[at : at + 3]}) + "\n" for at in range(0, len(records), 3))
            + "no page\n" * torn
        )
    if form != "parquet":
        path.write_text(text)
        return
    times = pa.array([datetime.fromisoformat(at) for _, at in rows], pa.timestamp("us", "UTC"))
    table = pa.table({"n": pa.array([n for n, _ in rows], pa.int64()), "at": times})
    options: dict[str, Any] = {"use_dictionary": False, "compression": "none", "write_page_checksum": True}
    pq.write_table(table, path, data_page_size=16, write_batch_size=2, **options)
    if torn:
        data, last = bytearray(path.read_bytes()), int(rows[-1][0]).to_bytes(8, "little", signed=True)
        data[data.rindex(last, 0, pq.read_metadata(path).row_group(0).column(1).data_page_offset)] ^= 1
        path.write_bytes(data)


def read(path: Path, form: str, share: float, size: int, *, small: bool) -> tuple[ObjectOutcome, list[dict[str, Any]]]:
    """The object read so many rows at a time, as small or as large ones are."""
    options: dict[str, Any] = {"records": "items"} if form in ("json", "http") else {}
    url = "https://supplier.example/items" if form == "http" else "x"
    typing = Typing(SourceSpec(url=url, format=form, max_refused_share=share, **options), CONTRACT, RULES)  # type: ignore[arg-type]
    outcome = ObjectOutcome()
    with read_at_a_time(size):
        if small:
            batches = list(typing.batches(path, outcome))
            return outcome, pa.Table.from_batches(batches, CONTRACT.arrow_schema()).to_pylist()
        target = path.with_suffix(".part")
        large_part(typing, path, outcome, target).close()
        return outcome, pq.read_table(target, schema=CONTRACT.arrow_schema()).to_pylist()


@pytest.mark.parametrize("form", ["csv", "jsonl", "json", "http", "parquet"])
@given(
    kinds=st.lists(st.sampled_from([*ROWS, "good", "good", "good"]), min_size=1, max_size=40),
    share=st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0]),
    sizes=st.lists(st.integers(1, 45), min_size=2, max_size=2),
    torn=st.booleans(),
)
@settings(max_examples=max(30, INPUTS // 300), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_and_dead_letters_are_the_same_however_much_is_read_at_a_time(
    tmp_path: Path, form: str, kinds: list[str], share: float, sizes: list[int], torn: bool
) -> None:
    path = tmp_path / "object"
    write(path, form, kinds, torn)
    readings = [read(path, form, share, size, small=small) for size in sizes for small in (True, False)]
    assert all(reading == readings[0] for reading in readings[1:])
    outcome, rows = readings[0]
    bad = [number for number, kind in enumerate(kinds, start=1) if kind != "good"]
    if torn and form in ("parquet", "http"):
        assert outcome.unreadable and not rows and not outcome.refused and not outcome.rows
        return
    if torn and form in ("csv", "jsonl"):
        bad.append(len(kinds) + 1)
    assert len(rows) == outcome.rows == outcome.seen - len(bad)
    if len(bad) > max(KEPT, share * outcome.seen):
        assert f"{len(bad) / outcome.seen:.1%} of {outcome.seen}" in outcome.unreadable
        assert [one.mark.record for one in outcome.refused] == bad[: len(outcome.refused)]
        assert len(outcome.refused) >= KEPT
    else:
        assert not outcome.unreadable and [one.mark.record for one in outcome.refused] == bad


def test_rows_that_come_first_are_judged_by_the_share_of_all(tmp_path: Path) -> None:
    path = tmp_path / "object.csv"
    write(path, "csv", ["untyped"] * 50 + ["good"] * 950, torn=False)
    outcome, rows = read(path, "csv", 0.1, 10, small=True)
    assert not outcome.unreadable and len(outcome.refused) == 50 and len(rows) == 950
    assert rows[0]["at"] == datetime.fromisoformat(AT).astimezone(UTC)


def test_of_many_refused_rows_those_that_are_kept_are_few(tmp_path: Path) -> None:
    path = tmp_path / "object.jsonl"
    write(path, "jsonl", ["untyped"] * 500, torn=False)
    outcome, _ = read(path, "jsonl", 0.1, 10, small=False)
    assert "found 100.0% of 500" in outcome.unreadable and len(outcome.refused) == KEPT
    assert outcome.seen == 500
