"""What CSV is: RFC 4180 where nothing is declared, and each part of a declared dialect."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrai.contracts.contract import Column, Contract
from orchestrai.ingest.readers.csv.csv_dialect import CsvDialect
from orchestrai.ingest.readers.object_reader import ObjectOutcome, Typing
from orchestrai.ingest.spec import SourceSpec
from orchestrai_tests.docs.pages import ROOT

pytestmark = pytest.mark.usefixtures("by_arrow")

CONTRACT = Contract("t", "1", tuple(Column(name, "STRING", name) for name in "ab"))
NUMBERS = Contract("t", "1", (Column("a", "DOUBLE", "a"), Column("b", "BIGINT", "b")))


def landed(
    folder: Path, data: bytes, contract: Contract = CONTRACT, **options: object
) -> tuple[list[tuple[object, ...]], list[tuple[int, str]]]:
    """The rows of an object and the lines and reasons of what was refused; the reason alone where it is unreadable."""
    path = folder / "object"
    path.write_bytes(data)
    outcome = ObjectOutcome()
    source = SourceSpec(url="x", format="csv", max_refused_share=1, **options)  # type: ignore[arg-type]
    batches = list(Typing(source, contract).batches(path, outcome))
    rows = [tuple(row.values()) for batch in batches for row in batch.to_pylist()]
    refused = [(one.mark.line, one.reason) for one in outcome.refused]
    return rows, [(0, outcome.unreadable)] if outcome.unreadable else refused


STRICT = {
    "a quote that never closes": (b'1,x\n2,"y\n3,z\n', [("1", "x"), ("3", "z")], [(3, "expected a closing quote")]),
    "a cut within quotes": (b'1,x\n2,"y', [("1", "x")], [(3, "expected a closing quote")]),
    "text behind a closing quote": (b'1,"x"y\n2,z\n', [("2", "z")], [(2, "behind a closing quote, found 'y'")]),
    "a blank behind a closing quote": (b'1,"x" \n2,z\n', [("2", "z")], [(2, "behind a closing quote, found ' '")]),
    "a backslash before a quote": (
        b'1,"say \\"hi\\" now"\n',
        [],
        [(2, "found 'h': declare escape where a backslash is one")],
    ),
    "a backslash before the last quote": (b'1,"x\\"\n2,y\n', [("1", "x\\"), ("2", "y")], []),
    "a quote within a bare field": (b'1,5" pipe\n2,y\n', [("2", "y")], [(2, "expected quotes around a whole field")]),
    "a quote behind a blank": (b'1, "x"\n2,y\n', [("2", "y")], [(2, "expected quotes around a whole field")]),
    "too few and too many": (b"1\n1,x,y\n1,x\n", [("1", "x")], [(2, "expected 2 fields, found 1"), (3, "found 3")]),
    "a trailing delimiter": (b"1,x,\n", [], [(2, "expected 2 fields, found 3")]),
    "no line end at the end": (b"1,x\n2,y", [("1", "x"), ("2", "y")], []),
    "empty and quoted empty": (b'1,\n2,""\n"",x\n', [("1", None), ("2", None), (None, "x")], []),
    "delimiters, quotes and line ends in quotes": (b'1,"x,""y""\r\nz"\n', [("1", 'x,"y"\r\nz')], []),
    "all line ends at once": (b"1,x\r2,y\r\n3,z\n\r\n", [("1", "x"), ("2", "y"), ("3", "z")], []),
    "a byte that is no text": (b"1,x\n\xff,y\n", [("1", "x")], [(3, "found byte 0xff at 8")]),
}


@pytest.mark.parametrize("case", STRICT)
def test_without_a_dialect_csv_is_what_rfc_4180_says(tmp_path: Path, case: str) -> None:
    data, rows, refused = STRICT[case]
    found, reasons = landed(tmp_path, b"a,b\n" + data)
    assert found == rows
    assert [line for line, _ in reasons] == [line for line, _ in refused]
    for (_, reason), (_, words) in zip(reasons, refused, strict=True):
        assert words in reason


def test_bytes_that_are_no_text_are_refused_whether_their_column_is_wanted_or_not(tmp_path: Path) -> None:
    rows, refused = landed(tmp_path, b"a,b,more\n1,x,\xff\n2,y,z\n")
    assert rows == [("2", "y")]
    assert refused == [(2, "expected utf-8 text, found byte 0xff at 13")]


def test_a_field_of_any_length_that_fits_the_row_is_read(tmp_path: Path) -> None:
    long = "x" * 200_000
    rows, refused = landed(tmp_path, f'a,b\n1,"{long}"\n2,"y\ntorn"\n3\n'.encode())
    assert rows == [("1", long), ("2", "y\ntorn")] and [line for line, _ in refused] == [5]


def test_a_row_beyond_its_limit_is_refused_though_the_object_is_in_order(tmp_path: Path) -> None:
    rows, refused = landed(tmp_path, b"a,b\n1,x\n2," + b"y" * 80 + b'\n3,"' + b"z\n" * 40 + b'"\n4,w\n', max_row_bytes=64)
    assert ("1", "x") in rows and ("4", "w") in rows
    assert refused[0] == (3, "expected at most 64 bytes a row, found more")
    assert refused[1] == (4, "expected a closing quote, found none")


DIALECTS = {
    "escape": (b'a,b\n1,"say \\"hi\\" now"\n2,a\\,b\n', {"escape": "\\"}, [("1", 'say "hi" now'), ("2", "a,b")]),
    "escape before a line end": (b"a,b\n1,x\\\r\ny\n", {"escape": "\\"}, [("1", "x\r\ny")]),
    "escaped null": (b"a,b\n\\N,N\n\\\\N,x\n", {"escape": "\\", "null_values": ("\\N",)}, [(None, "N"), (None, "x")]),
    "no doubled quotes": (b'a,b\n1,"x\\"y"\n', {"escape": "\\", "double_quote": False}, [("1", 'x"y')]),
    "delimiter and quote": (b"a;b\n1;'x;''y'''\n", {"delimiter": ";", "quote": "'"}, [("1", "x;'y'")]),
    "a delimiter beyond ASCII": ("a¦b\n1¦x\n".encode(), {"delimiter": "¦"}, [("1", "x")]),
    "tabs": (b"a\tb\n1\t\n", {"delimiter": "\t"}, [("1", None)]),
    "no quotes": (b'a,b\n1,5" pipe\n"2","x"\n', {"quote": ""}, [("1", '5" pipe'), ('"2"', '"x"')]),
    "leading lines": (b'shop "7\n\na,b\n1,x\n', {"skip_lines": 2}, [("1", "x")]),
    "footer lines": (b"a,b\n1,x\n\ntotal\n1 row\r\n\r\n", {"footer_lines": 2}, [("1", "x")]),
    "comments": (b'# shop\na,b\n1,x\n# "told\n2,"y\n# not"\n', {"comment": "#"}, [("1", "x"), ("2", "y\n# not")]),
    "null values": (b'a,b\nNA,"NA"\n-,\n', {"null_values": ("NA", "-")}, [(None, None), (None, "")]),
    "no header": (b"1,x\n", {"header": False, "columns": ("a", "b")}, [("1", "x")]),
    "no header behind leading lines": (b"t\n1,x\n", {"header": False, "columns": ("b", "a"), "skip_lines": 1}, [("x", "1")]),
    "an unnamed first column": (b"a,b\n7,1,x\n", {"skip_leading_column": True}, [("1", "x")]),
}


@pytest.mark.parametrize("case", DIALECTS)
def test_a_declared_dialect_is_read_as_it_was_meant(tmp_path: Path, case: str) -> None:
    data, options, rows = DIALECTS[case]
    assert landed(tmp_path, data, **options) == (rows, [])


TEXT = "a,b\n1,café €\n2,x\n"


@pytest.mark.parametrize(
    ("written", "declared"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8"),
        ("utf-8", "utf-8-sig"),
        ("cp1252", "cp1252"),
        ("iso8859-15", "latin9"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "UTF-16BE"),
        ("utf-32", "utf-32"),
        ("gb18030", "gb18030"),
    ],
)
def test_an_object_is_read_in_its_declared_encoding(tmp_path: Path, written: str, declared: str) -> None:
    assert landed(tmp_path, TEXT.encode(written), encoding=declared) == ([("1", "café €"), ("2", "x")], [])


@pytest.mark.parametrize("mark, order", [(b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")])
def test_the_byte_order_mark_decides_where_the_encoding_leaves_it_open(tmp_path: Path, mark: bytes, order: str) -> None:
    for declared in ("utf-16", order):
        assert landed(tmp_path, mark + TEXT.encode(order), encoding=declared)[0] == [("1", "café €"), ("2", "x")]


@pytest.mark.parametrize(
    ("data", "declared", "words"),
    [
        (TEXT.encode("utf-16-le"), "utf-16", "expected utf-16 with a byte order mark, found none"),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), "utf-16-le", "found the byte order mark of utf-16-be"),
        (TEXT.encode("utf-16"), "utf-8", "declare encoding: utf-16"),
        ("a\udcff,b\n1,x\n".encode("utf-8", "surrogateescape"), "utf-8", "found byte 0xff at 1"),
    ],
)
def test_an_object_of_another_encoding_is_unreadable_with_a_remedy(
    tmp_path: Path, data: bytes, declared: str, words: str
) -> None:
    rows, ((_, reason),) = landed(tmp_path, data, encoding=declared)
    assert rows == [] and words in reason


def test_what_cannot_be_decoded_is_a_dead_letter_with_the_place_in_the_object_as_it_landed(tmp_path: Path) -> None:
    rows, refused = landed(tmp_path, "a,b\né,x\n".encode("cp1252") + b"1,\x81\n2,y\n", encoding="cp1252")
    assert rows == [("é", "x"), ("2", "y")]
    assert refused == [(3, "expected cp1252 text, found byte 0x81 at 10")]
    lone = "a,b\n€,x\n1,".encode("utf-16") + b"\x00\xd8" + "\n2,y\n".encode("utf-16-le")
    rows, refused = landed(tmp_path, lone, encoding="utf-16")
    assert rows == [("€", "x"), ("2", "y")]
    assert refused == [(3, "expected utf-16 text, found byte 0x00 at 22")]
    rows, refused = landed(tmp_path, TEXT.encode("utf-16")[:-1], encoding="utf-16")
    assert rows == [("1", "café €")] and refused == [(3, "expected utf-16 text, found byte 0x0a at 34")]


MARKS = {
    "a decimal comma": ({"decimal": ","}, b"1,5;7", (1.5, 7), ""),
    "groups and a comma": ({"decimal": ",", "thousands": "."}, b"1.234.567,5;1.000", (1234567.5, 1000), ""),
    "groups by a blank": ({"thousands": " "}, b"-1 234.5;+12 000", (-1234.5, 12000), ""),
    "no groups where they may be": ({"thousands": ","}, b"1234567.5;1000", (1234567.5, 1000), ""),
    "a point where a comma is meant": (
        {"decimal": ","},
        b"1.5;7",
        None,
        "expected DOUBLE with the decimal mark ',', found '1.5'",
    ),
    "a group of two": ({"decimal": ",", "thousands": "."}, b"1.23;7", None, "and groups of three by '.', found '1.23'"),
    "a group that is none": ({"decimal": ",", "thousands": "."}, b"1;1.0000", None, "expected BIGINT"),
    "a part of a whole number": ({"decimal": ","}, b"1;7,5", None, "expected BIGINT, found '7.5'"),
}


@pytest.mark.parametrize("case", MARKS)
def test_numbers_are_read_by_their_declared_marks_or_refused(tmp_path: Path, case: str) -> None:
    options, data, row, words = MARKS[case]
    rows, refused = landed(tmp_path, b"a;b\n" + data + b"\n;\n", NUMBERS, delimiter=";", **options)
    assert rows == ([] if row is None else [row]) + [(None, None)]
    assert [line for line, _ in refused] == ([2] if row is None else [])
    assert all(words in reason for _, reason in refused)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"delimiter": '"'}, "expected delimiter, quote and escape to differ"),
        ({"escape": ","}, "expected delimiter, quote and escape to differ"),
        ({"delimiter": "\n"}, "expected a delimiter other than a line end"),
        ({"delimiter": "||"}, "at most 1 character"),
        ({"thousands": "."}, "expected two marks that are in no number"),
        ({"decimal": "e"}, "expected two marks that are in no number"),
        ({"comment": '"x'}, "expected a comment that begins no record"),
        ({"columns": ("a",)}, "expected header: false beside columns"),
        ({"encoding": "base64"}, "expected an encoding of text"),
        ({"encoding": "utf-7"}, "expected an encoding of text"),
        ({"encoding": "nonsense"}, "expected an encoding of text"),
        ({"format": "jsonl", "escape": "\\"}, "expected escape for the format csv only"),
        ({"format": "jsonl", "encoding": "utf-16"}, "expected encoding for the format csv only"),
    ],
)
def test_a_dialect_that_cannot_be_meant_is_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SourceSpec(**{"url": "x", "format": "csv", **options})  # type: ignore[arg-type]


def table_row(name: str, field: dict[str, Any]) -> str:
    """A field of the dialect as a line of the page's table."""
    longest = field.get("maxLength")
    texts = {None: "text", 1: "1 character" if field.get("minLength") else "1 character or none"}
    kinds = {
        "string": texts.get(longest, f"text, at most {longest}"),
        "boolean": "true or false",
        "integer": f"{field.get('minimum')} to {field.get('maximum')}",
        "array": "list of texts",
    }
    return f"| `{name}` | {kinds[field['type']]} | `{json.dumps(field['default'])}` | {field['description']} |"


def test_the_page_has_every_field_with_its_type_default_and_meaning() -> None:
    fields = CsvDialect.model_json_schema()["properties"]
    page = (ROOT / "docs" / "csv.md").read_text()
    told = re.findall(r"^\| `\w+` \|.*$", page, re.MULTILINE)
    assert told == [table_row(name, field) for name, field in fields.items()]
    declared = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0])["source"]
    assert set(fields) - set(declared) == {"quote", "double_quote", "skip_leading_column"}, "the example shows the others"
