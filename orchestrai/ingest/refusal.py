"""A row or object that was refused, as it is told to people and kept in the dead letters."""

from dataclasses import dataclass

SHOWN_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a record lies in its object: record and line count from 1, the offset in bytes from 0."""

    record: int
    line: int
    offset: int
    text: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that cannot be typed as declared, and why."""

    mark: Mark
    reason: str
    column: str = ""


def shown(raw: bytes | str) -> str:
    """A record's text for a dead letter: undecodable bytes escaped, at most SHOWN_BYTES characters."""
    text = raw if isinstance(raw, str) else raw[: SHOWN_BYTES + 1].decode("utf-8", errors="backslashreplace")
    return text if len(text) <= SHOWN_BYTES else text[:SHOWN_BYTES] + "..."
