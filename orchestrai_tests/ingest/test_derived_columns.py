"""Columns that no source sends: made from others, from the object's name and from the row's place, the same in every format."""

from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrai.contracts.contract import Contract
from orchestrai.contracts.odcs import load_contract
from orchestrai.contracts.schema_change import compare_contracts
from orchestrai.errors import ConfigError, DeclarationError
from orchestrai.ingest.incremental import check_source
from orchestrai.ingest.readers.object_reader import ObjectOutcome, Typing, large_part
from orchestrai.ingest.readers.spark_typing import Original, typed_group
from orchestrai.ingest.sources.stream import MicroBatch
from orchestrai.ingest.sources.stream_records import StreamRecord
from orchestrai.ingest.sources.stream_rows import sliced
from orchestrai.ingest.spec import SourceSpec
from orchestrai.ledger.ledger import Ledger
from orchestrai.storage.local import LocalStore
from orchestrai.storage.zstd_stream import write_frame
from orchestrai_tests.running import ingest

pytestmark = pytest.mark.usefixtures("by_arrow")

HEAD = """\
kind: DataContract
apiVersion: v3.0.2
id: air
name: air
version: 1.0.0
status: active
schema:
  - name: air
    properties:
"""
AIR = """\
      - {name: year, physicalType: INT, required: true}
      - {name: month, physicalType: INT, required: true}
      - {name: day, physicalType: BIGINT, required: true}
      - {name: hour, physicalType: INT, required: true}
      - {name: station, physicalType: STRING}
      - {name: level, physicalType: DOUBLE}
      - name: at
        physicalType: TIMESTAMP
        required: true
        customProperties: [{property: derive, value: {time: {year: year, month: month, day: day, hour: hour}}}]
      - {name: held, physicalType: DATE, customProperties: [{property: derive, value: {time: {year: year, month: month, day: day}}}]}
      - name: id
        physicalType: STRING
        primaryKey: true
        customProperties: [{property: derive, value: {key: [station, held, hour]}}]
      - {name: number, physicalType: INT, customProperties: [{property: derive, value: {row: number}}]}
      - {name: batch, physicalType: DATE, customProperties: [{property: derive, value: {name: 'run-([0-9-]+)/'}}]}
customProperties:
  - {property: eventTime, value: at}
"""
FIRST = {
    "at": datetime(2026, 1, 2, 3, tzinfo=UTC),
    "held": date(2026, 1, 2),
    "id": "north|2026-01-02|3",
    "number": 1,
    "batch": date(2026, 1, 3),
}
NAME = "run-2026-01-03/2026-01-02.csv"
HEADER = "year,month,day,hour,station,level\n"


def contract(folder: Path, properties: str = AIR) -> Contract:
    path = folder / "air.contract.yaml"
    path.write_text(HEAD + properties)
    return load_contract(path)


def read(folder: Path, text: str, *, name: str = NAME, **options: Any) -> tuple[list[dict[str, Any]], ObjectOutcome]:
    path, outcome = folder / "object.csv", ObjectOutcome()
    path.write_text(text)
    typing = Typing(SourceSpec(url="x", **{"format": "csv", "max_refused_share": 1, **options}), contract(folder))
    return [row for batch in typing.batches(path, outcome, name) for row in batch.to_pylist()], outcome


def test_a_composite_clock_a_key_a_name_and_a_number_become_columns(tmp_path: Path) -> None:
    rows, outcome = read(tmp_path, HEADER + "2026,1,2,3,north,0.5\n2026,1,2,4,south,\n")
    assert not outcome.refused and not outcome.missing and not outcome.extra
    assert {name: rows[0][name] for name in FIRST} == FIRST
    assert (rows[1]["id"], rows[1]["number"], rows[1]["at"]) == (
        "south|2026-01-02|4",
        2,
        datetime(2026, 1, 2, 4, tzinfo=UTC),
    )


