"""The replication protocol of PostgreSQL, as far as following its write-ahead log needs it, on libpq through psycopg.

The server learns that log is safe only from `confirm`; until then its slot holds it.
"""

import select
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from orchestrai.backup.wal.positions import lsn_text, parse_lsn
from orchestrai.core.sql.quoting import quoted
from orchestrai.errors import MissingExtra, RestoreError, StorageError
from orchestrai.storage.postgres import parameters, tool_error

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_DATA, _ALIVE, _STATUS = struct.Struct("!cqqq"), struct.Struct("!cqqc"), struct.Struct("!cqqqqc")


class LogRemoved(StorageError):
    """The server no longer has the log that was asked for."""


class Identity(NamedTuple):
    """Which server this is, on which timeline, and how far it is."""

    system: str
    timeline: int
    lsn: int


@dataclass(frozen=True)
class Message:
    """What the server sent: log (`data` from `start` on), or only how far it has sent, at which time of its own clock."""

    start: int
    data: bytes
    server_end: int
    time: datetime
    # the server gives up on who does not answer
    answer: bool = False


class Replication:
    """One connection that may follow the log; not safe to share between threads."""

    def __init__(self, connection: Any, reference: str) -> None:
        self._connection = connection
        self._reference = reference

    def identify(self) -> Identity:
        """Ask which server this is."""
        system, timeline, lsn, _ = self._row("IDENTIFY_SYSTEM")
        return Identity(system, int(timeline), parse_lsn(lsn))

    def segment_bytes(self) -> int:
        """How long a segment is."""
        number, unit = self._row("SHOW wal_segment_size")[0][:-2], self._row("SHOW wal_segment_size")[0][-2:]
        return int(number) * {"kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}[unit]

    def history(self, timeline: int) -> bytes:
        """The history file of a timeline."""
        return self._row(f"TIMELINE_HISTORY {timeline}")[1].encode()

    def create_slot(self, name: str) -> None:
        """Make a slot that holds the log from now on."""
        self._row(f"CREATE_REPLICATION_SLOT {quoted(name)} PHYSICAL RESERVE_WAL")

    def drop_slot(self, name: str) -> None:
        """Give a slot up."""
        self._run(f"DROP_REPLICATION_SLOT {quoted(name)}")

    def start(self, slot: str, timeline: int, lsn: int) -> None:
        """Follow the log from a position; raises LogRemoved where the server has it no more, EndOfTimeline."""
        from psycopg import pq

        result = self._run(f"START_REPLICATION SLOT {quoted(slot)} PHYSICAL {lsn_text(lsn)} TIMELINE {timeline}")
        if result.status != pq.ExecStatus.COPY_BOTH:
            # there is nothing between the position and the end of the timeline
            while self._connection.get_result() is not None:
                pass
            raise EndOfTimeline("expected more log, found the end of its timeline: follow the next one")

    def read(self, timeout: float) -> Message | None:
        """The next message, or None where none comes in time; raises EndOfTimeline, StorageError."""
        deadline = time.monotonic() + timeout
        while True:
            count, data = self._connection.get_copy_data(1)
            if count > 0:
                return _message(bytes(data))
            if count < 0:
                raise self._ended()
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            if select.select([self._connection.socket], [], [], left)[0]:
                self._consume()

    def _consume(self) -> None:
        import psycopg

        try:
            self._connection.consume_input()
        except psycopg.Error as exc:
            raise tool_error(str(exc), "to follow the log", self._reference) from None

    def confirm(self, received: int, safe: int, *, reply: bool = False) -> None:
        """Tell the server what was received, and what is safe in the vault; with `reply` it answers how far it is."""
        import psycopg

        clock = int((datetime.now(UTC) - _EPOCH) / timedelta(microseconds=1))
        try:
            self._connection.put_copy_data(_STATUS.pack(b"r", received, safe, safe, clock, b"\1" if reply else b"\0"))
            self._connection.flush()
        except psycopg.Error as exc:
            raise tool_error(str(exc), "to follow the log", self._reference) from None

    def _ended(self) -> StorageError:
        import psycopg
        from psycopg import pq

        # the server ends the copy of a timeline and waits for its other side to; after an error there is no copy
        with suppress(psycopg.Error):
            self._connection.put_copy_end()
        while (result := self._connection.get_result()) is not None:
            if result.status == pq.ExecStatus.FATAL_ERROR:
                return self._error(result.error_message, _state(result))
            if result.status == pq.ExecStatus.TUPLES_OK:
                return EndOfTimeline("expected more log, found the end of its timeline: follow the next one")
        return self._error(b"the server closed the connection", "")

    def _row(self, command: str) -> list[str]:
        result = self._run(command)
        return ["" if (value := result.get_value(0, column)) is None else value.decode() for column in range(result.nfields)]

    def _run(self, command: str) -> Any:
        from psycopg import pq

        result = self._connection.exec_(command.encode())
        if result.status in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK, pq.ExecStatus.COPY_BOTH):
            return result
        raise self._error(result.error_message, _state(result))

    def _error(self, said: bytes, state: str) -> StorageError:
        text = said.decode(errors="replace").strip()
        # undefined file; an invalidated slot is no prerequisite state
        if state == "58P01" or (state == "55000" and "slot" in text):
            return LogRemoved(f"expected the server to have the log that the vault lacks, found: {text}")
        return tool_error(text, "to follow the log", self._reference)


class EndOfTimeline(StorageError):
    """The server has left the timeline that is followed."""


@contextmanager
def replication(reference: str, timeout: float = 15.0) -> Iterator[Replication]:
    """A connection for replication, by secret reference; raises StorageError."""
    try:
        from psycopg import pq
        from psycopg.conninfo import make_conninfo
    except ImportError as exc:
        raise MissingExtra("expected psycopg, found it absent: install orchestrai[postgres]") from exc
    import psycopg

    given = {"connect_timeout": str(max(2, round(timeout))), "application_name": "orchestrai", **parameters(reference)}
    opened = pq.PGconn.connect(make_conninfo("", **{**given, "replication": "true"}).encode())
    try:
        if opened.status != pq.ConnStatus.OK:
            raise tool_error(opened.error_message.decode(errors="replace"), "to connect for replication", reference)
        yield Replication(opened, reference)
    except psycopg.Error as exc:
        raise tool_error(str(exc), "to follow the log", reference) from None
    finally:
        opened.finish()


def _message(data: bytes) -> Message:
    if data[:1] == b"w":
        _, start, end, clock = _DATA.unpack_from(data)
        return Message(start, data[_DATA.size :], end, _EPOCH + timedelta(microseconds=clock))
    if data[:1] == b"k":
        _, end, clock, answer = _ALIVE.unpack_from(data)
        return Message(end, b"", end, _EPOCH + timedelta(microseconds=clock), answer != b"\0")
    raise RestoreError(f"expected log or a sign of life from the server, found a message of kind {data[:1]!r}")


def _state(result: Any) -> str:
    from psycopg import pq

    state = result.error_field(pq.DiagnosticField.SQLSTATE)
    return state.decode() if state else ""
