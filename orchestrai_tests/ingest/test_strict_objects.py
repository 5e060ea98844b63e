"""JSON that a quick parser takes and a strict one does not, and Parquet that is damaged without saying so."""

import json
import struct
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrai.contracts.contract import Column, Contract
from orchestrai.ingest.conversions.json_text import decode_line
from orchestrai.ingest.readers import json_blocks
from orchestrai.ingest.readers.chunks import Untidy
from orchestrai.ingest.readers.json_blocks import line_blocks
from orchestrai.ingest.readers.object_reader import ObjectOutcome, Typing
from orchestrai.ingest.spec import SourceSpec

pytestmark = pytest.mark.usefixtures("by_arrow")

CONTRACT = Contract(
    "t",
    "1",
    (
        Column("id", "BIGINT", "id"),
        Column("name", "STRING", "name"),
        Column("price", "DECIMAL(12,2)", "price"),
        Column("size", "DOUBLE", "size"),
    ),
)
GOOD = '{"id":1,"name":"lamp","price":2.50,"size":1.5}\n'


def read(
    folder: Path, data: bytes, form: str = "jsonl", contract: Contract = CONTRACT, **options: Any
) -> tuple[list[dict[str, Any]], ObjectOutcome]:
    path = folder / "object"
    path.write_bytes(data)
    outcome = ObjectOutcome()
    source = SourceSpec(url="x", format=form, max_refused_share=1, **options)  # type: ignore[arg-type]
    return [row for batch in Typing(source, contract).batches(path, outcome) for row in batch.to_pylist()], outcome


REFUSED = {
    '{"id":1,"id":2}': "expected each key once, found 'id' twice",
    '{"id":1,"\\u0069d":2}': "expected each key once, found 'id' twice",
    '{"id":1,"name":{"a":1,"a":2}}': "expected each key once, found 'a' twice in name",
    '{"id":1,"name":"\\ud800"}': "expected Unicode text, found the lone surrogate \\ud800",
    '{"id":1,"name":"\\udc00x"}': "expected Unicode text, found the lone surrogate \\udc00",
    '{"id":1,"name":["\\ud800"]}': "lone surrogates",
    '{"id":1,"size":NaN}': "expected JSON, found the constant NaN",
    '{"id":1,"size":-Infinity}': "expected JSON, found the constant -Infinity",
    '{"id":1,"name":[NaN]}': "expected JSON, found the constant NaN in name",
    '{"id":1}{"id":2}': "expected JSON, found Extra data",
    '{"id":1} {"id":2}': "expected JSON, found Extra data",
    "null": "expected a JSON object, found NoneType",
    "[1]": "expected a JSON object, found list",
    '{"id":9223372036854775808}': "expected BIGINT, found '9223372036854775808'",
    '{"size":9007199254740993}': "expected DOUBLE, found '9007199254740993'",
    '{"price":12345678901}': "expected DECIMAL(12,2), found '12345678901'",
    '{"id":' + "9" * 5_000 + "}": "expected BIGINT",
}


@pytest.mark.parametrize("line", REFUSED)
@pytest.mark.parametrize("beside", [GOOD, "", GOOD + '{"id":"x"}\n'], ids=["good", "alone", "broken"])
def test_a_record_is_refused_for_what_it_is_whatever_lies_beside_it(tmp_path: Path, line: str, beside: str) -> None:
    _, outcome = read(tmp_path, (GOOD + line + "\n" + beside).encode())
    assert REFUSED[line] in outcome.refused[0].reason
    assert outcome.refused[0].mark.record == 2 and outcome.refused[0].mark.line == 2
    assert len(outcome.refused) == 1 + beside.count('"x"')


def test_text_that_is_no_utf8_is_refused_in_a_field_that_nobody_declared_too(tmp_path: Path) -> None:
    rows, outcome = read(tmp_path, GOOD.encode() + b'{"id":2,"other":"\xff"}\n')
    assert len(rows) == 1 and "found byte 0xff" in outcome.refused[0].reason


@pytest.mark.parametrize("beside", [GOOD, '{"id":"x"}\n'])
def test_what_nobody_declared_is_not_read(tmp_path: Path, beside: str) -> None:
    line = '{"id":7,"other":{"a":NaN,"a":"\\ud800"},"more":-Infinity,"more":1}\n'
    rows, _ = read(tmp_path, (GOOD + line + beside).encode())
    assert rows[1]["id"] == 7


def test_a_record_over_several_lines_is_no_record(tmp_path: Path) -> None:
    rows, outcome = read(tmp_path, (GOOD + '{"id":\n2}\n').encode())
    assert len(rows) == 1 and len(outcome.refused) == 2


def test_a_line_longer_than_declared_is_refused_although_a_quick_parser_takes_it(tmp_path: Path) -> None:
    rows, outcome = read(tmp_path, (GOOD + '{"id":2,"name":"' + "x" * 200 + '"}\n').encode(), max_row_bytes=128)
    assert len(rows) == 1 and "expected at most 128 bytes a row" in outcome.refused[0].reason


