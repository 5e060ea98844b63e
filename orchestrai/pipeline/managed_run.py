"""Run a managed backup: recovery point, copy and restore test, by AWS Backup's own means."""

from dataclasses import replace

from orchestrai.backup.managed.aws_backup import AwsBackup, backup_waiting, open_aws_backup
from orchestrai.backup.managed.aws_resources import Restored, problem_of, remove
from orchestrai.backup.managed.recovery_points import (
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
from orchestrai.core.calendar import WHOLE
from orchestrai.core.verdict import Verdict
from orchestrai.ledger.report import PartitionOutcome, StageReport
from orchestrai.pipeline.nodes import AssetNode
from orchestrai.pipeline.site import Site
from orchestrai.storage.cloud.aws import aws_client


def run_managed(site: Site, node: AssetNode, managed: ManagedNode) -> StageReport:
    """Materialize a recovery point or its restore test; raises StorageError, RestoreError."""
    spec, target = managed.spec, managed.spec.target()
    waiting = backup_waiting(spec.wait)

    def service(region: str) -> AwsBackup:
        return replace(open_aws_backup(region, site.clock), waiting=waiting)

    here = service(spec.home_region)
    if node.stage == "recovery_point":
        begun = uncopied(site.ledger.find(node.asset), site.clock() - waiting.limit) if target.copy_to else None
        done = ManagedBackup(begun, adopted=("recovery_point",)) if begun else make_point(here, target)
        told = publish_backup(site.ledger, asset=node.asset, target=target, done=done, now=site.clock())
        if not target.copy_to:
            return told
        # the point is on record before its copy begins: whoever comes after a crash copies this one and makes no other
        done = copy_point(here, target, done, lambda: service(spec.copy_region))
        return publish_backup(site.ledger, asset=node.asset, target=target, done=done, now=site.clock())
    points = points_of(site.ledger.find(f"{managed.prefix}/recovery_point"))
    if spec.test is None or not points:
        verdict = Verdict("upstream", False, f"expected a recovery point of {managed.prefix}, found none: make one first")
        return StageReport(node.asset, None, (PartitionOutcome(WHOLE, False, verdicts=(verdict,)),))
    key, point = max(points.items())

    def restored(arn: str) -> Restored:
        return Restored(arn, lambda name: aws_client(name, region=spec.home_region))

    tested = try_point(here, target, point, spec.test.metadata, lambda arn: problem_of(restored(arn)))
    left = remove(restored(tested.created), target.resource) if spec.test.cleanup else ""
    return publish_test(site.ledger, asset=node.asset, partition=key, point=point, tested=tested, left=left)
