"""What the vault holds of a server: pieces of its log, timeline histories, marks, and base backups; read from lists.

A partition of the log holds what one receiver received in one hour, so that no receiver ever replaces what another committed.
"""

import json
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from orchestrai.backup.wal.positions import (
    Coverage,
    History,
    Leg,
    Piece,
    by_timeline,
    cover,
    lsn_text,
    parse_history,
    parse_lsn,
    piece_of,
    way,
)
from orchestrai.core.canonical import JsonValue
from orchestrai.errors import IntegrityError, UnknownFormatVersion
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.vault import Vault

# of the notes beside a base and a log
FORMAT = 1
SERVER, TIMELINES, MARKS = "server", "timelines", "marks.json"
DATA, NOTE, NOTE_FILE = "data", "note", "base.json"


@dataclass(frozen=True)
class ServerNote:
    """Which server a log is of."""

    system: str
    major: int
    segment_bytes: int

    def as_json(self) -> dict[str, JsonValue]:
        """The form kept in the vault."""
        return {"format": FORMAT, "system": self.system, "major": self.major, "segment_bytes": self.segment_bytes}


class Mark(NamedTuple):
    """Everything that the server had written by a time of its own clock lies before a position."""

    time: datetime
    timeline: int
    lsn: int

    def as_json(self) -> list[JsonValue]:
        """The form kept in the vault."""
        return [self.time.isoformat(), self.timeline, lsn_text(self.lsn)]


@dataclass(frozen=True)
class Base:
    """A base backup: where and when it ends, and what is needed to start from it."""

    commit: SnapshotCommit
    server: ServerNote
    timeline: int
    start: int
    end: int
    stopped: datetime
    next_xid: int
    role: str
    folders: tuple[str, ...]
    witness: Mapping[str, JsonValue]

    @property
    def origin(self) -> tuple[int, int]:
        """Where a recovery from it goes on: timeline and position."""
        return self.timeline, self.end


@dataclass(frozen=True)
class LogState:
    """The log as the newest snapshot lists it."""

    commit: SnapshotCommit | None = None
    server: ServerNote | None = None
    files: Mapping[Piece, StoredFile] = field(default_factory=dict)
    histories: Mapping[int, tuple[History, StoredFile]] = field(default_factory=dict)
    marks: tuple[Mark, ...] = ()
    partitions: Mapping[str, tuple[Piece, ...]] = field(default_factory=dict)

    @property
    def timeline(self) -> int:
        """The newest timeline that there is log of; 0 for none."""
        return max((piece.timeline for piece in self.files), default=0)

    def end(self, timeline: int) -> int:
        """How far the log of a timeline goes, holes or not."""
        return max((piece.end for piece in self.files if piece.timeline == timeline), default=0)

    def history(self, timeline: int) -> History:
        """How a timeline came about; the first one has no history."""
        known = self.histories.get(timeline)
        if known is None and timeline > 1:
            raise IntegrityError(f"expected the history of timeline {timeline} in the vault, found none: take a new base")
        return known[0] if known else History(timeline)

    def way_from(self, base: Base, timeline: int | None = None) -> list[Leg] | None:
        """The legs of a recovery from a base to a timeline, by default the newest that is reached; None for another line."""
        goal = timeline or max(self.timeline, base.timeline)
        return way(base.origin, self.history(goal), base.server.segment_bytes)

    def covered(self, base: Base, timeline: int | None = None) -> Coverage | None:
        """How far a recovery from a base gets; None where the timeline is not on its line."""
        legs = self.way_from(base, timeline)
        if legs is None:
            return None
        coverage = cover(legs, by_timeline(self.files), base.server.segment_bytes)
        # a base holds the log up to its own end
        return coverage if (coverage.timeline, coverage.end) > base.origin else replace(coverage, end=base.end)

    def known_until(self, coverage: Coverage) -> datetime | None:
        """The newest moment by which everything that was written lies before the end of what is covered."""
        times = [
            mark.time
            for mark in self.marks
            if mark.timeline < coverage.timeline or (mark.timeline == coverage.timeline and mark.lsn <= coverage.end)
        ]
        return max(times, default=None)

    def mark_after(self, moment: datetime) -> Mark | None:
        """The first mark from a moment on."""
        at = bisect_left(self.marks, moment, key=lambda mark: mark.time)
        return self.marks[at] if at < len(self.marks) else None


