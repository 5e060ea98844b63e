"""Jobs and schedules of what is kept beside events: feature tables, models, databases, definitions, managed resources.

A group has one job for its backups and one for its drills; each schedule asks for its own assets of them, and the catalog.
"""

from collections.abc import Iterator, Sequence

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from orchestrai.backup.airgap.run import PULL
from orchestrai.backup.heal_stage import HEAL
from orchestrai.backup.managed.run import RECOVERY_POINT, RESTORE_TEST
from orchestrai.backup.retention_stages import PRUNE, RETENTION
from orchestrai.defs.asset_keys import asset_key
from orchestrai.pipeline.drill_crons import WEEKLY_DRILLS
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.runtime import Runtime
from orchestrai.stage.stage import AssetNode

WEEKLY_COLD = "30 6 * * 0"
# retention runs on Sundays: what it forgets is marked a day later, when no writer can refer to it, and deleted two days after that
PRUNE_CRON = "0 9 * * 1,3"
# every byte of every copy is read: a day when little else is
HEAL_CRON = "0 6 * * 6"
MAX_RUNTIME = {"dagster/max_runtime": str(13 * 3600)}


def backs_up(node: AssetNode) -> bool:
    """True for what is kept beside events."""
    return node.stage.role == "backup"


def drills(node: AssetNode) -> bool:
    """True for drills and restore tests of what is kept beside events."""
    return node.stage.role == "trial" and node.subject.kind != "dataset"


def build_keeping_jobs(nodes: Sequence[AssetNode]) -> Iterator[UnresolvedAssetJobDefinition]:
    """Two jobs for each group that keeps something."""
    for group in _groups(nodes):
        own = [node for node in nodes if node.pipeline == group]
        backups = [node for node in own if backs_up(node) or node.stage.role in ("copy", "catalog", "log")]
        if any(node.stage.role != "catalog" for node in backups):
            yield _job(f"{group}_backup", backups, "Back up what is no event, copy it to its cold tier, update the catalog.")
        tried = [node for node in own if drills(node)]
        if tried:
            yield _job(f"{group}_drills", tried, "Restore what is no event to scratch, open it, and measure RTO and RPO.")
        mending = [node for node in own if node.stage is HEAL]
        if mending:
            yield _job(
                f"{group}_heal", mending, "Compare the vault and its replicas byte for byte, and mend each from the other."
            )
        pulling = [node for node in own if node.stage is PULL]
        if pulling:
            yield _job(f"{group}_pull", pulling, "Pull vaults of other accounts, prove every byte, keep what was pulled.")
        letting_go = [node for node in own if node.stage in (RETENTION, PRUNE)]
        if letting_go:
            yield _job(
                f"{group}_retention", letting_go, "Forget the snapshots that the declared `keep` lets go; give back bytes."
            )


def build_keeping_schedules(nodes: Sequence[AssetNode]) -> Iterator[dg.ScheduleDefinition]:
    """A schedule for each backup, as declared, one for all drills of a group, and one for each restore test and cold copy."""
    for group in _groups(nodes):
        own = [node for node in nodes if node.pipeline == group]
        catalog = [node for node in own if node.stage.role == "catalog"]
        for node in filter(backs_up, own):
            cron = _cron(node)
            if cron:
                cold = [other for other in own if other.stage.role == "copy" and other.deps == (node.asset,)]
                yield _schedule(_name(node, "backup"), cron, f"{group}_backup", [node, *cold, *catalog])
        for node in own:
            if node.stage is PRUNE:
                yield _schedule(_name(node, "prune"), PRUNE_CRON, f"{group}_retention", [node])
            if node.stage is RETENTION and node.subject.backup.retention.every:
                yield _schedule(_name(node, "retention"), node.subject.backup.retention.every, f"{group}_retention", [node])
            if node.stage.role == "copy" and node.subject.kind == "dataset":
                yield _schedule(_name(node, "weekly_cold_copy"), WEEKLY_COLD, f"{group}_backup", [node, *catalog])
            if node.stage is RESTORE_TEST:
                yield _schedule(_name(node, "restore_test"), node.subject.spec.test.every, f"{group}_drills", [node])
        yield from _copy_schedules(group, own)
        tried = [node for node in own if drills(node) and node.stage is not RESTORE_TEST]
        if tried:
            yield _schedule(f"{group}_weekly_drills", WEEKLY_DRILLS, f"{group}_drills", tried)


def _copy_schedules(group: str, own: Sequence[AssetNode]) -> Iterator[dg.ScheduleDefinition]:
    for node in own:
        if node.stage is HEAL:
            yield _schedule(_name(node, "heal"), HEAL_CRON, f"{group}_heal", [node])
        if node.stage is PULL and node.subject.spec.every:
            yield _schedule(_name(node, "pull"), node.subject.spec.every, f"{group}_pull", [node])


def kept_with_snapshot(nodes: Sequence[AssetNode], dataset: DatasetNode) -> list[str]:
    """Managed resources declared to be kept after a dataset's snapshot."""
    return [node.asset for node in nodes if node.stage is RECOVERY_POINT and dataset.asset("snapshot") in node.deps]


def _groups(nodes: Sequence[AssetNode]) -> list[str]:
    return list(dict.fromkeys(node.pipeline for node in nodes))


def _cron(node: AssetNode) -> str | None:
    spec = node.subject.spec if node.stage is RECOVERY_POINT else node.subject.backup
    return str(spec.every) if spec is not None and spec.every else None


def _name(node: AssetNode, what: str) -> str:
    return f"{node.asset.rsplit('/', 1)[0].replace('/', '_')}_{what}"


def _job(name: str, nodes: Sequence[AssetNode], description: str) -> UnresolvedAssetJobDefinition:
    selection = dg.AssetSelection.assets(*(asset_key(node.asset) for node in nodes))
    return dg.define_asset_job(name, selection=selection, tags=MAX_RUNTIME, description=description)


def _schedule(name: str, cron: str, job: str, nodes: Sequence[AssetNode]) -> dg.ScheduleDefinition:
    @dg.schedule(name=name, cron_schedule=cron, job_name=job, execution_timezone="UTC")
    def tick(
        context: dg.ScheduleEvaluationContext, orchestrai_runtime: dg.ResourceParam[Runtime]
    ) -> dg.RunRequest | dg.SkipReason:
        ready = _ready(orchestrai_runtime, nodes)
        if all(node.stage.role == "catalog" for node in ready):
            own = {node.asset for node in nodes}
            waiting = {dep for node in nodes if node.stage.role != "catalog" for dep in node.deps} - own
            return dg.SkipReason(f"nothing of {', '.join(sorted(waiting))} was published yet")
        keys = [asset_key(node.asset) for node in ready]
        return dg.RunRequest(run_key=f"{name}:{context.scheduled_execution_time.isoformat()}", asset_selection=keys)

    return tick


def _ready(runtime: Runtime, nodes: Sequence[AssetNode]) -> list[AssetNode]:
    """Those that have something to work on; the others would only make a red run."""
    ready: dict[str, AssetNode] = {}
    for node in nodes:
        alone = not node.deps or node.stage.role == "catalog" or node.stage in (RECOVERY_POINT, PRUNE)
        if alone or any(dep in ready or runtime.ledger.head(dep) is not None for dep in node.deps):
            ready[node.asset] = node
    return list(ready.values())
