"""Stages of a database that is kept to a moment: base backups, and its write-ahead log.

base --> wal --> drill
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from orchestrai.backup.run import protected
from orchestrai.backup.subjects import DatabaseNode
from orchestrai.backup.wal.log_position import CHECKS
from orchestrai.core.canonical import JsonValue
from orchestrai.core.code_identity import Producer
from orchestrai.core.time.calendar import WHOLE
from orchestrai.core.verdict import CheckInfo, Verdict
from orchestrai.errors import ConfigError
from orchestrai.ledger.manifest import canonical_json
from orchestrai.ledger.receipt import InputRef
from orchestrai.ledger.report import Meter, StageReport
from orchestrai.stage.context import RunContext
from orchestrai.stage.stage import AssetNode, Stage
from orchestrai.vault.vault import Vault

if TYPE_CHECKING:
    from orchestrai.backup.wal.receiver.log_connection import Received

BASED, FOLLOWED = Producer("base", __name__), Producer("wal", __name__)
BASE_CHECKS = (CheckInfo("base", True, "The base backup is of the server whose log is kept, and whole."),)


def _base(context: RunContext, node: AssetNode[DatabaseNode]) -> StageReport:
    """Copy the server. Its log is followed before: what is written meanwhile is in the base, what comes after must be in the log."""
    from orchestrai.backup.wal.base_backup import take_base
    from orchestrai.backup.wal.log_archive import DATA, NOTE, read_log
    from orchestrai.backup.wal.log_position import log_source
    from orchestrai.vault.run import KeepTask, keep

    subject, vault = node.subject, context.port(Vault)
    source = log_source(subject, vault, context.settings)
    _catch_up(vault, subject, context)
    state = read_log(vault, subject.log_kept_as)
    source.spool.mkdir(parents=True, exist_ok=True, mode=0o700)
    with TemporaryDirectory(prefix="base-", dir=source.spool) as folder:
        taken = take_base(subject.reference, source.slot, Path(folder) / "base", tools=subject.spec.tools)
        if state.server is not None and state.server.system != taken.facts.system:
            raise ConfigError(
                f"expected server {state.server.system}, whose log is kept, found {taken.facts.system}: declare it under another name"
            )
        sources = taken.sources()
        size = sum(file.size for file in sources)
        note = {name: taken.note[name] for name in ("timeline", "start", "end", "stopped", "tool_version", "major")}
        message = f"{len(sources)} files of {size:,} bytes, log from {note['start']} to {note['end']}"
        contents = {DATA: sources, NOTE: [taken.beside()]}
        verdicts = {DATA: [Verdict("base", True, message)]}
        task = KeepTask(subject.kept_as, node.asset, BASED, contents, verdicts, facts=note)
        return keep(context, vault, task)


def _catch_up(vault: Vault, subject: DatabaseNode, context: RunContext) -> "Received | None":
    """Commit what the server has now; None where a receiver does that already."""
    from orchestrai.backup.wal.log_position import log_source
    from orchestrai.backup.wal.receiver.receive import Receiver, ReceiverBusy

    receiver = Receiver(vault, log_source(subject, vault, context.settings))
    try:
        return receiver.catch_up()
    except ReceiverBusy:
        return None


def _log(context: RunContext, node: AssetNode[DatabaseNode]) -> StageReport:
    """Bring the log up to now, protect it, and publish where it stands."""
    from orchestrai.backup.wal.log_position import log_position
    from orchestrai.backup.wal.log_retention import trim_log
    from orchestrai.vault.protection import protect, protection_of, require_ready

    subject, vault = node.subject, context.port(Vault)
    wanted = protection_of(subject.spec, context.settings)
    require_ready(vault, wanted, node.asset)
    with Meter() as meter:
        session = context.ledger.session(node.asset, FOLLOWED)
        done = _catch_up(vault, subject, context)
        if done is not None and done.hours:
            trim_log(vault, subject.kept_as, subject.log_kept_as, subject.spec.window)
        position = log_position(subject, vault, vault.clock())
        commit = position.state.commit
        facts: dict[str, JsonValue] = {**position.as_json(), "notes": list(done.notes) if done else []}
        if commit is not None:
            snapshot: dict[str, JsonValue] = {
                "dataset": commit.dataset,
                "snapshot_id": commit.snapshot_id,
                "snapshot_seq": commit.seq,
            }
            facts |= snapshot | protect(vault, snapshot, wanted, progress=context.progress)
        entry = session.add_bytes(WHOLE, "position.json", canonical_json(facts), rows=1)
        meter.read, meter.written = done.bytes if done else 0, entry.size
    base = context.ledger.find(subject.backup_asset)
    inputs = [InputRef(base.asset, base.version)] if base else []
    return session.commit({WHOLE: position.verdicts}, inputs=inputs, cost=meter.cost(), facts=facts)


BASE: Stage[DatabaseNode] = Stage(
    "base",
    ("database",),
    "The whole server as its own pg_basebackup copies it, in the vault, with the log that makes the copy consistent.",
    frozenset({"vault", "sql"}),
    BASED,
    lambda context, node, partitions: protected(_base, context, node),
    checks=lambda database: BASE_CHECKS,
    applies=lambda database: database.follows_log,
    role="backup",
)
WAL: Stage[DatabaseNode] = Stage(
    "wal",
    ("database",),
    "The server's write-ahead log in the vault up to now: with a base, any moment of the declared window can be restored.",
    frozenset({"vault", "sql"}),
    FOLLOWED,
    lambda context, node, partitions: _log(context, node),
    deps=lambda database: (database.backup_asset,),
    checks=lambda database: CHECKS,
    applies=lambda database: database.follows_log,
    role="log",
    red=True,
)
