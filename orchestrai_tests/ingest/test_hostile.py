"""Hostile input: a typed reason each time, bounded memory, and no row lost or told twice."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrai.contracts.contract import Column, Contract
from orchestrai.contracts.footers import check_envelope, check_sizes
from orchestrai.errors import UnreadableObject
from orchestrai.ingest.readers.lines import numbered_lines
from orchestrai.ingest.readers.object_reader import ObjectOutcome, Typing
from orchestrai.ingest.spec import SourceSpec

pytestmark = pytest.mark.usefixtures("by_arrow")

CONTRACT = Contract(
    "t",
    "1",
    (
        Column("id", "BIGINT", "id", required=True),
        Column("name", "STRING", "name"),
        Column("price", "DECIMAL(12,2)", "price"),
        Column("at", "TIMESTAMP", "at"),
    ),
)
GOOD = b"1,lamp,2.50,2024-01-01 00:00:00\n"
HEADER = b"id,name,price,at\n"


def read(folder: Path, data: bytes, **options: object) -> tuple[list[dict[str, object]], ObjectOutcome]:
    path = folder / "object"
    path.write_bytes(data)
    outcome = ObjectOutcome()
    source = SourceSpec(url="x", **{"format": "csv", **options})  # type: ignore[arg-type]
    batches = list(Typing(source, CONTRACT).batches(path, outcome))
    return [row for batch in batches for row in batch.to_pylist()], outcome


CSV_KINDS = {
    "unclosed quote first": (HEADER + b'1,"lamp,2.50,x\n' + GOOD * 9, 9, ["closing quote"]),
    "unclosed quote last": (HEADER + GOOD * 9 + b'2,"lamp,2.50,x\n', 9, ["closing quote"]),
    "unclosed quote without end of line": (HEADER + GOOD * 9 + b'2,"lamp', 9, ["closing quote"]),
    "too few fields": (HEADER + GOOD * 3 + b"2,lamp\n" + GOOD * 3, 6, ["expected 4 fields, found 2"]),
    "too many fields": (HEADER + GOOD * 3 + b"2,a,1,,,,,\n" + GOOD * 3, 6, ["expected 4 fields, found 8"]),
    "text after a quote": (HEADER + b'1,"lamp"x,2.50,\nx\n' + GOOD, 1, ["expected", "expected 4 fields, found 1"]),
    "not utf-8": (HEADER + GOOD + b"2,\xff\xfe,1.00,\n" + GOOD, 2, ["found byte 0xff"]),
    "a word for a number": (HEADER + GOOD + b"two,a,1.00,\n" + GOOD, 2, ["expected BIGINT, found 'two'"]),
    "a hexadecimal number": (HEADER + GOOD + b"0x10,a,1.00,\n", 1, ["expected BIGINT, found '0x10'"]),
    "too many decimals": (HEADER + GOOD + b"2,a,1.005,\n", 1, ["expected DECIMAL(12,2), found '1.005'"]),
    "too large a number": (HEADER + GOOD + b"99999999999999999999,a,1,\n", 1, ["expected BIGINT"]),
    "a day that is none": (HEADER + GOOD + b"2,a,1.00,2023-02-29\n", 1, ["expected TIMESTAMP, found '2023-02-29'"]),
    "mixed line ends": (HEADER.replace(b"\n", b"\r\n") + GOOD + GOOD.replace(b"\n", b"\r") + GOOD + b"\r\n\n", 3, []),
    "only carriage returns": ((HEADER + GOOD * 5).replace(b"\n", b"\r"), 5, []),
    "byte order mark": (b"\xef\xbb\xbf" + HEADER + GOOD, 1, []),
    "blank lines": (HEADER + b"\n\n" + GOOD + b"\n\n" + GOOD + b"\n", 2, []),
    "line ends inside quotes": (HEADER + b'1,"a\nb\r\nc",1.00,\n' + GOOD, 2, []),
    "zero bytes": (HEADER + b"1,a\x00b,1.00,\n" + GOOD, 2, []),
    "a line of 10 MB": (HEADER + GOOD + b"2," + b"x" * 10_000_000 + b",1.00,\n" + GOOD, 2, ["at most 1048576 bytes a row"]),
    "a last line of 10 MB": (HEADER + GOOD + b"2," + b"x" * 10_000_000, 1, ["at most 1048576 bytes a row"]),
    "a quoted field of 10 MB": (HEADER + GOOD + b'2,"' + b"x\n" * 5000 + b'",1.00,\n' + GOOD, 3, []),
}


@pytest.mark.parametrize("kind", CSV_KINDS)
def test_each_kind_of_broken_csv_gives_its_good_rows_and_a_reason_for_each_other(tmp_path: Path, kind: str) -> None:
    data, good, reasons = CSV_KINDS[kind]
    rows, outcome = read(tmp_path, data)
    assert outcome.unreadable == ""
    assert len(rows) == outcome.rows == good
    assert len(outcome.refused) == len(reasons)
    for refused, reason in zip(outcome.refused, reasons, strict=True):
        assert reason in refused.reason
        assert len(refused.mark.text) < 20_000


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty object"),
        (b"\n\n\n", "empty object"),
        (b"\x00" * 100_000, "expected"),
        (bytes(range(256)) * 500, "expected"),
        ((HEADER + GOOD).decode().encode("utf-16"), "expected"),
        (b",".join(b"c%d" % n for n in range(200_000)), "expected"),
        (HEADER.replace(b",", b";") + GOOD.replace(b",", b";"), "expected the columns"),
        (b"id,id,name\n1,2,3\n", "id twice"),
        (b'"' * 100_000, "expected"),
        (b'"\n' * 300_001, "expected"),
        (HEADER + b"a,b\n" * 5_000, "at most 1.00% refused rows, found 100.0%"),
        (b"x" * 20_000_000, "expected"),
    ],
)
def test_an_object_that_is_no_csv_is_refused_whole_with_a_reason(tmp_path: Path, data: bytes, words: str) -> None:
    rows, outcome = read(tmp_path, data)
    assert words in outcome.unreadable
    assert rows == []


JSON_GOOD = b'{"id":1,"name":"lamp","price":2.5,"at":"2024-01-01T00:00:00Z"}\n'
JSON_KINDS = {
    "no object": (JSON_GOOD + b"[1]\n", 1, ["expected a JSON object, found list"]),
    "half a record": (JSON_GOOD + b'{"id":1,', 1, ["expected JSON, found"]),
    "not a number": (JSON_GOOD + b'{"id":1,"price":NaN}\n', 1, ["NaN"]),
    "deep nesting": (JSON_GOOD + b'{"id":' + b"[" * 200_000 + b"\n", 1, ["expected JSON"]),
    "thousands of digits": (JSON_GOOD + b'{"id":' + b"9" * 10_000 + b"}\n", 1, ["expected"]),
    "text for a number": (JSON_GOOD + b'{"id":"one"}\n', 1, ["expected BIGINT, found 'one'"]),
    "a number as text": (JSON_GOOD + b'{"id":"7","name":12}\n', 2, []),
    "lone surrogate": (JSON_GOOD + b'{"id":2,"name":"\\ud800"}\n', 1, ["lone surrogate \\ud800"]),
    "nested value": (JSON_GOOD + b'{"id":{"a":1}}\n', 1, ["expected BIGINT"]),
    "unknown field": (JSON_GOOD + b'{"id":2,"more":{"a":[1]}}\n', 2, []),
    "a line of 10 MB": (JSON_GOOD + b'{"id":2,"name":"' + b"x" * 10_000_000 + b'"}\n' + JSON_GOOD, 2, ["bytes a row"]),
    "byte order mark": (b"\xef\xbb\xbf" + JSON_GOOD, 1, []),
    "not utf-8": (JSON_GOOD + b'{"id":2,"name":"\xff"}\n', 1, ["found byte 0xff"]),
}


@pytest.mark.parametrize("kind", JSON_KINDS)
def test_each_kind_of_broken_json_gives_its_good_rows_and_a_reason_for_each_other(tmp_path: Path, kind: str) -> None:
    data, good, reasons = JSON_KINDS[kind]
    rows, outcome = read(tmp_path, data, format="jsonl")
    assert outcome.unreadable == ""
    assert len(rows) == good
    assert len(outcome.refused) == len(reasons)
    for refused, reason in zip(outcome.refused, reasons, strict=True):
        assert reason in refused.reason


@pytest.mark.parametrize(
    "data", [b"", b"[", b"{}", b'{"data": {"items": 3}}', b'{"data": {"items": [NaN]}}', b"[" * 100_000]
)
def test_a_json_document_without_its_list_is_refused_whole(tmp_path: Path, data: bytes) -> None:
    _, outcome = read(tmp_path, data, format="json", records="data.items")
    assert outcome.unreadable.startswith("expected")


def test_records_inside_a_json_document_are_found_by_their_path(tmp_path: Path) -> None:
    rows, outcome = read(
        tmp_path, b'{"data": {"items": [{"id": 1}, {"id": 2, "price": 1.25}, 7]}}', format="json", records="data.items"
    )
    assert [row["id"] for row in rows] == [1, 2]
    assert "found int" in outcome.refused[0].reason


def parquet(folder: Path, table: pa.Table, **options: object) -> bytes:
    path = folder / "made.parquet"
    pq.write_table(table, path, **options)
    return path.read_bytes()


def test_landed_parquet_is_cast_to_the_contract_and_a_misfit_is_named(tmp_path: Path) -> None:
    table = pa.table({"id": pa.array([1, 2, 3], pa.int32()), "name": ["a", "b", "c"], "price": ["1.00", "x", "2.00"]})
    rows, outcome = read(tmp_path, parquet(tmp_path, table), format="parquet")
    assert [row["id"] for row in rows] == [1, 3]
    assert outcome.refused[0].mark.record == 2 and "found 'x'" in outcome.refused[0].reason
    assert outcome.missing == ("at",)


def test_truncated_flipped_and_foreign_parquet_is_refused_with_a_reason(tmp_path: Path) -> None:
    table = pa.table({"id": list(range(5000)), "name": [f"n{i}" for i in range(5000)]})
    whole = parquet(tmp_path, table)
    for cut in (4, 8, 11, 100, len(whole) // 2, len(whole) - 1):
        rows, outcome = read(tmp_path, whole[:cut], format="parquet")
        assert outcome.unreadable.startswith("expected") and rows == []
    _, outcome = read(tmp_path, whole.replace(b"PAR1", b"PARE"), format="parquet")
    assert outcome.unreadable.startswith("expected")


def test_every_public_damaged_parquet_gives_a_reason_and_no_row(shared_data: Path, tmp_path: Path) -> None:
    files = sorted((shared_data / "parquet_testing" / "bad_data").glob("*.parquet"))
    assert len(files) == 8
    for path in files:
        rows, outcome = read(tmp_path, path.read_bytes(), format="parquet")
        assert outcome.unreadable.startswith("expected"), path.name
        assert rows == []


def test_a_small_parquet_that_unpacks_to_much_is_refused_by_its_footer(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    table = pa.table({"id": [1], "name": ["\0" * 100_000_000]})
    pq.write_table(table, path, compression="zstd", use_dictionary=False, write_statistics=False)
    assert path.stat().st_size < 50_000
    with pytest.raises(UnreadableObject, match="decompression bomb"):
        check_sizes(path.stat().st_size, pq.read_metadata(path))
    _, outcome = read(tmp_path, path.read_bytes(), format="parquet")
    assert "decompression bomb" in outcome.unreadable


@pytest.mark.thorough("the other damaged files are refused")
def test_column_metadata_that_aborts_the_reader_is_refused_and_the_process_lives(tmp_path: Path) -> None:
    whole = parquet(tmp_path, pa.table({"id": [1, 2, 3], "name": ["a", "b", "c"]}))
    rng = random.Random(1)
    for _ in range(25):
        flipped = bytearray(whole)
        for _ in range(6):
            flipped[rng.randrange(len(whole) // 2, len(whole) - 8)] = rng.randrange(256)
        rows, outcome = read(tmp_path, bytes(flipped), format="parquet")
        assert outcome.unreadable or outcome.refused or rows is not None


def test_a_footer_that_claims_more_than_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lies.parquet"
    path.write_bytes(b"PAR1" + b"\0" * 20 + b"\xff\xff\xff\x0fPAR1")
    with pytest.raises(UnreadableObject, match="footer of at most"):
        check_envelope(path)


@given(data=st.binary(max_size=400))
@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_whatever_raise_or_lose_a_row_silently(tmp_path: Path, data: bytes) -> None:
    for form in ("csv", "jsonl", "json"):
        read(tmp_path, data, format=form)
        read(tmp_path, HEADER + data, format=form)


FIELD = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)


@given(
    rows=st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), FIELD), min_size=1, max_size=30),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_fast_and_the_careful_reader_agree_on_tidy_rows(tmp_path: Path, rows: list[tuple[int, str]], end: str) -> None:
    lines = ["id,name"] + [f'{number},"{text.replace(chr(34), chr(34) * 2)}"' for number, text in rows]
    tidy = (end.join(lines) + end).encode()
    first, outcome = read(tmp_path, tidy)
    assert not outcome.refused and not outcome.unreadable
    second, careful = read(tmp_path, tidy + f"x,y{end}".encode(), max_refused_share=1)
    assert len(careful.refused) == 1
    assert first == second
    assert [row["id"] for row in first] == [number for number, _ in rows]


@given(blocks=st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\r\n", b"bc", b"x" * 70]), max_size=40))
@settings(max_examples=200)
def test_lines_carry_their_number_and_offset_whatever_ends_them(blocks: list[bytes]) -> None:
    import io

    data = b"".join(blocks)
    found = list(numbered_lines(io.BytesIO(data), 64))
    expected, offset = [], 0
    for number, line in enumerate(data.splitlines(keepends=True), start=1):
        expected.append((number, offset, line[:64], len(line) <= 64))
        offset += len(line)
    assert found == expected


WORKER = """
import json, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from orchestrai_tests.ingest.test_hostile import CSV_KINDS, JSON_KINDS, read, Path
folder = Path({folder!r})
for data, *_ in CSV_KINDS.values():
    read(folder, data)
