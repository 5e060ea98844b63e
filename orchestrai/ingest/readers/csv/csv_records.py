"""What a CSV object says, record by record: the specification that every faster way is held to.

    object  = [skipped lines] [header] {record | blank line | comment line} [footer lines]
    record  = field {delimiter field} (LF | CRLF | CR | end of the object)
    field   = bare | quote {any character but the quote | quote quote} quote
    bare    = {any character but delimiter, quote and line end}

This is RFC 4180; the declared dialect says which characters these are. An escape takes the meaning from the character behind it, in both
kinds of field. A last record needs no line end, so one that was cut within its last bare field cannot be told from a whole one.
A record that is not in the grammar is refused with its first line, and reading goes on with the next line.
"""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrai.ingest.readers.csv.utf8_stream import Utf8Stream
from orchestrai.ingest.readers.lines import MAX_RECORD_LINES, Line, is_blank, numbered_lines, without_last
from orchestrai.ingest.readers.rejects import Mark, Refused, shown
from orchestrai.ingest.spec import SourceSpec

_ENDS = ("", "\n", "\r")
Fields = Sequence[str | None]


class NotCsv(Exception):
    """A record that is not in the grammar; the argument says what was expected and what found."""


@dataclass(frozen=True, slots=True)
class CsvRecord:
    """One parsed record: its number, place, bytes and fields. A field is None where it was written as a null with an escape."""

    number: int
    line: int
    offset: int
    raw: bytes
    lines: int
    fields: Fields


class CsvGrammar:
    """The fields of a record in a dialect."""

    def __init__(self, source: SourceSpec) -> None:
        self.delimiter, self.quote, self.escape = source.delimiter, source.quote, source.escape
        self.double_quote = source.double_quote
        self.nulls = frozenset(source.null_values)
        special = self.quote + self.escape
        self.ends_quoted = re.compile(f"[{re.escape(special)}]" if special else "(?!)")
        self.ends_bare = re.compile(f"[{re.escape(self.delimiter + self.escape)}\\r\\n]")
        self._special = tuple(mark.encode() for mark in special)

    def is_plain(self, raw: bytes) -> bool:
        """Whether a record's fields are what stands between its delimiters."""
        for mark in self._special:  # a generator would take longer than the rest of it
            if mark in raw:
                return False
        return True

    def plain_fields(self, text: str) -> Fields:
        """The fields of a record without quotes and escapes."""
        return text.rstrip("\r\n").split(self.delimiter)

    def fields(self, lines: Iterator[str]) -> Fields:
        """The fields of the record that the next line begins; raises NotCsv, also where the lines end within it."""
        fields: list[str | None] = []
        text, at = next(lines), 0
        while True:
            value: str | None
            if self.quote and text.startswith(self.quote, at):
                value, text, at = self._quoted(text, at + 1, lines)
                if text[at : at + 1] not in (*_ENDS, self.delimiter):
                    remedy = ": declare escape where a backslash is one" if value.endswith("\\") and not self.escape else ""
                    raise NotCsv(
                        f"expected a delimiter or the end of the record behind a closing quote, found {text[at]!r}{remedy}"
                    )
            else:
                value, text, at = self._bare(text, at, lines)
            fields.append(value)
            if not text.startswith(self.delimiter, at):
                return fields
            at += 1

    def _quoted(self, text: str, at: int, lines: Iterator[str]) -> tuple[str, str, int]:
        pieces = []
        while True:
            special = self.ends_quoted.search(text, at)
            if special is None:
                pieces.append(text[at:])
                text, at = _next(lines, "a closing quote"), 0
                continue
            pieces.append(text[at : special.start()])
            at = special.end()
            if special[0] == self.escape:
                piece, text, at = self._escaped(text, at, lines)
                pieces.append(piece)
            elif self.double_quote and text.startswith(self.quote, at):
                pieces.append(self.quote)
                at += 1
            else:
                return "".join(pieces), text, at

    def _bare(self, text: str, at: int, lines: Iterator[str]) -> tuple[str | None, str, int]:
        pieces, written = [], []
        while True:
            special = self.ends_bare.search(text, at)
            end = special.start() if special else len(text)
            piece = text[at:end]
            if self.quote and self.quote in piece:
                raise NotCsv(
                    "expected quotes around a whole field, found one within it: declare quote: '' where quotes are text"
                )
            pieces.append(piece)
            written.append(piece)
            if special is None or special[0] != self.escape:
                value = "".join(pieces)
                return (None if len(pieces) > 1 and "".join(written) in self.nulls else value), text, end
            piece, text, at = self._escaped(text, special.end(), lines)
            pieces.append(piece)
            written.append(self.escape + piece)

    def _escaped(self, text: str, at: int, lines: Iterator[str]) -> tuple[str, str, int]:
        char = text[at : at + 1]
        if char in _ENDS:
            # the line end itself is escaped, so the field goes on in the next line
            return text[at:], _next(lines, "a character behind the escape"), 0
        return char, text, at + 1


