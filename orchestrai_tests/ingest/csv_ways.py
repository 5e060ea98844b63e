"""One CSV input read in every way there is, from bytes in memory; what they make of it is compared by the tests."""

import csv
import io
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pyarrow as pa

from orchestrai.contracts.contract import Column, Contract
from orchestrai.ingest.readers import lines
from orchestrai.ingest.readers.chunks import Untidy
from orchestrai.ingest.readers.csv import csv_blocks, csv_reader
from orchestrai.ingest.readers.csv.utf8_stream import Utf8Stream
from orchestrai.ingest.readers.object_reader import ObjectOutcome, Typing
from orchestrai.ingest.readers.rejects import Refused
from orchestrai.ingest.spec import SourceSpec

TEXTS = Contract("t", "1", tuple(Column(name, "STRING", name) for name in "abc"))
TYPED = Contract("t", "1", (Column("a", "BIGINT", "a"), Column("b", "STRING", "b"), Column("c", "DOUBLE", "c")))


def declared(**options: object) -> SourceSpec:
    """A CSV source."""
    return SourceSpec(url="x", format="csv", max_refused_share=1, **options)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Held:
    """Bytes in memory in place of a file."""

    data: bytes

    def stat(self) -> SimpleNamespace:
        """What is asked of a file."""
        return SimpleNamespace(st_size=len(self.data))


@contextmanager
def in_memory(block_bytes: int) -> Iterator[None]:
    """Objects are held bytes, and as much of them is read at a time."""

    @contextmanager
    def opened(held: Held, codec: str) -> Iterator[Utf8Stream]:
        yield Utf8Stream(io.BytesIO(held.data), codec)  # type: ignore[arg-type]

    places: list[tuple[Any, str, Any]] = [(csv_reader, "opened", opened)]
    if block_bytes:
        sizes = ((csv_blocks, "FIRST_BYTES"), (csv_blocks, "BLOCK_BYTES"), (csv_reader, "HEAD_BYTES"), (lines, "BLOCK"))
        places += [(module, name, block_bytes) for module, name in sizes]
    before = [(module, name, getattr(module, name)) for module, name, _ in places]
    try:
        for module, name, value in places:
            setattr(module, name, value)
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


@dataclass
class Reading:
    """What became of an input: its rows and refusals, or why it is unreadable; None where the fast way declined."""

    rows: pa.Table | None
    refused: list[Refused]
    unreadable: str = ""


def read(data: bytes, source: SourceSpec, contract: Contract, *, fast: bool, block_bytes: int = 0) -> Reading | None:
    """Read bytes in one way."""
    outcome = ObjectOutcome()
    with in_memory(block_bytes):
        try:
            batches = list(Typing(source, contract).large(Held(data), outcome, careful=not fast))  # type: ignore[arg-type]
        except Untidy:
            return None
    if outcome.unreadable:
        return Reading(None, [], outcome.unreadable)
    return Reading(pa.Table.from_batches(batches, contract.arrow_schema()), outcome.refused)


def same(one: Reading, other: Reading) -> bool:
    """Whether two readings agree in rows, refusals (place, reason, text) and the reason of an unreadable object."""
    rows = one.rows.equals(other.rows) if one.rows is not None and other.rows is not None else one.rows is other.rows
    return rows and one.refused == other.refused and one.unreadable == other.unreadable


def by_the_standard_library(data: bytes, source: SourceSpec) -> list[list[str]] | None:
    """The records that Python's csv module finds, blank lines left out; None for what it refuses."""
    options = {"delimiter": source.delimiter, "doublequote": source.double_quote, "strict": True}
    if source.quote:
        options["quotechar"] = source.quote
    else:
        options["quoting"] = csv.QUOTE_NONE
    try:
        text = io.StringIO(data.decode("utf-8-sig"), newline="")
        return [record for record in csv.reader(text, **options) if record]  # type: ignore[arg-type]
    except (csv.Error, UnicodeDecodeError):
        return None


