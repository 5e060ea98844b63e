"""The receiver: follows a server's log, and commits what came to the vault, tick by tick.

The server's slot moves on only after the vault's commit. Whatever dies, the next receiver goes on where the vault ends.
"""

import fcntl
import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from shutil import rmtree
from threading import Event

from orchestrai.backup.wal.log_archive import LogState, LogWriter, Mark, ServerNote, read_log
from orchestrai.backup.wal.positions import Piece, floor, lsn_text, parse_history
from orchestrai.backup.wal.replication import EndOfTimeline, LogRemoved, Replication, replication
from orchestrai.backup.wal.server import ServerFacts, server_facts
from orchestrai.errors import ConcurrentCommit, ConfigError, StorageError, TransientStorageError
from orchestrai.vault.commit.source import SourceFile, file_token
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.vault import Vault

# what is received between two commits lies on this machine's disk
SPOOL_BYTES = 256 * 1024**2
# a quiet server is asked, and a mark committed, no more often
QUIET = timedelta(seconds=60)
RECONNECT = 5.0


class ReceiverBusy(TransientStorageError):
    """Another receiver follows the log already."""


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


class Receiver:
    """Follows one server; `commit_done` is called after each commit. Not safe to share between threads."""

    def __init__(self, vault: Vault, source: LogSource, commit_done: Callable[[SnapshotCommit], None] | None = None) -> None:
        self.vault = vault
        self.source = source
        self.commit_done = commit_done
        self.received = Received()
        # where the server said that it can no longer go on from
        self._gone: set[tuple[int, int]] = set()

    def catch_up(self) -> Received:
        """Commit what the server has now, and end; raises StorageError, ConfigError."""
        with self._alone() as name:
            until = None
            while not self._follow(name, Event(), until := until or Goal(self._facts().lsn)):
                pass
        return self.received

    def follow(self, stop: Event, tell: Callable[[str], None]) -> Received:
        """Follow until `stop` is set; outages of the server are waited out, and told. Raises ConfigError for what no waiting mends."""
        with self._alone() as name:
            while not stop.is_set():
                try:
                    self._follow(name, stop, None)
                except (TransientStorageError, ConcurrentCommit) as exc:
                    tell(f"{exc.message}; trying again in {RECONNECT:g} s")
                    stop.wait(RECONNECT)
                for note in self.received.notes:
                    tell(note)
                self.received.notes.clear()
        return self.received

    # -- one connection --------------------------------------------------------------------------------------

    def _follow(self, name: str, stop: Event, goal: "Goal | None") -> bool:
        """Follow one timeline to its end, or to the goal; True when there is nothing left to do."""
        facts = self._facts()
        facts.require_ready()
        if facts.slot is not None and facts.slot.active:
            raise ReceiverBusy(f"expected slot {self.source.slot} to be free, found another receiver on it: stop one")
        with replication(self.source.reference) as server:
            identity = server.identify()
            note = ServerNote(identity.system, facts.major, server.segment_bytes())
            state = read_log(self.vault, self.source.dataset)
            _require_same(state, note)
            writer = LogWriter(self.vault, self.source.dataset, name, state)
            histories = self._histories(server, state, identity.timeline)
            if histories:
                writer.commit(note, [], None, histories)
            place = self._place(server, writer.state, facts, identity.timeline, note.segment_bytes)
            try:
                timeline, position = self._start(server, place, facts, identity.timeline, note.segment_bytes)
            except EndOfTimeline:
                raise TransientStorageError(
                    "expected log on the server's line, found none at the vault's end: try again"
                ) from None
            run = _Run(self, server, writer, note, timeline, position)
            run.seen = (facts.time, facts.lsn) if timeline == identity.timeline else None
            try:
                run.until(stop, goal if timeline == identity.timeline else None)
            except EndOfTimeline:
                run.commit()
                return False
            except LogRemoved as exc:
                if place is None or place in self._gone or run.position != position:
                    raise
                self._note_hole(place, exc)
                return False
        return True

    def _note_hole(self, place: tuple[int, int], exc: LogRemoved) -> None:
        self._gone.add(place)
        self.received.notes.append(
            f"a hole from {lsn_text(place[1])} of timeline {place[0]} on: {exc.message}; a new base backup is needed"
        )

    def _facts(self) -> ServerFacts:
        return server_facts(self.source.reference, self.source.slot)

    def _histories(self, server: Replication, state: LogState, timeline: int) -> dict[int, bytes]:
        """The histories that the vault lacks, of the server's timeline and those that it came from."""
        if timeline == 1 or timeline in state.histories:
            return {}
        data = server.history(timeline)
        before = [number for number, _ in parse_history(timeline, data.decode()).switches]
        wanted = [number for number in before if number > 1 and number not in state.histories]
        return {timeline: data, **{number: server.history(number) for number in wanted}}

    def _place(
        self, server: Replication, state: LogState, facts: ServerFacts, timeline: int, segment_bytes: int
    ) -> tuple[int, int] | None:
        """Where the vault's log ends on the server's line, and a slot to go on from there; None where it begins anew."""
        slot = facts.slot
        if slot is not None and slot.lost:
            self.received.notes.append(f"slot {self.source.slot} was lost on the server ({slot.status}); it was made again")
            server.drop_slot(self.source.slot)
            slot = None
        if slot is None:
            server.create_slot(self.source.slot)
        newest = state.timeline
        if newest == 0:
            return None
        end = state.end(newest)
        if newest == timeline:
            if end > facts.lsn:
                raise ConfigError(
                    f"expected the server at {lsn_text(end)} or later, as the vault has it, found it at {lsn_text(facts.lsn)} of the "
                    "same timeline: it lost log or is an older copy; promote it to a new timeline, or declare it under another name"
                )
            return timeline, end
        if newest > timeline:
            raise ConfigError(
                f"expected timeline {newest} or later, found a server on {timeline}: an older primary came back; point the URL at the "
                "present one"
            )
        line = [*state.history(timeline).switches, (timeline, 0)]
        names = [number for number, _ in line]
        if newest not in names:
            self.received.notes.append(f"timeline {timeline} does not come from {newest}: its log begins anew")
            return None
        at = names.index(newest)
        left = line[at][1]
        return (newest, end) if end < left else (names[at + 1], floor(left, segment_bytes))

    def _start(
        self, server: Replication, place: tuple[int, int] | None, facts: ServerFacts, timeline: int, segment_bytes: int
    ) -> tuple[int, int]:
        """Begin to follow at a place; where the server has that log no more, at the oldest that it has, and say so."""
        if place is not None and place not in self._gone:
            try:
                server.start(self.source.slot, *place)
            except LogRemoved as exc:
                self._note_hole(place, exc)
            else:
                return place
        slot = server_facts(self.source.reference, self.source.slot).slot
        restart = slot.restart if slot is not None and slot.restart is not None else facts.lsn
        place = timeline, floor(restart, segment_bytes)
        server.start(self.source.slot, *place)
        return place

    @contextmanager
    def _alone(self) -> Iterator[str]:
        """The name of this machine's receiver, of which one runs at a time; what an earlier one had on its way goes."""
        folder = self.source.spool
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(folder / "receiver", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise StorageError(f"expected to write in {folder}, found: {exc.strerror}: check the disk") from exc
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ReceiverBusy(
                    f"expected no other receiver of {self.source.dataset} here, found one: it does the work"
                ) from None
            name = os.read(descriptor, 64).decode()
            if not name:
                name = uuid.uuid4().hex[:8]
                os.write(descriptor, name.encode())
            rmtree(folder / "spool", ignore_errors=True)
            yield name
        finally:
            os.close(descriptor)


@dataclass
class Goal:
    """How far to follow."""

    lsn: int


class _Run:
    """What came over one connection, until it is committed."""

    def __init__(
        self, receiver: Receiver, server: Replication, writer: LogWriter, note: ServerNote, timeline: int, position: int
    ) -> None:
        self.receiver, self.server, self.writer, self.note = receiver, server, writer, note
        self.timeline, self.position, self.safe = timeline, position, position
        self.folder = receiver.source.spool / "spool"
        self.pieces: list[_Spooled] = []
        # what the server had written by a time; and the newest of these that was reached
        self.seen: tuple[datetime, int] | None = None
        self.mark: Mark | None = None
        self.committed = self.asked = time.monotonic()
        receiver.received.timeline, receiver.received.position = timeline, position

    def until(self, stop: Event, goal: Goal | None) -> None:
        """Receive and commit until told to stop, or the goal is reached; what came is committed before."""
        tick = self.receiver.source.tick.total_seconds()
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
                    self.pieces.append(_Spooled(self.timeline, self.position, self.folder))
                self.pieces[-1].write(data[:room])
                self.position += len(data[:room])
                data = data[room:]
        except OSError as exc:
            raise TransientStorageError(
                f"expected to write what was received to {self.folder}, found: {exc.strerror}: free its disk, the server keeps the log"
            ) from exc
        self.receiver.received.position = self.position

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
        done = self.receiver.received
        done.commits, done.bytes, done.hours = done.commits + 1, done.bytes + self._waiting, self.writer.hours
        self.pieces, self.safe, self.mark, self.committed = [], self.position, None, time.monotonic()
        if confirm:
            self.server.confirm(self.position, self.safe)
        if self.receiver.commit_done is not None:
            self.receiver.commit_done(commit)


class _Spooled:
    """A piece on its way, in a file of its own."""

    def __init__(self, timeline: int, start: int, folder: Path) -> None:
        self.timeline, self.start, self.size = timeline, start, 0
        self.file = folder / f"{timeline}-{start:x}"
        self._hash = hashlib.sha256()
        self._stream = self.file.open("wb", buffering=0)

    def write(self, data: memoryview) -> None:
        """Append."""
        done = 0
        while done < len(data):
            done += self._stream.write(data[done:]) or 0
        self._hash.update(data)
        self.size += len(data)

    def source(self, segment_bytes: int) -> SourceFile:
        """The piece as the vault takes it."""
        self._stream.close()
        piece = Piece(self.timeline, self.start, self.size)
        token = file_token(self.file.stat())
        return SourceFile(piece.path(segment_bytes), self.size, self.file, self._hash.hexdigest(), token=token)

    def remove(self) -> None:
        """Let go of its file."""
        self._stream.close()
        self.file.unlink(missing_ok=True)


def _require_same(state: LogState, note: ServerNote) -> None:
    if state.server is not None and state.server.system != note.system:
        raise ConfigError(
            f"expected server {state.server.system}, whose log the vault has, found {note.system}: another server, or one that was made "
            "anew; declare it under another name"
        )
    if state.server is not None and state.server.segment_bytes != note.segment_bytes:
        raise ConfigError(
            f"expected segments of {state.server.segment_bytes} bytes, found {note.segment_bytes}: declare it under another name"
        )
