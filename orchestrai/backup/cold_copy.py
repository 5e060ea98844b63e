"""A backup once more in a cold tier: copied, locked, and its record published with what the store itself told."""

from collections.abc import Sequence

from orchestrai.backup.checks import COLD_CHECKS
from orchestrai.core.code_identity import Producer
from orchestrai.core.time.calendar import WHOLE
from orchestrai.core.verdict import Verdict
from orchestrai.ledger.manifest import canonical_json
from orchestrai.ledger.receipt import InputRef
from orchestrai.ledger.report import Meter, StageReport
from orchestrai.restore.ports import Drilled
from orchestrai.stage.context import RunContext
from orchestrai.stage.stage import AssetNode, Stage
from orchestrai.vault.spec import BackupSpec
from orchestrai.vault.vault import Vault

PRODUCER = Producer("cold_copy", __name__)


def _run(context: RunContext, node: AssetNode[Drilled], partitions: Sequence[str]) -> StageReport:
    """Copy to the cold tier and publish the backup record; what the store did not do is a failed check, not an error."""
    from orchestrai.storage.cloud.control import control_plane
    from orchestrai.storage.url import open_store
    from orchestrai.vault.lifecycle.cold_tier import cold_copy

    ledger, spec = context.ledger, (node.subject.backup or BackupSpec()).cold
    vault = context.port(Vault)
    with Meter() as meter:
        session = ledger.session(node.asset, PRODUCER)
        target = open_store(spec.url)
        commit = vault.latest(node.subject.kept_as)
        done = cold_copy(
            vault, commit, target, control_plane(target), tier=spec.tier, lock=spec.lock, progress=context.progress
        )
        record = done.as_json()
        meter.read = meter.written = done.bytes
        session.add_bytes(WHOLE, "backup_record.json", canonical_json({**record, "seconds": None}), rows=1)
    tiered = not spec.tier or not done.tier_reason
    verdicts = [
        Verdict(
            "verified", done.verified.ok, f"{done.verified.snapshots} snapshots, {len(done.verified.findings)} problems"
        ),
        Verdict("tier", tiered, done.tier_reason or f"{done.objects} objects, contents in {done.tier}", "warn"),
        Verdict("lock", not spec.lock or done.locked, done.lock_reason or f"until {done.locked_until}", "warn"),
    ]
    source = ledger.find(node.subject.backup_asset)
    inputs = [InputRef(source.asset, source.version)] if source else []
    return session.commit({WHOLE: verdicts}, inputs=inputs, cost=meter.cost(), facts=record)


COLD_COPY = Stage(
    "cold_copy",
    ("dataset", "view", "model", "database"),
    "The vault's snapshots of this once more, in a cold tier and locked; tier and lock as the store itself told.",
    frozenset({"vault"}),
    PRODUCER,
    _run,
    deps=lambda subject: (subject.backup_asset,),
    checks=lambda subject: COLD_CHECKS,
    applies=lambda subject: subject.backup is not None and bool(subject.backup.cold.url),
    role="copy",
    red=True,
)
