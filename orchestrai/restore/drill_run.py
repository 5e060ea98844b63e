"""The drill of whatever has snapshots, published: a snapshot that was not proven is not published as a drill."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from orchestrai.core.code_identity import Producer
from orchestrai.core.time.calendar import WHOLE
from orchestrai.core.verdict import CheckInfo
from orchestrai.ledger.manifest import canonical_json
from orchestrai.ledger.receipt import InputRef
from orchestrai.ledger.report import Meter, StageReport
from orchestrai.restore.drill import DrillReport
from orchestrai.restore.ports import Drilled, Drills, Proofs, RecoveryPoints
from orchestrai.stage.context import RunContext
from orchestrai.stage.stage import AssetNode, Stage
from orchestrai.vault.spec import BackupSpec
from orchestrai.vault.vault import Vault

if TYPE_CHECKING:
    from orchestrai.restore.drill import Prove

PRODUCER = Producer("drill", __name__)
CHECKS = (
    CheckInfo("proof", True, "Every byte and row of the drilled snapshots was restored and proven."),
    CheckInfo("rto", False, "The slowest restore took no longer than declared."),
    CheckInfo("rpo", False, "No more would be lost than declared."),
)


Own = Callable[[RunContext], DrillReport]


def publish_drill(
    context: RunContext, asset: str, subject: Drilled, prove: "Prove | None" = None, own: Own | None = None
) -> StageReport:
    """Drill what is kept of a subject, in its `own` way where it has one, and publish what was measured as `asset`.

    Nothing would be lost where the newest snapshot is the current version of the live asset; else its age is what would be.
    """
    from orchestrai.restore.drill import drill

    ledger, vault = context.ledger, context.port(Vault)
    now = ledger.find(subject.live_asset) if subject.live_asset else None
    with Meter() as meter:
        session = ledger.session(asset, PRODUCER)
        if own is not None:
            done = own(context)
        else:
            done = drill(
                vault,
                dataset=subject.kept_as,
                spec=subject.backup or BackupSpec(),
                current_version=now.version if now else None,
                prove=prove,
            ).exposed(context.port(RecoveryPoints).of(subject))
        record = done.as_json()
        entry = session.add_bytes(WHOLE, "drill.json", canonical_json(record), rows=len(done.runs))
        meter.read, meter.written = sum(run.bytes for run in done.runs), entry.size
    snapshots = ledger.find(subject.backup_asset)
    inputs = [InputRef(snapshots.asset, snapshots.version)] if snapshots else []
    facts = {name: record[name] for name in ("drill_id", "rto_seconds", "rpo_seconds", "runs")}
    return session.commit({WHOLE: done.verdicts}, inputs=inputs, cost=meter.cost(), facts=facts)


def _run(context: RunContext, node: AssetNode[Drilled], partitions: Sequence[str]) -> StageReport:
    own = context.port(Drills).of(node.subject)
    prove = None if own is not None else context.port(Proofs).of(node.subject)
    return publish_drill(context, node.asset, node.subject, prove, own)


# of the whole of it, however it is cut
DRILL = Stage(
    "drill",
    ("dataset", "view", "model", "database", "instance", "definitions"),
    "The newest snapshot and a random one restored whole to scratch, every byte proven, and how long that took (RTO) and how "
    "much would be lost (RPO).",
    frozenset({"report"}),
    PRODUCER,
    _run,
    deps=lambda subject: (subject.backup_asset,),
    checks=lambda subject: CHECKS,
    applies=lambda subject: subject.backup is not None,
    role="trial",
    red=True,
)
