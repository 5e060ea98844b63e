"""What `doctor` and `report` say of databases that are kept by their log: whether it can be followed, and where it stands."""

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrai.backup.subjects import DatabaseNode
from orchestrai.backup.wal.log_position import LogPosition, followed, log_position, slot_name
from orchestrai.backup.wal.programs import account, find_programs
from orchestrai.backup.wal.receiver.replication import replication
from orchestrai.backup.wal.server import server_facts
from orchestrai.errors import ConfigError, OrchestraiError, StorageError
from orchestrai.pipeline.runtime import Runtime
from orchestrai.vault.protection import is_sealed

PROGRAMS = ("postgres", "pg_basebackup", "pg_verifybackup", "pg_controldata")


@dataclass(frozen=True)
class DatabaseFinding:
    """One thing that a database needs: whether it is so, and what it is or what to do."""

    name: str
    ok: bool
    detail: str


def log_positions(runtime: Runtime) -> list[LogPosition]:
    """Where the log of each such database stands; none while there is no vault, which looking does not make."""
    store = runtime.ledger.vault
    if store is None or is_sealed(store, runtime.ledger.keyring) is None:
        return []
    nodes = runtime.project.nodes.values()
    return [log_position(subject, runtime.vault, runtime.clock()) for subject in followed(nodes)]


def database_findings(runtime: Runtime) -> list[DatabaseFinding]:
    """All that is wrong with each of them, before anything runs; changes nothing, on the server neither."""
    return [finding for subject in followed(runtime.project.nodes.values()) for finding in _findings(runtime, subject)]


def _findings(runtime: Runtime, subject: DatabaseNode) -> Iterator[DatabaseFinding]:
    name = f"database {subject.shown}"
    # a key is made with the first ledger that is opened, and looking makes nothing
    fresh = not (runtime.settings.key_folder / "signing.pem").exists()
    store = None if fresh else runtime.ledger.vault
    known = store is not None and is_sealed(store, runtime.ledger.keyring) is not None
    try:
        slot = slot_name(subject, runtime.vault) if known else ""
        facts = server_facts(subject.reference, slot)
        faults = list(facts.faults())
        faults += list(_missing(facts.major, subject.spec.tools))
        faults += list(_refused(subject.reference))
        if facts.slot is not None and facts.slot.lost:
            faults.append(
                f"expected slot {slot} to hold the log, found it {facts.slot.status}: run `orchestrai backup receive`"
            )
        yield DatabaseFinding(name, not faults, "; ".join(faults) or f"PostgreSQL {facts.major}, its log can be followed")
        if not known:
            yield DatabaseFinding(
                f"{name}: rpo", False, "nothing of it is in the vault yet: run `orchestrai backup receive`"
            )
            return
        position = log_position(subject, runtime.vault, runtime.clock())
        for verdict in position.verdicts:
            yield DatabaseFinding(f"{name}: {verdict.check}", verdict.passed, verdict.message)
    except OrchestraiError as exc:
        yield DatabaseFinding(name, False, exc.message)


def _refused(reference: str) -> Iterator[str]:
    """Why a connection for replication is not let in."""
    try:
        with replication(reference) as server:
            server.identify()
    except StorageError as exc:
        yield exc.message


def _missing(major: int, tools: str) -> Iterator[str]:
    """Programs that a base backup or a restore here would lack."""
    try:
        programs = find_programs(major, tools)
        for name in PROGRAMS:
            programs.path(name)
        account()
    except ConfigError as exc:
        yield exc.message