SEEDS = [
    b'a,b,c\n1,"x, ""y""",2.5\n3,,\n',
    b'a,b,c\r\n1,"line\r\nline",2\r\n"","",""\r\n\r\n4,z,5\r\n',
    b"a,b,c\r1,x,2\r3,y,4\r",
    b'a,b,c\n1,"never closed,2\n3,y,4\n5,z,6\n',
    b'a,b,c\n1,"closed"then text,2\n3,y,4\n',
    b'a,b,c\n1,"say \\"hi\\" now",2\n',
    b'a,b,c\n1,bare"quote,2\n3, "behind a blank",4\n',
    b"\xef\xbb\xbfa,b,c\n1,x,2\n",
    b"a,b,c\n1,caf\xc3\xa9,2\n3,caf\xe9,4\n",
    b"a,b,c\n1,x\n1,x,2,3\n1,x,2\n,,\n",
    b"a,b,c\n1,x\x00y,2\n",
    b'a,b,c\n1,"""",2\n3,"""a""",4\n5,"",6',
    b'a,b,c\n# told\n1,x,2\n"# data",y,3\n',
    b'a,b,c\n1,"x\n# within",2\ntotal,,3\n\n',
    b"told\nby hand\na,b,c\n1,x,2\n3,\\N,NA\n4,a\\,b,5\n",
    b"a;b;c\n1;'x;''y''';2\n",
    b'"a","b","c"\n"1","x","2"\n"0x10","17850.0","1e3"\n',
    b"a,b,c\n0x1F, 7,+1\n99999999999999999999,x,nan\n",
    b'a\n\n1\n""\n\n',
    b"a,b,c\n" + b"1,x,2\n" * 12,
    b"a,b,c\n" + b'1,"x\ny",2\r\n' * 8,
    b"a,b,c\n" + b"1," + b"x" * 90 + b",2\n3,y,4\n",
    b"b,c,a\r\n1,\xe2\x82\xac,2\r\n\xff\xfe,x,3\r\n",
]
DIALECTS = [
    *[declared() for _ in range(6)],
    declared(max_row_bytes=64),
    declared(delimiter=";", quote="'"),
    declared(escape="\\"),
    declared(escape="\\", double_quote=False, null_values=("", "\\N", "NA")),
    declared(quote=""),
    declared(double_quote=False, null_values=("NA", "x")),
    declared(comment="#", skip_lines=1),
    declared(comment="//", footer_lines=1),
    declared(footer_lines=2, skip_lines=2),
    declared(header=False, columns=("a", "b", "c")),
    declared(header=False, columns=("a", "b"), skip_leading_column=True, skip_lines=1),
    declared(encoding="latin-1", delimiter=";"),
    declared(encoding="cp1252"),
    declared(encoding="utf-16"),
    declared(encoding="utf-16-le", comment="#"),
    declared(decimal=",", thousands=".", delimiter=";"),
]
PIECES = [
    *(
        b",",
        b'"',
        b'""',
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\\",
        b"#",
        b"//",
        b";",
        b"'",
        b" ",
        b"\0",
        b"x",
        b"1",
        b"0x1",
        b"NA",
    ),
    *(
        b"\xef\xbb\xbf",
        b"\xc3\xa9",
        b"\xff",
        b"\x81",
        b"\xe2\x82",
        b'","',
        b'"\n"',
        b'\n"',
        b'"\n',
        b"\\N",
        b"1.000,5",
        b",,,",
    ),
]


def mutated(chance: random.Random) -> bytes:
    """A seed, or parts of two, with some pieces put in, taken out or doubled, and sometimes cut off."""
    data = chance.choice(SEEDS)
    if chance.random() < 0.2:
        other = chance.choice(SEEDS)
        data = data[: chance.randrange(len(data))] + other[chance.randrange(len(other)) :]
    for _ in range(chance.choice((0, 0, 1, 1, 2, 5))):
        at = chance.randrange(len(data) + 1)
        way = chance.random()
        if way < 0.6:
            data = data[:at] + chance.choice(PIECES) + data[at:]
        elif way < 0.8:
            data = data[:at] + data[at + chance.randrange(1, 4) :]
        else:
            data += data[at : at + chance.randrange(1, 40)]
    return data if chance.random() < 0.85 else data[: chance.randrange(len(data) + 1)]


def encoded(data: bytes, source: SourceSpec, chance: random.Random) -> bytes:
    """An input as an object of its source may come: in its encoding, now and then with a flaw of that encoding."""
    if source.codec == "utf-8":
        return data
    data = data.decode("latin-1").encode(source.encoding, "replace")
    if chance.random() < 0.3:
        at = chance.randrange(len(data) + 1)
        data = data[:at] + chance.choice((b"\x81", b"\xdc\x00", b"\x00\xd8", b"\xff")) + data[at:]
    return data
