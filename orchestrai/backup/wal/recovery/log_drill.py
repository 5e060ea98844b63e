"""The drill of a database kept by its log: restored to exact positions on a real server, compared with what the primary held there."""

import random
import tempfile
import time
from datetime import UTC
from pathlib import Path

from orchestrai.backup.subjects import DatabaseNode
from orchestrai.backup.wal.log_archive import Base, LogState, read_bases, read_log
from orchestrai.backup.wal.log_position import log_position, log_source
from orchestrai.backup.wal.positions import lsn_text
from orchestrai.backup.wal.programs import account
from orchestrai.backup.wal.receiver.log_connection import LogSource
from orchestrai.backup.wal.receiver.receive import Receiver, ReceiverBusy
from orchestrai.backup.wal.recovery.recover import recover
from orchestrai.backup.wal.recovery.recovery_plan import RecoveryPlan, Target, plan_recovery
from orchestrai.backup.wal.recovery.scratch_server import Recovered
from orchestrai.backup.wal.recovery.witness import Witness, read_witness, table_sums, witness_or_none
from orchestrai.core.time.duration_cron import format_duration
from orchestrai.core.verdict import Verdict
from orchestrai.errors import ConfigError, IntegrityError, RestoreError, StorageError
from orchestrai.restore.drill import DrillReport, DrillRun
from orchestrai.stage.context import RunContext
from orchestrai.storage.postgres import connection
from orchestrai.vault.vault import Vault


def drill_log(context: RunContext, subject: DatabaseNode) -> DrillReport:
    """Restore to now and to an earlier moment; a server, program or byte that is missing is a failed proof that says so."""
    vault = context.port(Vault)
    drill_id, started = vault.new_id(), vault.clock().astimezone(UTC)
    source = log_source(subject, vault, context.settings)
    runs, notes = [], []
    try:
        now = witness_or_none(subject.reference)
        _await_log(vault, source, now)
    except (StorageError, ConfigError) as exc:
        now = Witness("", None, "", {})
        notes.append(f"the primary could not be asked ({exc.message})")
    state, bases = read_log(vault, subject.log_kept_as), read_bases(vault, subject.kept_as)
    if not bases:
        raise RestoreError(f"expected a base backup of {subject.prefix} to drill, found none: take one first")
    chosen = {"latest": (now, ""), "random": _earlier(bases, state, drill_id)}
    for why, (witness, base) in chosen.items():
        runs.append(_run(vault, subject, state, bases, why, witness, base))
    position = log_position(subject, vault, vault.clock())
    lost = position.lost.total_seconds() if position.lost is not None else 0.0
    rto = max(run.seconds for run in runs)
    problems = [f"{run.chosen}: {run.problem}" for run in runs if run.problem]
    compared = [witness for witness, _ in chosen.values() if witness.lsn is not None]
    told = (
        f"{len(compared)} of {len(runs)} restores were compared with what every table of the primary held at that position"
    )
    notes += [f"nothing to compare with: {witness.absent}" for witness, _ in chosen.values() if witness.absent]
    proof = Verdict("proof", not problems, "; ".join([*(problems or [told]), *notes]))
    limit = subject.spec.rto
    message = f"{rto:.1f} s measured, {format_duration(limit)} declared"
    fast = Verdict(
        "rto",
        rto <= limit.total_seconds(),
        message,
        "warn",
        {"seconds": rto, "target_seconds": limit.total_seconds()},
    )
    return DrillReport(drill_id, subject.kept_as, started, tuple(runs), rto, lost, (proof, fast, position.verdicts[1]))


def _earlier(bases: list[Base], state: LogState, seed: str) -> tuple[Witness, str]:
    """A witness of a kept base, reached from the base before where the log leads there; else from that base itself."""
    chance = random.Random(seed)
    at = chance.randrange(len(bases))
    witness = read_witness(bases[at].witness)
    before = bases[at - 1] if at else bases[at]
    coverage = state.covered(before)
    if witness.lsn is None or coverage is None or coverage.end < witness.lsn:
        before = bases[at]
    return witness, before.commit.snapshot_id


def _run(
    vault: Vault, subject: DatabaseNode, state: LogState, bases: list[Base], why: str, witness: Witness, base: str
) -> DrillRun:
    target = Target(base=base)
    if witness.lsn is not None:
        target = Target("lsn", lsn_text(witness.lsn), number=witness.lsn, before=True, base=base)
    differences: list[str] = []
    sums: dict[str, tuple[int, str]] = {}

    def look(server: Recovered) -> None:
        with connection(server.reference) as opened:
            sums.update(table_sums(opened))
        if witness.lsn is not None:
            differences.extend(witness.differences(sums))

    begun, problem, plan = time.perf_counter(), "", None
    try:
        plan = plan_recovery(bases, state, target)
        with tempfile.TemporaryDirectory(prefix="orchestrai-drill-") as folder:
            account().own(Path(folder))
            recover(vault, plan, Path(folder) / "server", tools=subject.spec.tools, look=look, durable=False)
        problem = "; ".join(differences[:5])
    except (RestoreError, IntegrityError, ConfigError, StorageError) as exc:
        problem = exc.message
    seconds = round(time.perf_counter() - begun, 6)
    rows = sum(count for count, _ in sums.values())
    return DrillRun(*_base_of(plan, bases), why, plan.bytes if plan else 0, len(sums), rows, seconds, problem)


def _base_of(plan: RecoveryPlan | None, bases: list[Base]) -> tuple[str, int]:
    commit = (plan.base if plan else bases[-1]).commit
    return commit.snapshot_id, commit.seq


def _await_log(vault: Vault, source: LogSource, witness: Witness) -> None:
    """Have the vault get the log up to a witness, by oneself or by the receiver that runs; raises StorageError."""
    deadline = time.monotonic() + 4 * source.tick.total_seconds() + 10
    while True:
        try:
            Receiver(vault, source).catch_up()
            return
        except ReceiverBusy:
            state = read_log(vault, source.dataset)
            if witness.lsn is None or state.end(state.timeline) > witness.lsn:
                return
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