for data, *_ in JSON_KINDS.values():
    read(folder, data, format="jsonl")
for path in sorted(Path({bad!r}).glob("*.parquet")) + [folder / "bomb.parquet"]:
    read(folder, path.read_bytes(), format="parquet")
(folder / "big").write_bytes(b"")
with open(folder / "big", "wb") as sink:
    sink.write(b"id,name,price,at\\n")
    for _ in range(8):
        sink.write(b"1,lamp,2.50,2024-01-01 00:00:00\\n" * 100_000)
    sink.write(b"torn")
from orchestrai.ingest.readers.object_reader import large_part
from orchestrai.ingest.readers.object_reader import Typing, ObjectOutcome
from orchestrai.ingest.spec import SourceSpec
from orchestrai_tests.ingest.test_hostile import CONTRACT
outcome = ObjectOutcome()
large_part(Typing(SourceSpec(url="x", format="csv"), CONTRACT), folder / "big", outcome, folder / "part").close()
assert outcome.rows == 800_000 and len(outcome.refused) == 1, outcome.rows
# not ru_maxrss, which a child inherits from the process that started it
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(json.dumps(int(peak.split()[1]) // 1024))
"""


@pytest.mark.thorough("each hostile object is tried alone")
def test_all_of_it_stays_under_512_mib_in_one_process_that_lives(shared_data: Path, tmp_path: Path) -> None:
    table = pa.table({"id": [1], "name": ["\0" * 200_000_000]})
    pq.write_table(table, tmp_path / "bomb.parquet", compression="zstd", use_dictionary=False, write_statistics=False)
    script = WORKER.format(
        root=str(Path(__file__).resolve().parents[2]),
        folder=str(tmp_path),
        bad=str(shared_data / "parquet_testing" / "bad_data"),
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    peak = json.loads(done.stdout.splitlines()[-1])
    assert peak < 512, f"{peak} MiB"


NUMBERS = Contract(
    "n",
    "1",
    (
        Column("id", "BIGINT", "id"),
        Column("few", "INT", "few"),
        Column("price", "DOUBLE", "price"),
        Column("at", "TIMESTAMP", "at"),
    ),
)
WAYS = st.sampled_from(
    """
    0|1|-7|+1| 1|1 |01|1.0|1.50|1e3|-0|0x10|0X1F|nan|inf|-Infinity|1_000|2147483648|9223372036854775808|1.7976931348623157e309|1,5|t|
    true|NULL|\u0661|1\u00a0|2024-01-01|2024-01-01 10:00|2024-01-01T10:00:00.123456|2024-01-01T10:00:00.1234567|
    2024-01-01T10:00:00Z|2024-01-01 10:00:00+02:00| 2024-01-01|2024-02-30|24:00|20240101|1700000000|2024-01-01 24:00:00|
    """.replace("\n    ", "").split("|")
)
PLAIN = st.tuples(
    st.integers(-(2**63), 2**63 - 1).map(str),
    st.integers(-(2**31), 2**31 - 1).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.datetimes().map(lambda moment: moment.isoformat(sep=" ")),
)


@given(plain=st.lists(PLAIN, max_size=3), odd=st.lists(st.tuples(WAYS, WAYS, WAYS, WAYS), min_size=1, max_size=4))
@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_numbers_and_times_typed_by_arrow_are_those_that_the_careful_reader_finds(
    tmp_path: Path, plain: list[tuple[str, ...]], odd: list[tuple[str, ...]]
) -> None:
    path = tmp_path / "object"
    rows = ["id,few,price,at", *(";".join(row) for row in (*plain, *odd))]
    data = "\n".join([rows[0].replace(",", ";"), *rows[1:]]) + "\n"
    found = []
    for text in (data, data + "torn\n"):
        path.write_text(text)
        outcome = ObjectOutcome()
        source = SourceSpec(url="x", format="csv", delimiter=";", max_refused_share=1)
        batches = list(Typing(source, NUMBERS).batches(path, outcome))
        reasons = [(r.mark.line, r.column, r.reason) for r in outcome.refused if r.column]
        found.append(([row for batch in batches for row in batch.to_pylist()], reasons, outcome.unreadable))
    assert repr(found[0]) == repr(found[1])
