"""What a server says of itself: whether its log can be followed, by whom, how far it is, and what its slot holds back."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrai.backup.wal.positions import parse_lsn
from orchestrai.errors import ConfigError
from orchestrai.storage.postgres import connection

_FACTS = """
SELECT clock_timestamp(), current_setting('server_version_num')::int / 10000, pg_is_in_recovery(),
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END::text,
       current_setting('wal_level'), current_setting('max_wal_senders')::int, current_setting('max_replication_slots')::int,
       (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user), current_user::text,
       (SELECT count(*) FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global'))::int,
       (SELECT count(*) FROM pg_stat_replication)::int, (SELECT count(*) FROM pg_replication_slots)::int,
       (SELECT rolname FROM pg_roles WHERE oid = 10)::text, (SELECT system_identifier FROM pg_control_system())::text
"""
_SLOT = """
SELECT active, restart_lsn::text, wal_status, pg_wal_lsn_diff(pg_current_wal_flush_lsn(), restart_lsn)::bigint
FROM pg_replication_slots WHERE slot_name = %s
"""


@dataclass(frozen=True)
class SlotFacts:
    """A replication slot: whether it is followed, from where on it holds log, how much, and whether it still does."""

    active: bool
    restart: int | None
    status: str
    held_bytes: int

    @property
    def lost(self) -> bool:
        """True where the server gave up what the slot was to hold."""
        return self.status == "lost" or self.restart is None


@dataclass(frozen=True)
class ServerFacts:
    """A server at one moment; `lsn` is how far its log is on its disk."""

    time: datetime
    major: int
    standby: bool
    lsn: int
    wal_level: str
    senders: int
    slots: int
    may_replicate: bool
    user: str
    tablespaces: int
    senders_used: int
    slots_used: int
    superuser: str
    system: str
    slot: SlotFacts | None

    def faults(self) -> Iterator[str]:
        """What keeps its log from being followed or its base from being taken, each with what to do."""
        if self.standby:
            yield "expected a primary, found a standby: name the primary"
        if self.wal_level == "minimal":
            yield "expected wal_level replica or logical, found minimal: set it and restart the server"
        if not self.may_replicate:
            yield f"expected the attribute REPLICATION, found {self.user} without: ALTER ROLE {self.user} REPLICATION"
        # the receiver takes one; a base backup two more
        if self.senders - self.senders_used < (2 if self.slot and self.slot.active else 3):
            yield f"expected three free of max_wal_senders, found {self.senders} with {self.senders_used} in use: raise it"
        if self.slot is None and self.slots <= self.slots_used:
            yield f"expected a free one of max_replication_slots, found {self.slots} with {self.slots_used} in use: raise it"
        if self.tablespaces:
            yield f"expected no tablespaces beside the default, found {self.tablespaces}: such a server is not kept by its log"

    def require_ready(self) -> None:
        """Raise ConfigError that says all of its faults."""
        faults = list(self.faults())
        if faults:
            raise ConfigError("; ".join(faults))


def server_facts(reference: str, slot: str) -> ServerFacts:
    """Ask a server by secret reference; raises StorageError, ConfigError."""
    with connection(reference, autocommit=True) as opened:
        row = opened.execute(_FACTS).fetchone()
        held = None if row[2] else opened.execute(_SLOT, (slot,)).fetchone()
    values = (*row[:3], parse_lsn(row[3]), *row[4:], None if held is None else _slot(held))
    return ServerFacts(*values)


def _slot(row: Any) -> SlotFacts:
    active, restart, status, size = row
    return SlotFacts(bool(active), parse_lsn(restart) if restart else None, str(status or ""), int(size or 0))
