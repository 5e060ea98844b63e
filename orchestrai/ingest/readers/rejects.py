"""A row or object that was refused, as it is told to people and kept in the dead letters."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

SHOWN_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a record lies in its object: record and line count from 1, the offset in bytes from 0."""

    record: int
    line: int
    offset: int
    text: str


class LazyMarks(Sequence[Mark], ABC):
    """The marks of many rows, made only for those that are asked for."""

    @abstractmethod
    def mark(self, row: int) -> Mark:
        """The mark of one row."""

    @overload
    def __getitem__(self, index: int) -> Mark: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Mark]: ...
    def __getitem__(self, index: int | slice) -> Mark | Sequence[Mark]:
        return [self.mark(row) for row in range(*index.indices(len(self)))] if isinstance(index, slice) else self.mark(index)


class Places(LazyMarks):
    """The marks of rows by where each lies."""

    def __init__(self, encoding: str = "utf-8") -> None:
        self._encoding = encoding
        self._rows: list[tuple[int, int, int, bytes]] = []

    def add(self, record: int, line: int, offset: int, raw: bytes) -> None:
        """Note where a row lies."""
        self._rows.append((record, line, offset, raw))

    def __len__(self) -> int:
        return len(self._rows)

    def mark(self, row: int) -> Mark:
        """The mark of one row."""
        record, line, offset, raw = self._rows[row]
        return Mark(record, line, offset, shown(raw.rstrip(b"\r\n"), self._encoding))


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that is set aside, and why: it cannot be typed as declared, or breaks a `rule` on rows.

    `belongs` is the partition of a row that came with another.
    """

    mark: Mark
    reason: str
    column: str = ""
    rule: bool = False
    belongs: str = ""


def shown(raw: bytes | str, encoding: str = "utf-8") -> str:
    """A record's text for a dead letter: undecodable bytes escaped, at most SHOWN_BYTES characters."""
    text = raw if isinstance(raw, str) else raw[: SHOWN_BYTES + 1].decode(encoding, errors="backslashreplace")
    return text if len(text) <= SHOWN_BYTES else text[:SHOWN_BYTES] + "..."