def _next(lines: Iterator[str], expected: str) -> str:
    text = next(lines, None)
    if text is None:
        raise NotCsv(f"expected {expected}, found none")
    return text


class CsvRecords:
    """The records of a CSV object with their places; one that cannot be parsed is refused and the next line tried."""

    def __init__(self, stream: Utf8Stream, source: SourceSpec, grammar: CsvGrammar, block_bytes: int = 0) -> None:
        self.stream, self.source, self.grammar = stream, source, grammar
        lines = numbered_lines(
            stream, source.max_row_bytes, offset=stream.start, width=stream.width, block_bytes=block_bytes
        )
        for _ in range(source.skip_lines):
            next(lines, None)
        self.lines = without_last(lines, source.footer_lines) if source.footer_lines else lines
        self.pending: deque[Line] = deque()
        self.record = 0 if source.header else 1
        self.comment = source.comment.encode()

    def __iter__(self) -> Iterator["Refused | CsvRecord"]:
        while (first := self._line()) is not None:
            raw = first[2]
            if is_blank(raw) or (self.comment and raw.startswith(self.comment)):
                continue
            record = self._parse(first)
            self.record += 1
            yield record

    def shown(self, raw: bytes) -> str:
        """A record as it stands in the object, for people."""
        return shown(self.stream.original(raw.rstrip(b"\r\n")), self.stream.codec)

    def _line(self) -> Line | None:
        return self.pending.popleft() if self.pending else next(self.lines, None)

    def _parse(self, first: Line) -> "Refused | CsvRecord":
        line, offset, raw, whole = first
        used: list[Line] = []
        try:
            if not whole:
                raise NotCsv(f"expected at most {self.source.max_row_bytes} bytes a row, found more")
            if self.grammar.is_plain(raw):
                # splitting is ten times as fast
                fields = self.grammar.plain_fields(self._text(first))
            else:
                fields = self.grammar.fields(self._texts(first, used))
        except NotCsv as exc:
            self.pending.extendleft(reversed(used))
            return Refused(Mark(self.record, line, offset, self.shown(raw)), str(exc))
        whole_raw = raw + b"".join(item[2] for item in used) if used else raw
        return CsvRecord(self.record, line, offset, whole_raw, 1 + len(used), fields)

    def _texts(self, first: Line, used: list[Line]) -> Iterator[str]:
        yield self._text(first)
        size = len(first[2])
        while (item := self._line()) is not None:
            used.append(item)
            size += len(item[2])
            if size > self.source.max_row_bytes or len(used) >= MAX_RECORD_LINES or not item[3]:
                return
            yield self._text(item)

    def _text(self, line: Line) -> str:
        _, offset, raw, _ = line
        try:
            return raw.decode()
        except UnicodeDecodeError as exc:
            byte, distance = self.stream.undecodable(raw, exc)
            raise NotCsv(f"expected {self.source.encoding} text, found byte {byte:#04x} at {offset + distance}") from exc
