"""Places in a server's write-ahead log: positions, segments, pieces of segments, timelines, and what they cover.

Pure: what is continuous, and where a hole is, follows from names and sizes alone.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrai.errors import ConfigError, IntegrityError

_PIECE = re.compile(r"^([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})\.([0-9a-f]{8})$")
_LOG = 1 << 32


def lsn_text(lsn: int) -> str:
    """A position as PostgreSQL writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def parse_lsn(text: str) -> int:
    """A position as PostgreSQL writes it; raises ConfigError."""
    match = re.fullmatch(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})", text)
    if match is None:
        raise ConfigError(f"expected a position such as 0/3000148, found {text!r}")
    return int(match[1], 16) << 32 | int(match[2], 16)


def segment_name(timeline: int, lsn: int, segment_bytes: int) -> str:
    """The file of the segment that a position lies in."""
    number = lsn // segment_bytes
    in_log = _LOG // segment_bytes
    return f"{timeline:08X}{number // in_log:08X}{number % in_log:08X}"


def floor(lsn: int, segment_bytes: int) -> int:
    """Where the segment of a position begins."""
    return lsn - lsn % segment_bytes


@dataclass(frozen=True)
class Piece:
    """Consecutive bytes of one segment."""

    timeline: int
    start: int
    size: int

    @property
    def end(self) -> int:
        """The position after its last byte."""
        return self.start + self.size

    def path(self, segment_bytes: int) -> str:
        """Its file in the vault: the segment's name and the offset in it."""
        return f"{segment_name(self.timeline, self.start, segment_bytes)}.{self.start % segment_bytes:08x}"


def piece_of(path: str, size: int, segment_bytes: int) -> Piece | None:
    """The piece that a file is, by its name; None for a file of another kind. Raises IntegrityError for one beyond its segment."""
    match = _PIECE.match(path)
    if match is None:
        return None
    timeline, log, number, offset = (int(part, 16) for part in match.groups())
    if offset + size > segment_bytes:
        raise IntegrityError(f"expected {path} to end within its segment, found {size} bytes: take a new base backup")
    return Piece(timeline, log * _LOG + number * segment_bytes + offset, size)


@dataclass(frozen=True)
class History:
    """How a timeline came about: each timeline before it, oldest first, with the position where the next one left it."""

    timeline: int
    switches: tuple[tuple[int, int], ...] = ()


def parse_history(timeline: int, text: str) -> History:
    """Read a timeline's history file; raises IntegrityError."""
    switches = []
    for line in text.splitlines():
        words = line.split()
        if words and not line.startswith("#"):
            try:
                switches.append((int(words[0]), parse_lsn(words[1])))
            except (ValueError, IndexError, ConfigError) as exc:
                raise IntegrityError(f"expected the history of timeline {timeline}, found the line {line!r}") from exc
    return History(timeline, tuple(switches))


@dataclass(frozen=True)
class Leg:
    """A part of a recovery's way: from one position to another on one timeline; `end` None is as far as there is."""

    timeline: int
    start: int
    end: int | None


def way(origin: tuple[int, int], history: History, segment_bytes: int) -> list[Leg] | None:
    """The legs from (timeline, position) to a timeline, each from the beginning of a segment; None where the position is not on its line.

    The segment of a switch is read whole from the new timeline, which begins with a copy of the old one's part of it.
    """
    line = [*history.switches, (history.timeline, None)]
    names = [timeline for timeline, _ in line]
    if origin[0] not in names:
        return None
    legs: list[Leg] = []
    start = origin[1]
    for timeline, end in line[names.index(origin[0]) :]:
        if end is not None and end < start:
            return None
        legs.append(Leg(timeline, floor(start, segment_bytes), end))
        start = end if end is not None else start
    return legs


@dataclass(frozen=True)
class Hole:
    """Log that is missing."""

    timeline: int
    start: int
    end: int | None

    def __str__(self) -> str:
        upto = lsn_text(self.end) if self.end is not None else "the end"
        return f"{lsn_text(self.start)} to {upto} of timeline {self.timeline}"


@dataclass(frozen=True)
class Coverage:
    """How far a way is covered without a hole: timeline and position, and the first hole that has log behind it."""

    timeline: int
    end: int
    hole: Hole | None = None


def cover(legs: Sequence[Leg], pieces: Mapping[int, Sequence[Piece]], segment_bytes: int) -> Coverage:
    """Follow a way through the pieces of each timeline, each list sorted by start."""
    reached = Coverage(legs[0].timeline, legs[0].start)
    for number, leg in enumerate(legs):
        # what lies in the segment of a switch is read from the timeline that follows
        wanted = None if leg.end is None else floor(leg.end, segment_bytes)
        end, beyond = _run(pieces.get(leg.timeline, ()), leg.start)
        if leg.end is None:
            hole = Hole(leg.timeline, end, beyond) if beyond is not None else None
            # an ancestor's part of the switch segment is no progress by itself
            if number and end <= leg.start:
                return Coverage(reached.timeline, reached.end, Hole(leg.timeline, leg.start, beyond))
            return Coverage(leg.timeline, max(end, reached.end), hole)
        if end < (wanted or 0):
            return Coverage(leg.timeline, end, Hole(leg.timeline, end, beyond if beyond is not None else wanted))
        reached = Coverage(leg.timeline, min(max(end, leg.start), leg.end))
    return reached


def _run(pieces: Iterable[Piece], start: int) -> tuple[int, int | None]:
    """The end of what is consecutive from `start` on, and where the next piece behind a hole begins."""
    end = start
    for piece in pieces:
        if piece.end <= end:
            continue
        if piece.start > end:
            return end, piece.start
        end = piece.end
    return end, None


def by_timeline(pieces: Iterable[Piece]) -> dict[int, list[Piece]]:
    """Pieces of each timeline, by position."""
    sorted_pieces: dict[int, list[Piece]] = {}
    for piece in sorted(pieces, key=lambda piece: (piece.timeline, piece.start, piece.end)):
        sorted_pieces.setdefault(piece.timeline, []).append(piece)
    return sorted_pieces
