"""How a CSV object is written: DuckDB's sniffer and a few common dialects propose, the grammar that ingest reads by decides."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from orchestrai.errors import ConfigError, UnreadableObject
from orchestrai.ingest.readers.csv.csv_records import CsvGrammar, CsvRecords
from orchestrai.ingest.readers.csv.utf8_stream import opened
from orchestrai.ingest.readers.rejects import Refused
from orchestrai.ingest.spec import SourceSpec

RECORDS = 600
_DELIMITERS = (",", ";", "\t", "|", ":", " ")
_NUMBER = re.compile(r"\s*[+-]?[\d.,]*\d[\d.,]*([eE][+-]?\d+)?\s*")
_TIME = re.compile(r"\s*\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T].*)?\s*|\s*\d{1,2}:\d{2}(:\d{2})?\s*")


@dataclass
class CsvShape:
    """The dialect as keys of a `source`, the names of the fields, and why."""

    dialect: dict[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Parsed:
    dialect: Mapping[str, Any]
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    refused: int
    width: int

    @property
    def score(self) -> tuple[float, int]:
        total = len(self.rows) + self.refused
        fit = sum(len(row) == self.width for _, row in self.rows) / total if total else 0.0
        return (fit if self.width > 1 else 0.0), self.width


def csv_shape(paths: Sequence[Path], whole: bool) -> CsvShape:
    """The dialect of objects of one kind, by the first; raises ConfigError for what is no text, or has one column."""
    encoding, note = _encoding(paths)
    best = max(_candidates(paths[0], encoding), key=lambda parsed: parsed.score)
    if best.score[0] < 0.5:
        raise ConfigError(
            f"expected a table of at least two columns in {paths[0].name}, found "
            f"{'lines of one field' if best.width <= 1 else 'lines of different widths'}: "
            "name a file of CSV, JSON lines, JSON or Parquet"
        )
    shape = CsvShape({key: value for key, value in best.dialect.items() if value != "utf-8"}, notes=[note] if note else [])
    if shape.dialect.get("delimiter") == ",":
        del shape.dialect["delimiter"]
    _head(shape, best)
    if whole:
        _foot(shape, paths, best)
    return shape


def _encoding(paths: Sequence[Path]) -> tuple[str, str]:
    plain = True
    for path in paths:
        with path.open("rb") as stream:
            head = stream.read(1 << 20)
        if head.startswith((b"\xff\xfe", b"\xfe\xff")):
            return "utf-16", "a byte order mark of UTF-16"
        if b"\0" in head[:4096]:
            odd, even = head[1:4096:2].count(0), head[0:4096:2].count(0)
            if max(odd, even) > len(head[:4096]) // 4:
                return ("utf-16-le" if odd > even else "utf-16-be"), "zero bytes between letters: UTF-16 without a mark"
            raise ConfigError(
                f"expected text or Parquet in {path.name}, found binary data: name a file of CSV, JSON or Parquet"
            )
        try:
            head.decode("utf-8")
        except UnicodeDecodeError as exc:
            plain = plain and len(head) - exc.start < 4 and len(head) == 1 << 20
            if sum(byte < 9 or 13 < byte < 32 for byte in head[:4096]) > len(head[:4096]) // 20:
                raise ConfigError(
                    f"expected text or Parquet in {path.name}, found binary data: name a file of CSV, JSON or Parquet"
                ) from exc
    if plain:
        return "utf-8", ""
    return "cp1252", "bytes that are no UTF-8; read as cp1252, the usual one of Western Europe (unsure)"


def _candidates(path: Path, encoding: str) -> Iterator[_Parsed]:
    proposals: list[dict[str, Any]] = [{"delimiter": mark} for mark in _DELIMITERS]
    sniffed = _sniffed(path) if encoding == "utf-8" else None
    if sniffed:
        proposals.insert(0, sniffed)
    if any("\\" in line for line in _first_lines(path, encoding)):
        proposals += [{"delimiter": mark, "escape": "\\"} for mark in _DELIMITERS[:4]]
    proposals += [{"delimiter": mark, "quote": "'"} for mark in _DELIMITERS[:4]]
    proposals += [{"delimiter": mark, "quote": ""} for mark in _DELIMITERS[:4]]
    for proposal in proposals:
        try:
            yield _parsed(path, {**proposal, "encoding": encoding})
        except (ValueError, UnreadableObject):
            continue


def _sniffed(path: Path) -> dict[str, Any] | None:
    import duckdb

    try:
        with duckdb.connect() as connection:
            row = connection.execute("SELECT Delimiter, Quote, Escape FROM sniff_csv(?)", [str(path)]).fetchone()
    except duckdb.Error:
        return None
    if row is None or len(row[0]) != 1:
        return None
    delimiter, quote, escape = row
    found: dict[str, Any] = {"delimiter": delimiter}
    if quote not in ('"', "(empty)", None, "\0"):
        found["quote"] = quote
    if escape not in (quote, '"', "(empty)", None, "\0", ""):
        found["escape"] = escape
    return found


def _first_lines(path: Path, encoding: str) -> list[str]:
    with path.open(encoding=encoding, errors="replace") as stream:
        return list(islice(stream, 200))


def _parsed(path: Path, dialect: Mapping[str, Any]) -> _Parsed:
    source = SourceSpec(url="look/", format="csv", header=False, **dialect)
    rows: list[tuple[int, tuple[str, ...]]] = []
    refused = 0
    with opened(path, source.codec) as stream:
        for record in islice(CsvRecords(stream, source, CsvGrammar(source)), RECORDS):
            if isinstance(record, Refused):
                refused += 1
            else:
                rows.append((record.line, tuple(text or "" for text in record.fields)))
    widths = Counter(len(row) for _, row in rows)
    width = max(widths, key=lambda wide: (widths[wide], wide)) if widths else 0
    return _Parsed({**dialect}, tuple(rows), refused, width)


def _head(shape: CsvShape, best: _Parsed) -> None:
    """Where the data begins, and what names its fields."""
    lines = [text for _, text in best.rows]
    full = (place for place, row in enumerate(lines) if len(row) == best.width and sum(map(bool, row)) * 2 > len(row))
    first = next(full, None)
    if first is None:
        raise ConfigError("expected a line with a value in most of its fields, found none: name another file")
    body = [row for row in lines[first + 1 :] if len(row) == best.width]
    header = lines[first]
    if first and len(lines[first - 1]) == best.width - 1 and not _like_data(lines[first - 1], header):
        shape.dialect["skip_leading_column"] = True
        shape.notes.append("rows have one field more than the header: an unnamed first field, which is dropped")
        first, header = first - 1, lines[first - 1]
    named = _names_fields(header, body)
    before = first if named else first + (0 if _like_data(header, body[0] if body else header) else 1)
    begins = best.rows[before][0] if before < len(best.rows) else 1
    if begins > 1:
        comments = {row[0][:1] for row in lines[:before] if row and row[0]}
        if comments == {"#"} and before:
            shape.dialect["comment"] = "#"
        else:
            shape.dialect["skip_lines"] = begins - 1
        shape.notes.append(f"the first {begins - 1} lines are no data")
    if named:
        # as the reader takes them: what stands around a name is no part of it
        shape.names = tuple(text.strip() for text in header)
        return
    shape.names = tuple(f"c{number}" for number in range(1, best.width + 1))
    shape.dialect |= {"header": False, "columns": list(shape.names)}
    shape.notes.append("no line names the fields: they are called c1, c2 and so on; give them their names (unsure)")


def _like_data(row: Sequence[str], other: Sequence[str]) -> bool:
    """Whether a row has numbers and times where another has them."""
    kinds = [(_kind(one), _kind(two)) for one, two in zip(row, other, strict=False)]
    return all(one == two or not one for one, two in kinds)


def _kind(text: str) -> str:
    if not text.strip():
        return ""
    return "number" if _NUMBER.fullmatch(text) else "time" if _TIME.fullmatch(text) else "text"


def _names_fields(header: Sequence[str], body: Sequence[Sequence[str]]) -> bool:
    texts = [text.strip() for text in header]
    named = [text for text in texts if text]
    if len(set(named)) < len(named) or not named:
        return False
    kinds = [_kind(text) for text in texts]
    years = all(re.fullmatch(r"(19|20)\d\d", text) for text, kind in zip(texts, kinds, strict=True) if kind == "number")
    if "number" not in kinds and "time" not in kinds:
        # a row of texts alone is data where the fields below it hold the very same texts
        below = [set(row[place].strip() for row in body) for place in range(len(texts))] if body else []
        repeated = sum(text in seen for text, seen in zip(texts, below, strict=False) if text)
        return repeated * 2 <= len(named)
    return years and "text" in kinds and "time" not in kinds


def _foot(shape: CsvShape, paths: Sequence[Path], best: _Parsed) -> None:
    """Last lines that are no data, where all objects end so."""
    width = best.width
    counts = []
    for path in paths[:20]:
        text = (
            path.read_text(encoding=str(best.dialect["encoding"]), errors="replace") if path.stat().st_size < 1 << 25 else ""
        )
        tail = [line for line in text.splitlines()[-6:] if line.strip()]
        mark = str(best.dialect["delimiter"])
        odd = 0
        for line in reversed(tail[1:]):
            if '"' in line or line.count(mark) == width - 1:
                break
            odd += 1
        counts.append(odd)
    if counts and min(counts) == max(counts) > 0:
        shape.dialect["footer_lines"] = counts[0]
        shape.notes.append(f"the last {counts[0]} lines are no data")
