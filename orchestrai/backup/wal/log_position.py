"""Where a server's log in the vault stands: how much of the server it lacks, what can be reached, and whether that is without a hole."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from orchestrai.backup.subjects import DatabaseNode
from orchestrai.backup.wal.log_archive import LogState, read_bases, read_log
from orchestrai.backup.wal.positions import lsn_text
from orchestrai.backup.wal.receiver.log_connection import LogSource
from orchestrai.backup.wal.recovery.recovery_plan import Reach, reaches
from orchestrai.backup.wal.server import ServerFacts, server_facts
from orchestrai.core.canonical import JsonValue, sha256_hex
from orchestrai.core.time.duration_cron import format_duration
from orchestrai.core.verdict import CheckInfo, Verdict
from orchestrai.errors import ConfigError, StorageError
from orchestrai.settings import Settings
from orchestrai.stage.stage import AssetNode
from orchestrai.vault.vault import Vault

RPO, CONTINUITY = "rpo", "continuity"
CHECKS = (
    CheckInfo(CONTINUITY, False, "From the newest base backup to the end, the log in the vault has no hole."),
    CheckInfo(RPO, False, "The vault lacks no more of the server than declared."),
)


def followed(nodes: Iterable[AssetNode[Any]]) -> list[DatabaseNode]:
    """The declared databases that are kept by their log."""
    subjects = {
        node.asset: node.subject for node in nodes if isinstance(node.subject, DatabaseNode) and node.stage.role == "log"
    }
    return [subjects[asset] for asset in sorted(subjects)]


def slot_name(subject: DatabaseNode, vault: Vault) -> str:
    """The slot that holds a database's log, by the vault's name too: two vaults follow one server side by side. Empty without a vault."""
    identity = vault.identity()
    return f"orchestrai_{subject.name[:40]}_{sha256_hex(f'{identity}/{subject.prefix}'.encode())[:8]}" if identity else ""


def log_source(subject: DatabaseNode, vault: Vault, settings: Settings) -> LogSource:
    """Whose log is followed for a declared database, for who is about to write; makes a vault where there is none yet."""
    vault.establish()
    rpo = subject.spec.rpo.total_seconds()
    return LogSource(
        subject.reference,
        slot_name(subject, vault),
        subject.log_kept_as,
        settings.home / "wal" / subject.prefix,
        timedelta(seconds=min(max(rpo / 3, 1.0), 60.0)),
    )


@dataclass(frozen=True)
class LogPosition:
    """The vault's log beside the server; `problem` is why the server could not be asked, and `server` None then."""

    name: str
    declared: timedelta
    now: datetime
    state: LogState
    reach: tuple[Reach, ...]
    server: ServerFacts | None = None
    problem: str = ""

    @property
    def newest(self) -> Reach | None:
        """How far the base that gets farthest does; None without a base."""
        return max(self.reach, key=lambda reach: (reach.coverage.timeline, reach.coverage.end), default=None)

    @property
    def behind_bytes(self) -> int | None:
        """What of the server's log cannot be restored; None where that is not known."""
        if self.server is None or self.newest is None:
            return None
        return max(0, self.server.lsn - self.newest.coverage.end)

    @property
    def lost(self) -> timedelta | None:
        """How much would be lost with the server now, in time; None where nothing of it could be restored."""
        if self.newest is None:
            return None
        if self.behind_bytes == 0:
            return timedelta()
        since = self.newest.known_until or self.newest.base.stopped
        return max((self.server.time if self.server else self.now) - since, timedelta())

    @property
    def base_needed(self) -> str:
        """Why a new base backup is needed before the present can be restored; empty where none is."""
        if self.newest is None:
            return "no base backup yet"
        if self.newest.coverage.hole is not None:
            return f"log is missing from {self.newest.coverage.hole}"
        timeline = self.state.timeline
        if (self.newest.coverage.timeline, self.newest.coverage.end) < (timeline, self.state.end(timeline)):
            return f"the log goes on where no base reaches, from timeline {timeline} on"
        return ""

    @property
    def verdicts(self) -> tuple[Verdict, Verdict]:
        """The checks `continuity` and `rpo`."""
        needed = self.base_needed
        message = f"{self.newest}" if not needed else f"expected to reach the present, found {needed}: take a base backup"
        whole = Verdict(CONTINUITY, not needed, message, "warn", {"bases": len(self.reach), "pieces": len(self.state.files)})
        lost, limit = self.lost, self.declared.total_seconds()
        passed = lost is not None and lost <= self.declared
        return whole, Verdict(RPO, passed, self.message, "warn", {"target_seconds": limit, **self.as_json()})

    @property
    def message(self) -> str:
        """What would be lost, in words."""
        declared = f"{format_duration(self.declared)} declared"
        if self.lost is None:
            return f"nothing could be restored: no base backup yet; {declared}"
        seconds = f"{self.lost.total_seconds():.1f} s"
        if self.server is None:
            return f"the server does not answer ({self.problem}); {seconds} since the vault is known to have had all; {declared}"
        held = (
            f"; its slot holds {self.server.slot.held_bytes:,} bytes there" if self.server.slot else "; it has no slot there"
        )
        if self.behind_bytes == 0:
            return f"the vault has all that the server has written{held}; {declared}"
        return f"the vault lacks {self.behind_bytes:,} bytes of {seconds}{held}; {declared}"

    def as_json(self) -> dict[str, JsonValue]:
        """The form shown to people and programs."""
        newest = self.newest
        slot = self.server.slot if self.server else None
        return {
            "database": self.name,
            "rpo_seconds": None if self.lost is None else self.lost.total_seconds(),
            "rpo": self.message,
            "rpo_passed": self.lost is not None and self.lost <= self.declared,
            "behind_bytes": self.behind_bytes,
            "vault_position": lsn_text(newest.coverage.end) if newest else None,
            "server_position": lsn_text(self.server.lsn) if self.server else None,
            "timeline": newest.coverage.timeline if newest else None,
            "known_until": newest.known_until.isoformat() if newest and newest.known_until else None,
            "base_needed": self.base_needed,
            "slot_held_bytes": slot.held_bytes if slot else None,
            "reach": [str(reach) for reach in self.reach],
        }


def log_position(subject: DatabaseNode, vault: Vault, now: datetime) -> LogPosition:
    """Look at a declared database and its log; a server that does not answer is told, not raised."""
    state = read_log(vault, subject.log_kept_as)
    reach = tuple(reaches(read_bases(vault, subject.kept_as), state))
    server, problem = None, ""
    try:
        server = server_facts(subject.reference, slot_name(subject, vault))
    except (StorageError, ConfigError) as exc:
        problem = exc.message
    return LogPosition(subject.prefix, subject.spec.rpo, now, state, reach, server, problem)


def base_needed(subject: DatabaseNode, vault: Vault) -> str:
    """Why a new base backup is needed, as the vault alone tells; empty where none is."""
    state = read_log(vault, subject.log_kept_as)
    reach = tuple(reaches(read_bases(vault, subject.kept_as), state))
    return LogPosition(subject.prefix, subject.spec.rpo, vault.clock(), state, reach).base_needed