def read_log(vault: Vault, dataset: str) -> LogState:
    """Read what the newest snapshot of a log lists; costs its lists, not its bytes. Raises IntegrityError."""
    commits = vault.catalog.recent(dataset, 1)
    if not commits:
        return LogState()
    commit = commits[-1]
    entries = vault.partitions(commit)
    note = read_json(vault, vault.catalog.files(entries[SERVER])[0]) if SERVER in entries else None
    if not isinstance(note, dict):
        raise IntegrityError(f"expected {SERVER} in {dataset}, found none: see `orchestrai vault verify`")
    server = _server(note, SERVER)
    pieces: dict[Piece, StoredFile] = {}
    marks: list[Mark] = []
    histories: dict[int, tuple[History, StoredFile]] = {}
    partitions: dict[str, tuple[Piece, ...]] = {}
    for name, entry in sorted(entries.items()):
        if name == SERVER:
            continue
        own = []
        for file in vault.catalog.files(entry):
            if name == TIMELINES:
                number = int(file.path.split(".")[0], 16)
                histories[number] = (parse_history(number, b"".join(vault.stream(file)).decode()), file)
            elif file.path == MARKS:
                marks += read_marks(read_json(vault, file))
            elif (piece := piece_of(file.path, file.size, server.segment_bytes)) is not None:
                pieces[piece] = file
                own.append(piece)
        if name != TIMELINES:
            partitions[name] = tuple(own)
    return LogState(commit, server, pieces, histories, tuple(sorted(marks)), partitions)


def read_marks(body: object) -> list[Mark]:
    """Marks as they lie in the vault; raises IntegrityError."""
    try:
        return [Mark(datetime.fromisoformat(time), int(tli), parse_lsn(lsn)) for time, tli, lsn in body]  # type: ignore[attr-defined]
    except (TypeError, ValueError) as exc:
        raise IntegrityError(f"expected marks of a log, found something else ({exc})") from exc


def read_bases(vault: Vault, dataset: str) -> list[Base]:
    """The base backups that count, oldest first; costs a small list each. Raises IntegrityError."""
    bases = []
    for commit in vault.snapshots(dataset):
        note = vault.partitions(commit).get(NOTE)
        if note is None:
            raise IntegrityError(f"expected {NOTE} in base {commit.snapshot_id[:12]}, found none: forget that snapshot")
        bases.append(_base(commit, read_json(vault, vault.catalog.files(note)[0])))
    return bases


def _base(commit: SnapshotCommit, body: object) -> Base:
    try:
        assert isinstance(body, dict)
        return Base(
            commit,
            _server(body, NOTE_FILE),
            int(body["timeline"]),
            parse_lsn(body["start"]),
            parse_lsn(body["end"]),
            datetime.fromisoformat(body["stopped"]),
            int(body["next_xid"]),
            str(body["role"]),
            tuple(body["folders"]),
            dict(body["witness"]),
        )
    except (AssertionError, KeyError, TypeError, ValueError) as exc:
        raise IntegrityError(f"expected what a base backup holds in {NOTE_FILE}, found something else ({exc})") from exc


def _server(note: Mapping[str, Any], where: str) -> ServerNote:
    if note["format"] != FORMAT:
        raise UnknownFormatVersion(f"expected format {FORMAT} of {where}, found {note['format']}: upgrade orchestrai")
    return ServerNote(str(note["system"]), int(note["major"]), int(note["segment_bytes"]))


def read_json(vault: Vault, file: StoredFile) -> object:
    """A file of a snapshot as JSON; raises IntegrityError where it is none."""
    try:
        return json.loads(b"".join(vault.stream(file)))
    except ValueError as exc:
        raise IntegrityError(f"expected JSON in {file.path}, found something else ({exc})") from exc
