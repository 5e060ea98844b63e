"""The receiver: follows a server's log, and commits what came to the vault, tick by tick.

The server's slot moves on only after the vault's commit. Whatever dies, the next receiver goes on where the vault ends.
"""

import fcntl
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from shutil import rmtree
from threading import Event

from orchestrai.backup.wal.log_archive import LogState, ServerNote, read_log
from orchestrai.backup.wal.positions import floor, lsn_text, parse_history
from orchestrai.backup.wal.receiver.log_connection import Following, Goal, LogConnection, LogSource, Received
from orchestrai.backup.wal.receiver.log_writer import LogWriter
from orchestrai.backup.wal.receiver.replication import EndOfTimeline, LogRemoved, Replication, replication
from orchestrai.backup.wal.server import ServerFacts, server_facts
from orchestrai.errors import ConcurrentCommit, ConfigError, StorageError, TransientStorageError
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.vault import Vault

RECONNECT = 5.0


class ReceiverBusy(TransientStorageError):
    """Another receiver follows the log already."""


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
            now = self._facts()
            while not self._follow(name, Event(), Goal(now.time, now.lsn)):
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

    def _follow(self, name: str, stop: Event, goal: Goal | None) -> bool:
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
            run = LogConnection(
                Following(self.source, self.received, self.commit_done), server, writer, note, (timeline, position)
            )
            # of one question: a log that grew between two would end at the goal, before what is known to be there by then
            seen = goal or Goal(facts.time, facts.lsn)
            run.seen = (seen.time, seen.lsn) if timeline == identity.timeline else None
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
