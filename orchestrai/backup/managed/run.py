"""Run a managed backup: recovery point, copy and restore test, by AWS Backup's own means."""

from collections.abc import Sequence
from dataclasses import replace

from orchestrai.backup.checks import POINT_CHECKS, TEST_CHECKS
from orchestrai.backup.managed.aws_backup import AwsBackup, backup_waiting, open_aws_backup
from orchestrai.backup.managed.aws_resources import Restored, problem_of, remove
from orchestrai.backup.managed.recovery_points import (
    POINT,
    TEST,
    ManagedBackup,
    copy_point,
    make_point,
    points_of,
    publish_backup,
    publish_test,
    try_point,
    uncopied,
)
from orchestrai.backup.subjects import ManagedNode
from orchestrai.core.time.calendar import WHOLE
from orchestrai.core.verdict import Verdict
from orchestrai.ledger.report import PartitionOutcome, StageReport
from orchestrai.stage.context import RunContext
from orchestrai.stage.stage import AssetNode, Stage
from orchestrai.storage.cloud.aws import aws_client


def _service(context: RunContext, managed: ManagedNode, region: str) -> AwsBackup:
    return replace(open_aws_backup(region, context.now), waiting=backup_waiting(managed.spec.wait))


def _point(context: RunContext, node: AssetNode[ManagedNode], partitions: Sequence[str]) -> StageReport:
    """Make a recovery point and its copy; raises StorageError."""
    spec, target, ledger = node.subject.spec, node.subject.spec.target(), context.ledger
    here = _service(context, node.subject, spec.home_region)
    since = context.now() - spec.wait
    begun = uncopied(ledger.find(node.asset), since) if target.copy_to else None
    done = ManagedBackup(begun, adopted=("recovery_point",)) if begun else make_point(here, target)
    report = publish_backup(ledger, asset=node.asset, target=target, done=done, now=context.now())
    if not target.copy_to:
        return report
    # the point is on record before its copy begins: whoever comes after a crash copies this one and makes no other
    done = copy_point(here, target, done, lambda: _service(context, node.subject, spec.copy_region))
    return publish_backup(ledger, asset=node.asset, target=target, done=done, now=context.now())


def _test(context: RunContext, node: AssetNode[ManagedNode], partitions: Sequence[str]) -> StageReport:
    """Restore the newest recovery point to a new resource; raises StorageError, RestoreError."""
    managed, spec = node.subject, node.subject.spec
    points = points_of(context.ledger.find(f"{managed.prefix}/recovery_point"))
    if spec.test is None or not points:
        verdict = Verdict("upstream", False, f"expected a recovery point of {managed.prefix}, found none: make one first")
        return StageReport(node.asset, None, (PartitionOutcome(WHOLE, False, verdicts=(verdict,)),))
    key, point = max(points.items())

    def restored(arn: str) -> Restored:
        return Restored(arn, lambda name: aws_client(name, region=spec.home_region))

    here, target = _service(context, managed, spec.home_region), spec.target()
    tested = try_point(here, target, point, spec.test.metadata, lambda arn: problem_of(restored(arn)))
    left = f"{tested.created} may be somebody's own: it was restored by a job that we did not start, delete it"
    if tested.ours:
        left = remove(restored(tested.created), target.resource) if spec.test.cleanup else ""
    return publish_test(context.ledger, asset=node.asset, partition=key, point=point, tested=tested, left=left)


RECOVERY_POINT = Stage(
    "recovery_point",
    ("managed",),
    "A recovery point that AWS Backup made and copied, read back from the service.",
    frozenset({"aws"}),
    POINT,
    _point,
    deps=lambda managed: managed.after,
    checks=lambda managed: POINT_CHECKS,
    role="backup",
    red=True,
)
RESTORE_TEST = Stage(
    "restore_test",
    ("managed",),
    "The newest recovery point restored to a new resource, looked at, and removed again.",
    frozenset({"aws", "report"}),
    TEST,
    _test,
    deps=lambda managed: (f"{managed.prefix}/recovery_point",),
    checks=lambda managed: TEST_CHECKS,
    applies=lambda managed: managed.spec.test is not None,
    role="trial",
    red=True,
)