def test_json_and_parquet_give_the_same_rows(tmp_path: Path) -> None:
    record = {"year": 2026, "month": 1, "day": 2, "hour": 3, "station": "north", "level": 0.5}
    lines, columns = tmp_path / "a.jsonl", tmp_path / "a.parquet"
    lines.write_text('{"year": 2026, "month": 1, "day": 2, "hour": 3, "station": "north", "level": 0.5}\n')
    pq.write_table(pa.Table.from_pylist([record]), columns)
    for path, form in ((lines, "jsonl"), (columns, "parquet")):
        typing = Typing(SourceSpec(url="x", format=form), contract(tmp_path))  # type: ignore[arg-type]
        rows = [row for batch in typing.batches(path, ObjectOutcome(), NAME) for row in batch.to_pylist()]
        assert [{name: row[name] for name in FIRST} for row in rows] == [FIRST]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("2026,2,29,3,north,", "expected a TIMESTAMP that the calendar has, found year 2026, month 2, day 29, hour 3"),
        ("2026,1,2,24,north,", "expected a TIMESTAMP that the calendar has, found year 2026, month 1, day 2, hour 24"),
        ("2026,13,2,3,north,", "expected a TIMESTAMP that the calendar has, found year 2026, month 13, day 2, hour 3"),
        ("0,1,2,3,north,", "expected a TIMESTAMP that the calendar has, found year 0, month 1, day 2, hour 3"),
        ("2026,1,2,3,no|rth,", "expected no '|', which separates the key, in station, found 'no|rth'"),
    ],
)
def test_what_cannot_be_made_is_a_dead_letter_and_the_other_rows_keep_their_numbers(
    tmp_path: Path, row: str, reason: str
) -> None:
    rows, outcome = read(tmp_path, f"{HEADER}2026,1,2,1,a,\n{row}\n2026,1,2,5,b,\n")
    assert [(r["number"], r["station"]) for r in rows] == [(1, "a"), (3, "b")]
    assert [refused.reason for refused in outcome.refused] == [reason]


def test_a_part_that_is_null_makes_a_null(tmp_path: Path) -> None:
    rows, outcome = read(tmp_path, HEADER + "2026,1,2,,north,\n2026,1,2,3,,\n")
    assert [(row["at"], row["id"]) for row in rows] == [(None, None), (FIRST["at"], None)] and not outcome.refused


def test_the_clock_of_the_source_reads_a_made_time_too(tmp_path: Path) -> None:
    text = HEADER + "2026,1,2,3,north,\n2026,3,8,2,north,\n2026,11,1,1,north,\n"
    rows, outcome = read(tmp_path, text, timezone="America/Los_Angeles")
    assert [row["at"] for row in rows] == [datetime(2026, 1, 2, 11, tzinfo=UTC)]
    assert all("the clocks of America/Los_Angeles skip or show twice" in refused.reason for refused in outcome.refused)
    rows, outcome = read(tmp_path, text, timezone="America/Los_Angeles", ambiguous="later")
    assert [row["at"] for row in rows][1:] == [datetime(2026, 11, 1, 9, tzinfo=UTC)] and len(outcome.refused) == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("2026-01-02.csv", "expected a name like run-([0-9-]+)/, found '2026-01-02.csv'"),
        ("run-2026-02-30/a.csv", "expected DATE in the name 'run-2026-02-30/a.csv', found '2026-02-30'"),
    ],
)
def test_a_name_that_tells_nothing_refuses_its_rows(tmp_path: Path, name: str, reason: str) -> None:
    rows, outcome = read(tmp_path, HEADER + "2026,1,2,3,north,\n", name=name)
    assert not rows and [refused.reason for refused in outcome.refused] == [reason]


CELLS = st.lists(
    st.tuples(st.integers(1999, 2001), st.integers(0, 13), st.integers(0, 32), st.integers(-1, 24)), min_size=1, max_size=30
)


