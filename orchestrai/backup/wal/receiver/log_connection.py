"""One connection to a server whose log is followed: what comes over it, spooled, and committed tick by tick."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event

from orchestrai.backup.wal.log_archive import Mark, ServerNote
from orchestrai.backup.wal.positions import lsn_text
from orchestrai.backup.wal.receiver.log_writer import LogWriter
from orchestrai.backup.wal.receiver.replication import Replication
from orchestrai.backup.wal.receiver.spooled_piece import SpooledPiece
from orchestrai.errors import StorageError, TransientStorageError
from orchestrai.vault.format.records import SnapshotCommit

# what is received between two commits lies on this machine's disk
SPOOL_BYTES = 256 * 1024**2
# a quiet server is asked, and a mark committed, no more often
QUIET = timedelta(seconds=60)


@dataclass(frozen=True)
class LogSource:
    """Whose log is followed: a secret reference, the slot, the dataset in the vault, and a folder for what is on its way."""

    reference: str
    slot: str
    dataset: str
    spool: Path
    tick: timedelta


@dataclass
class Received:
    """What a receiver did so far; `notes` are for people: what was lost and found again."""

    commits: int = 0
    bytes: int = 0
    hours: int = 0
    timeline: int = 0
    position: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Following:
    """What outlives a connection: whose log is followed, what came of it so far, and who is told of each commit."""

    source: LogSource
    received: Received
    commit_done: Callable[[SnapshotCommit], None] | None


@dataclass
class Goal:
    """How far to follow: to where the server's log ended at a time, which is then the newest moment that can be restored."""

    time: datetime
    lsn: int


class LogConnection:
    """What came over one connection, until it is committed."""

    def __init__(
        self, following: Following, server: Replication, writer: LogWriter, note: ServerNote, place: tuple[int, int]
    ) -> None:
        self.following, self.server, self.writer, self.note = following, server, writer, note
        timeline, position = place
        self.timeline, self.position, self.safe = timeline, position, position
        self.folder = following.source.spool / "spool"
        self.pieces: list[SpooledPiece] = []
        # what the server had written by a time; and the newest of these that was reached
        self.seen: tuple[datetime, int] | None = None
        self.mark: Mark | None = None
        self.committed = self.asked = time.monotonic()
        following.received.timeline, following.received.position = timeline, position

    def until(self, stop: Event, goal: Goal | None) -> None:
        """Receive and commit until told to stop, or the goal is reached; what came is committed before."""
        tick = self.following.source.tick.total_seconds()
        quiet = max(tick, QUIET.total_seconds())
        self._reached()
        while not stop.is_set() and not (goal and self.position >= goal.lsn):
            now = time.monotonic()
            try:
                if now - self.asked >= min(tick, 10.0) / 2:
                    self.server.confirm(self.position, self.safe, reply=True)
                    self.asked = now
                self._take(min(0.5, tick / 2))
            except StorageError:
                # the server is gone, what came of it is not
                self.commit(confirm=False)
                raise
            since = time.monotonic() - self.committed
            if self._waiting >= SPOOL_BYTES or since >= (tick if self.position > self.safe else quiet):
                self.commit()
        self.commit()

    def _take(self, timeout: float) -> None:
        message = self.server.read(timeout)
        if message is None:
            return
        if message.answer:
            self.server.confirm(self.position, self.safe)
        if message.data:
            if message.start != self.position:
                raise StorageError(
                    f"expected log from {lsn_text(self.position)} on, found {lsn_text(message.start)}: start the receiver again"
                )
            self._spool(memoryview(message.data))
        # before what is seen next takes its place: a server that always writes on would never be marked
        self._reached()
        if self.seen is None or self.seen[1] <= self.position:
            self.seen = (message.time, message.server_end)
            self._reached()

    def _reached(self) -> None:
        if self.seen is not None and self.seen[1] <= self.position:
            self.mark = Mark(self.seen[0], self.timeline, self.position)

    def _spool(self, data: memoryview) -> None:
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            while data:
                room = self.note.segment_bytes - self.position % self.note.segment_bytes
                if not self.pieces or self.position % self.note.segment_bytes == 0:
                    self.pieces.append(SpooledPiece(self.timeline, self.position, self.folder))
                self.pieces[-1].write(data[:room])
                self.position += len(data[:room])
                data = data[room:]
        except OSError as exc:
            raise TransientStorageError(
                f"expected to write what was received to {self.folder}, found: {exc.strerror}: free its disk, the server keeps the log"
            ) from exc
        self.following.received.position = self.position

    @property
    def _waiting(self) -> int:
        return self.position - self.safe

    def commit(self, *, confirm: bool = True) -> None:
        """Commit what came, and tell the server, where it is there, that it may let go of it."""
        if self.position == self.safe and self.mark is None:
            self.committed = time.monotonic()
            return
        sources = [piece.source(self.note.segment_bytes) for piece in self.pieces]
        commit = self.writer.commit(self.note, sources, self.mark, {})
        for piece in self.pieces:
            piece.remove()
        done = self.following.received
        done.commits, done.bytes, done.hours = done.commits + 1, done.bytes + self._waiting, self.writer.hours
        self.pieces, self.safe, self.mark, self.committed = [], self.position, None, time.monotonic()
        if confirm:
            self.server.confirm(self.position, self.safe)
        if self.following.commit_done is not None:
            self.following.commit_done(commit)