def test_numbers_keep_every_digit(tmp_path: Path) -> None:
    columns = (Column("n", "DECIMAL(38,0)", "n"), Column("text", "STRING", "text"))
    line = '{"n":12345678901234567890123456789012345678,"text":{"b":1.10,"a":100000000000000000000}}\n'
    rows, outcome = read(tmp_path, line.encode(), contract=Contract("t", "1", columns))
    assert not outcome.refused and str(rows[0]["n"]) == "12345678901234567890123456789012345678"
    assert rows[0]["text"] == '{"a": 100000000000000000000, "b": 1.10}'


@given(
    lines=st.lists(
        st.sampled_from(
            [
                *REFUSED,
                GOOD.strip(),
                "",
                " ",
                '{"id":2}\r',
                "{}",
                '{"id":3,"name":"Inf, NaN}"}',
                '{"id":4',
                '"a":1}',
                " " + GOOD.strip(),
            ]
        ),
        max_size=5,
    ),
    block_bytes=st.sampled_from([8, 50, json_blocks.BLOCK_BYTES]),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_quick_reading_of_lines_gives_the_rows_and_letters_of_a_careful_one(
    tmp_path: Path, lines: list[str], block_bytes: int
) -> None:
    data = (GOOD + "".join(f"{line}\n" for line in lines)).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_blocks, "BLOCK_BYTES", block_bytes)
        quick, outcome = read(tmp_path, data)
    careful, told = read(tmp_path, data + b'{"id":"x"}\n')
    assert quick == careful
    assert [refused.reason for refused in outcome.refused] == [refused.reason for refused in told.refused[:-1]]


def counted(path: Path, limit: int) -> int | None:
    """The records that may be read quickly, None where the object must be read with care."""
    try:
        return sum(block.records for block in line_blocks(path, limit))
    except Untidy:
        return None


def test_only_lines_of_one_record_each_are_read_quickly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "object"
    for data, records in (
        (b'{"a":1}\n{"a":2}', 2),
        (b'\xef\xbb\xbf{"a":1}\r\n\r\n{"a":2}\r\n', 2),
        (b"null\n", None),
        (b'{"a":\r1}\n', None),
        (b'{"a":1}{"a":2}\n{"a":\n3}\n', None),
        (b"{" + b" " * 1_000 + b"}\n", None),
        (b'{"a":"\xff"}\n', None),
    ):
        path.write_bytes(data)
        for block_bytes in (3, 11, 1 << 20):
            monkeypatch.setattr(json_blocks, "BLOCK_BYTES", block_bytes)
            assert counted(path, 1_000) == records, (data, block_bytes)
    assert decode_line('{"a":1.50}')["a"] == "1.50"


def test_a_page_that_differs_from_its_checksum_refuses_the_object(tmp_path: Path) -> None:
    path = tmp_path / "made.parquet"
    table = pa.table({"id": pa.array(range(1_000), pa.int64()), "name": ["lamp"] * 1_000})
    pq.write_table(table, path, compression="none", use_dictionary=False, write_page_checksum=True, write_statistics=False)
    whole = path.read_bytes()
    rows, outcome = read(tmp_path, whole, "parquet")
    assert len(rows) == 1_000 and not outcome.unreadable
    at = whole.index(struct.pack("<q", 500))
    rows, outcome = read(tmp_path, whole[:at] + struct.pack("<q", 501) + whole[at + 8 :], "parquet")
    assert rows == [] and "CRC checksum" in outcome.unreadable


def test_times_of_96_bits_reach_beyond_2262(tmp_path: Path) -> None:
    path = tmp_path / "made.parquet"
    moment = datetime.fromisoformat("2500-01-02T03:04:05.000006+00:00")
    pq.write_table(
        pa.table({"at": pa.array([moment], pa.timestamp("us", "UTC"))}), path, use_deprecated_int96_timestamps=True
    )
    contract = Contract("t", "1", (Column("at", "TIMESTAMP", "at"),))
    rows, outcome = read(tmp_path, path.read_bytes(), "parquet", contract)
    assert not outcome.refused and rows == [{"at": moment}]


def test_a_parquet_row_that_is_refused_is_told_with_its_number_and_its_values(tmp_path: Path) -> None:
    path = tmp_path / "made.parquet"
    table = pa.table({"id": pa.array([1, 2, 2**62], pa.int64()), "at": pa.array([0, 2**62, 1], pa.timestamp("us"))})
    pq.write_table(table, path)
    contract = Contract("t", "1", (Column("id", "INT", "id"), Column("at", "TIMESTAMP", "at")))
    rows, outcome = read(tmp_path, path.read_bytes(), "parquet", contract)
    assert len(rows) == 1
    assert [(refused.mark.record, refused.column) for refused in outcome.refused] == [(2, "at"), (3, "id")]
    assert json.loads(outcome.refused[1].mark.text)["id"] == 2**62