@settings(max_examples=60, deadline=None)
@given(CELLS)
def test_the_careful_way_makes_what_the_fast_way_makes(
    tmp_path_factory: Any, cells: list[tuple[int, int, int, int]]
) -> None:
    """Python's calendar is the judge; a large object is read in the same way as a small one."""
    folder = tmp_path_factory.mktemp("derived")
    text = HEADER + "".join(f"{y},{m},{d},{h},s{n},\n" for n, (y, m, d, h) in enumerate(cells))
    expected = []
    for number, (year, month, day, hour) in enumerate(cells, start=1):
        try:
            expected.append((number, datetime(year, month, day, hour, tzinfo=UTC)))
        except ValueError:
            continue
    rows, outcome = read(folder, text)
    assert [(row["number"], row["at"]) for row in rows] == expected
    assert len(outcome.refused) == len(cells) - len(expected)
    large = ObjectOutcome()
    typing = Typing(SourceSpec(url="x", format="csv", max_refused_share=1), contract(folder))
    large_part(typing, folder / "object.csv", large, folder / "part", name=NAME).close()
    assert pq.read_table(folder / "part").to_pylist() == rows


@pytest.mark.parametrize("packed", [False, True])
def test_spark_makes_the_same_part(tmp_path: Path, packed: bool) -> None:
    lake = LocalStore(tmp_path / "lake")
    text = (HEADER + "2026,1,2,3,north,0.5\n").encode()
    if packed:
        write_frame(lake, "original", [text])
    else:
        lake.write("original", [text])
    typing = Typing(SourceSpec(url="x", format="csv"), contract(tmp_path))
    original = Original(0, "original", NAME, len(text), sha256(text).hexdigest(), len(text) if packed else -1)
    typed_group(f"{tmp_path}/lake", typing, [original], "part")
    (row,) = pq.read_table(tmp_path / "lake" / "part").to_pylist()
    assert {name: row[name] for name in FIRST} == FIRST


def test_made_columns_are_published_with_their_lineage(ledger: Ledger, tmp_path: Path) -> None:
    landing = LocalStore(tmp_path / "landing")
    landing.write(NAME, [(HEADER + "2026,1,2,3,north,0.5\n2026,1,2,4,north,0.6\n").encode()])
    source = SourceSpec(url="x", format="csv")
    report = ingest(
        ledger,
        asset="t/air/raw_events",
        landing=landing,
        source=source,
        contract=contract(tmp_path),
        grain="day",
        partitions=["2026-01-02"],
        now=datetime(2026, 2, 1, tzinfo=UTC),
    )
    assert not report.refused
    published = ledger.open("t/air/raw_events")
    assert [material.uri.rsplit("landing/", 1)[1] for material in published.receipt("2026-01-02").materials] == [NAME]
    with published.fetched(["2026-01-02"]) as files:
        rows = pq.read_table(files["2026-01-02"][0].path).to_pylist()
    assert [row["id"] for row in rows] == ["north|2026-01-02|3", "north|2026-01-02|4"]


def column(derive: str, kind: str = "STRING", more: str = "") -> str:
    body = f"{{name: made, physicalType: {kind}, customProperties: [{{property: derive, value: {derive}}}]{more}}}"
    return f"""\
      - {{name: a, physicalType: INT}}
      - {{name: b, physicalType: STRING, classification: pii}}
      - {{name: c, physicalType: DOUBLE}}
      - {body}
"""


