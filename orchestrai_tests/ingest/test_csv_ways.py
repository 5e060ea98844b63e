"""However a CSV object is read, by Arrow or record by record and in blocks of whatever size, it says the same."""

import io
import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrai.errors import UnreadableObject
from orchestrai.ingest.readers.csv.csv_records import CsvGrammar, CsvRecords
from orchestrai.ingest.readers.csv.utf8_stream import Utf8Stream
from orchestrai.ingest.readers.lines import numbered_lines
from orchestrai.ingest.readers.rejects import Refused
from orchestrai.ingest.spec import SourceSpec
from orchestrai_tests.ingest.csv_ways import (
    DIALECTS,
    PIECES,
    SEEDS,
    TEXTS,
    TYPED,
    by_the_standard_library,
    declared,
    encoded,
    mutated,
    read,
    same,
)

INPUTS = int(os.environ.get("ORCHESTRAI_TEST_CSV_INPUTS", "1000"))


def check(data: bytes, source: SourceSpec, contract: object, block_bytes: int) -> bool:
    """Hold all ways of reading an input against the specification; whether Arrow read it."""
    careful = read(data, source, contract, fast=False)
    assert careful is not None
    small = read(data, source, contract, fast=False, block_bytes=max(1, block_bytes // 2))
    assert small is not None and same(careful, small), f"{data!r} read in blocks of {block_bytes // 2}, {source}"
    fast = read(data, source, contract, fast=True, block_bytes=block_bytes)
    assert fast is None or same(fast, careful), f"{data!r} read by Arrow in blocks of {block_bytes}, {source}"
    if contract is TEXTS and careful.rows is not None and source.header and not careful.refused and comparable(source):
        records = by_the_standard_library(data, source)
        assert records is not None, f"{data!r} is refused by the standard library"
        names = [name.strip() for name in records[0]]
        expected = [{n: v for n, v in zip(names, record, strict=True) if n in "abc"} for record in records[1:]]
        assert careful.rows.select([n for n in "abc" if n in names]).to_pylist() == [
            {n: None if record[n] in source.null_values else record[n] for n in "abc" if n in names} for record in expected
        ], f"{data!r} read otherwise by the standard library"
    return fast is not None and not fast.unreadable


def comparable(source: SourceSpec) -> bool:
    """Whether a dialect is one that the standard library knows."""
    return source.codec == "utf-8" and not (source.escape or source.comment or source.skip_lines or source.footer_lines)


def test_both_ways_agree_on_mutations_of_a_nasty_corpus() -> None:
    by_arrow = 0
    for number in range(INPUTS):
        chance = random.Random(number)
        source = chance.choice(DIALECTS)
        data = encoded(mutated(chance), source, chance)
        contract = TYPED if number % 8 == 0 or source.thousands else TEXTS
        by_arrow += check(data, source, contract, chance.choice((3, 16, 40, 100, 1 << 20, 1 << 20)))
    assert by_arrow > INPUTS / 10, "the fast way was hardly tried"


@pytest.mark.parametrize("source", DIALECTS[5:], ids=range(len(DIALECTS) - 5))
def test_both_ways_agree_on_the_corpus_itself_in_blocks_of_any_size(source: SourceSpec) -> None:
    for data in SEEDS:
        for contract in (TEXTS, TYPED):
            for block_bytes in (3, 8, 1 << 20):
                check(encoded(data, source, random.Random(0)), source, contract, block_bytes)


@given(
    pieces=st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=3)), max_size=25),
    source=st.sampled_from(DIALECTS),
    block_bytes=st.integers(3, 80),
)
@settings(max_examples=max(100, INPUTS // 50), deadline=None)
def test_both_ways_agree_on_anything(pieces: list[bytes], source: SourceSpec, block_bytes: int) -> None:
    data = source.delimiter.join("abc").encode() + b"\n" + b"".join(pieces)
    check(encoded(data, source, random.Random(0)), source, TEXTS, block_bytes)


FIELD = st.text(st.characters(codec="utf-8"), max_size=8)


@given(
    rows=st.lists(st.tuples(FIELD, FIELD, FIELD), min_size=1, max_size=12),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    block_bytes=st.integers(3, 200),
)
@settings(max_examples=max(100, INPUTS // 50), deadline=None)
def test_whatever_is_written_by_the_rules_is_read_as_it_was_by_arrow_too(
    rows: list[tuple[str, str, str]], end: str, block_bytes: int
) -> None:
    records = [",".join('"' + field.replace('"', '""') + '"' for field in row) for row in rows]
    data = end.join(["a,b,c", *records]).encode()
    fast = read(data, declared(), TEXTS, fast=True, block_bytes=block_bytes)
    assert fast is not None and fast.rows is not None
    assert [tuple(field or "" for field in row.values()) for row in fast.rows.to_pylist()] == rows


def test_a_line_beyond_the_limit_that_ends_with_a_block_costs_no_other_line() -> None:
    data = b"x" * 9 + b"\n" + b"good\n"
    found = list(numbered_lines(io.BytesIO(data), 8, block_bytes=10))
    assert found == [(1, 0, b"x" * 8, False), (2, 10, b"good\n", True)]


@given(
    pieces=st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=3)), max_size=25),
    source=st.sampled_from([source for source in DIALECTS if not source.comment and not source.footer_lines]),
)
@settings(max_examples=max(100, INPUTS // 50), deadline=None)
def test_every_line_is_in_one_record_or_refused_and_told_where_it_lies(pieces: list[bytes], source: SourceSpec) -> None:
    data = encoded(b"".join(pieces), source, random.Random(0))
    try:
        stream = Utf8Stream(io.BytesIO(data), source.codec)  # type: ignore[arg-type]
    except UnreadableObject:
        return
    lines: dict[int, int] = {}
    for record in CsvRecords(stream, source, CsvGrammar(source)):
        refused = isinstance(record, Refused)
        first, count, offset = (
            (record.mark.line, 1, record.mark.offset) if refused else (record.line, record.lines, record.offset)  # type: ignore[union-attr]
        )
        assert not lines.keys() & range(first, first + count), "a line is in two records"
        lines |= dict.fromkeys(range(first, first + count), first)
        if refused:
            text = data[offset:].decode(stream.codec, "backslashreplace")
            assert text.startswith(record.mark.text)  # type: ignore[union-attr]
    again = Utf8Stream(io.BytesIO(data), source.codec)  # type: ignore[arg-type]
    whole = [number for number, _, raw, _ in numbered_lines(again, 1 << 20) if raw.strip(b"\r\n") or number in lines]
    assert sorted(lines) == [number for number in whole if number > source.skip_lines]