@pytest.mark.parametrize(
    ("properties", "mistake"),
    [
        (column("{sql: a + 1}"), "one of time, key, name, row with what it is made from"),
        (column("{key: [a]}"), "a list of at least two columns"),
        (column("{key: [a, z]}"), "a landed column or one derived above, found 'z'"),
        (column("{key: [a, made]}"), "a landed column or one derived above, found 'made'"),
        (column("{key: [a, c]}"), "expected STRING or BIGINT or INT or BOOLEAN or DATE or DECIMAL for a part of a key"),
        (column("{key: [a, b]}"), "expected the classification pii, as b has it, found none"),
        (column("{key: [a, b], separator: ''}", more=", classification: pii"), "a separator of one character"),
        (column("{time: {year: a, month: a}}"), "the type TIMESTAMP or DATE for time, found STRING"),
        (column("{time: {year: a}}", "DATE"), "date, or year, month and perhaps day, found year"),
        (column("{time: {year: a, month: a, minute: a}}", "TIMESTAMP"), "hour before minute before second, found minute"),
        (
            column("{time: {year: a, month: a, day: a, hour: a}}", "DATE"),
            "the type TIMESTAMP for a time with hours, found DATE",
        ),
        (column("{time: {year: b, month: a}}", "DATE"), "BIGINT or INT for year, found b of STRING"),
        (column("{row: count}", "INT"), "expected number, found 'count'"),
        (column("{row: number}"), "the type BIGINT or INT for row, found STRING"),
        (column("{name: 'a.csv'}"), "a regular expression with one group"),
        (column("{name: '(a'}"), "expected a regular expression, found '(a'"),
        (column("{row: number}", "INT", ", physicalName: n"), "none for a derived column, which no source sends"),
    ],
)
def test_a_wrong_derivation_is_a_mistake_of_the_contract(tmp_path: Path, properties: str, mistake: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        contract(tmp_path, properties)
    assert mistake in caught.value.message and "air.contract.yaml:" in caught.value.message


def test_a_stream_has_made_columns_by_which_its_records_are_placed(tmp_path: Path) -> None:
    of_parts = contract(
        tmp_path, AIR.split("      - {name: number")[0] + "customProperties: [{property: eventTime, value: at}]\n"
    )
    now = datetime(2026, 2, 1, tzinfo=UTC)
    bodies = [b'{"year": 2026, "month": 1, "day": %d, "hour": 3, "station": "north"}' % day for day in (2, 2, 32)]
    records = tuple(StreamRecord(0, number, now, body, None, ()) for number, body in enumerate(bodies))
    slices = sliced(MicroBatch("log", "air", {}, records), of_parts, "day", lambda _: set())
    assert list(slices) == ["2026-01-02"] and slices["2026-01-02"].rows.column("id").to_pylist() == ["north|2026-01-02|3"]
    reasons = [letter.reason for letter in slices["2026-01-02"].letters]
    assert (
        "expected a new primary key" in reasons[0]
        and "that the calendar has, found year 2026, month 1, day 32" in reasons[1]
    )


def test_a_column_that_is_made_otherwise_is_a_breaking_change(tmp_path: Path) -> None:
    change = compare_contracts(contract(tmp_path), contract(tmp_path, AIR.replace("[station, held, hour]", "[held, hour]")))
    assert (change.kind, change.lines) == ("breaking", ("~ id: made otherwise from now on",))


def test_what_only_objects_have_is_refused_of_a_stream(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the number of a row in it"):
        check_source(SourceSpec(url="log://air", format="jsonl"), contract(tmp_path), "day")


CLOCKED = """\
      - {name: day, physicalType: DATE}
      - {name: time, physicalType: STRING}
      - {name: at, physicalType: TIMESTAMP, customProperties: [{property: derive, value: {time: {date: day, clock: time}}}]}
"""


def test_a_date_and_a_clock_in_text_become_a_moment(tmp_path: Path) -> None:
    path, outcome = tmp_path / "object.csv", ObjectOutcome()
    path.write_text(
        "day,time\n2026-01-02,14:05\n2026-01-02,9.05.30\n2026-01-02,\n2026-01-02,24:00\n2026-01-02,noon\n2026-01-02,2:30\n"
    )
    typing = Typing(SourceSpec(url="x", format="csv", max_refused_share=1), contract(tmp_path, CLOCKED))
    rows = [row for batch in typing.batches(path, outcome) for row in batch.to_pylist()]
    assert [row["at"] for row in rows] == [
        datetime(2026, 1, 2, 14, 5, tzinfo=UTC),
        datetime(2026, 1, 2, 9, 5, 30, tzinfo=UTC),
        None,
        datetime(2026, 1, 2, 2, 30, tzinfo=UTC),
    ]
    assert [letter.reason.rpartition(", ")[2] for letter in outcome.refused] == ["clock 24:00", "clock noon"]


@pytest.mark.parametrize("parts", ["{clock: time}", "{date: day, hour: h, clock: time}", "{year: y, month: m, clock: time}"])
def test_a_clock_stands_alone_beside_a_day(tmp_path: Path, parts: str) -> None:
    with pytest.raises(DeclarationError):
        contract(tmp_path, CLOCKED.replace("{date: day, clock: time}", parts))
