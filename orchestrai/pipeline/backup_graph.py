"""What is kept -> nodes of the graph: backups of features and models, dumps, cold copies, drills, and what AWS Backup keeps.

features --> feature_backup --> drill          champion --> model_backup --> drill
dump --> drill                                 recovery_point --> restore_test
snapshot, feature_backup, model_backup, dump --> cold_copy
snapshot, feature_backup, model_backup, dump, cold_copy --> retention --> orchestrai/vault/prune
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from orchestrai.backup.subjects import DEFINITIONS, HOUSE, INSTANCE, DatabaseNode, HouseNode, ManagedNode, VaultNode
from orchestrai.contracts.checks import CheckInfo
from orchestrai.pipeline.declarations import PipelineSpec
from orchestrai.pipeline.nodes import AssetNode, DatasetNode, LoadNode, ModelNode, Pipeline, ViewNode
from orchestrai.pipeline.stages import DESCRIPTIONS, DRILL_CHECKS, RETENTION_CHECKS, VERSION_CHECK, Stage
from orchestrai.vault.spec import BackupSpec

Keepable = DatasetNode | ViewNode | ModelNode | DatabaseNode | HouseNode
# the stages whose vault bytes are a dataset of their own
BACKUPS: tuple[Stage, ...] = ("feature_backup", "model_backup", "dump", "recovery_point", "cold_copy")
DUMP_CHECKS = (CheckInfo("dump", True, "The dump holds tables and as many rows as declared."),)
REGISTRY_CHECKS = (CheckInfo("registry", True, "The version that serves is among those kept."),)
COLD_CHECKS = (
    CheckInfo("verified", True, "The cold copy, as a vault of its own, holds what its signed commits say."),
    CheckInfo("tier", False, "The store says that every content is in the declared tier."),
    CheckInfo("lock", False, "The store says that everything is locked for as long as declared."),
)
POINT_CHECKS = (
    CheckInfo("recovery_point", True, "The service describes the recovery point as complete and of this resource."),
    CheckInfo("copy", False, "The copy in the other region was read back."),
)
TEST_CHECKS = (
    CheckInfo("restore_test", False, "The restored resource is there and answers."),
    CheckInfo("cleanup", False, "The restored resource was removed again."),
)
HOUSE_TEXT = {
    "instance": "Dagster's own database: runs, events, ticks. Restored, it is what the UI shows; lost, no lineage is.",
    "definitions": "The files of every deployed pipeline: declarations, contracts, SQL.",
}


def with_kept(nodes: Sequence[AssetNode], pipelines: Sequence[Pipeline]) -> list[AssetNode]:
    """The graph with what is kept of it, upstream first; a pipeline's catalog comes after all its backups."""
    kept = [node for pipeline in pipelines for node in pipeline_nodes(pipeline)]
    catalogs = [
        replace(node, deps=(*node.deps, *(k.asset for k in kept if k.pipeline == node.pipeline and k.stage in BACKUPS)))
        for node in nodes
        if node.stage == "catalog"
    ]
    house = house_nodes(pipelines) if pipelines else ()
    whole = [*(node for node in nodes if node.stage != "catalog"), *kept, *catalogs, *house]
    return [*whole, *retention_nodes(whole)]


def pipeline_nodes(pipeline: Pipeline) -> Iterator[AssetNode]:
    """What is kept of one pipeline, its events apart."""
    for dataset in pipeline.datasets:
        if dataset.pipeline == pipeline.name:
            yield from _cold(_node(pipeline, dataset, "cold_copy"), dataset.spec.backup, dataset.asset("snapshot"))
    for view in pipeline.views:
        if view.backup is not None:
            backup = _node(pipeline, view, "feature_backup", (view.asset,), (VERSION_CHECK,))
            yield from _with_drill(backup, _node(pipeline, view, "drill"), _node(pipeline, view, "cold_copy"), view.backup)
    for model in pipeline.models:
        if model.spec.backup is not None:
            deps = (model.asset("candidate"), model.asset("champion"))
            backup = _node(pipeline, model, "model_backup", deps, REGISTRY_CHECKS)
            drill, cold = _node(pipeline, model, "drill"), _node(pipeline, model, "cold_copy")
            yield from _with_drill(backup, drill, cold, model.spec.backup)
    for spec in pipeline.spec.databases:
        database = DatabaseNode(pipeline.name, spec)
        backup = _node(pipeline, database, "dump", checks=DUMP_CHECKS)
        drill, cold = _node(pipeline, database, "drill"), _node(pipeline, database, "cold_copy")
        yield from _with_drill(backup, drill, cold, spec)
    for managed in pipeline.spec.managed_backups:
        yield from _managed_nodes(pipeline, ManagedNode(pipeline.name, managed))


def _node(
    pipeline: Pipeline,
    subject: Keepable | ManagedNode,
    stage: Stage,
    deps: tuple[str, ...] = (),
    checks: tuple[CheckInfo, ...] = (),
) -> AssetNode:
    files = (pipeline.folder / "pipeline.yaml",)
    text = DESCRIPTIONS[stage]
    if isinstance(subject, DatabaseNode | ManagedNode) and subject.spec.description:
        text += f"\n\n{subject.spec.description}"
    return AssetNode(
        f"{subject.prefix}/{stage}",
        stage,
        pipeline.name,
        pipeline.spec.owner,
        text,
        subject,
        deps,
        checks,
        source_files=files,
    )


def _with_drill(backup: AssetNode, drill: AssetNode, cold: AssetNode, spec: BackupSpec) -> Iterator[AssetNode]:
    yield backup
    yield replace(drill, deps=(backup.asset,), checks=DRILL_CHECKS)
    yield from _cold(cold, spec, backup.asset)


def _cold(node: AssetNode, spec: BackupSpec, of: str) -> Iterator[AssetNode]:
    if spec.cold.url:
        yield replace(node, deps=(of,), checks=COLD_CHECKS)


def _managed_nodes(pipeline: Pipeline, managed: ManagedNode) -> Iterator[AssetNode]:
    point = _node(pipeline, managed, "recovery_point", tuple(_trigger(pipeline, managed)), POINT_CHECKS)
    yield point
    if managed.spec.test is not None:
        yield _node(pipeline, managed, "restore_test", (point.asset,), TEST_CHECKS)


def _trigger(pipeline: Pipeline, managed: ManagedNode) -> Iterator[str]:
    """The asset that a managed backup comes after."""
    name = managed.spec.after
    yield from (dataset.asset("snapshot") for dataset in pipeline.datasets if name and dataset.spec.name == name)
    yield from (model.asset("champion") for model in pipeline.models if name and model.spec.name == name)


def house_nodes(pipelines: Sequence[Pipeline]) -> Iterator[AssetNode]:
    """Dagster's database and the definitions, in the group `orchestrai`."""
    owner = str(PipelineSpec.model_fields["owner"].default)
    folders: tuple[Path, ...] = tuple(pipeline.folder / "pipeline.yaml" for pipeline in pipelines)

    def node(house: HouseNode, stage: Stage, deps: tuple[str, ...], checks: tuple[CheckInfo, ...]) -> AssetNode:
        text = f"{DESCRIPTIONS[stage] if stage != 'snapshot' else 'A snapshot in the vault.'}\n\n{HOUSE_TEXT[house.kind]}"
        files = folders if house is DEFINITIONS else ()
        return AssetNode(f"{house.prefix}/{stage}", stage, HOUSE, owner, text, house, deps, checks, source_files=files)

    yield node(INSTANCE, "dump", (), DUMP_CHECKS)
    yield node(INSTANCE, "drill", (f"{INSTANCE.prefix}/dump",), DRILL_CHECKS)
    yield node(DEFINITIONS, "snapshot", (), ())
    yield node(DEFINITIONS, "drill", (f"{DEFINITIONS.prefix}/snapshot",), DRILL_CHECKS)


def retention_nodes(nodes: Sequence[AssetNode]) -> Iterator[AssetNode]:
    """The retention of everything that has snapshots and a `keep` that lets any go, and the prune that gives back their bytes."""
    own: list[AssetNode] = []
    for node in nodes:
        subject = node.subject
        if node.stage not in ("snapshot", "feature_backup", "model_backup", "dump") or not isinstance(subject, Keepable):
            continue
        spec = backup_of(subject)
        if spec is not None and not spec.keep.keeps_all:
            # what is to be archived is copied before it may go
            cold = (f"{subject.prefix}/cold_copy",) if spec.cold.url else ()
            checks = RETENTION_CHECKS if isinstance(subject, DatasetNode) else ()
            text = f"{DESCRIPTIONS['retention']}\n\nKept: {spec.keep.describe()}."
            asset = f"{subject.prefix}/retention"
            own.append(
                replace(
                    node,
                    asset=asset,
                    stage="retention",
                    description=text,
                    deps=(node.asset, *cold),
                    checks=checks,
                    grain="all",
                )
            )
    yield from own
    if nodes:
        owner = str(PipelineSpec.model_fields["owner"].default)
        vault, deps = VaultNode(), tuple(node.asset for node in own)
        yield AssetNode(f"{vault.prefix}/prune", "prune", HOUSE, owner, DESCRIPTIONS["prune"], vault, deps)


def kept_as(subject: Keepable) -> str:
    """The name of a subject's dataset in the vault."""
    if isinstance(subject, DatasetNode):
        return subject.asset("raw_events")
    if isinstance(subject, ViewNode):
        return subject.asset
    if isinstance(subject, ModelNode):
        return f"{subject.prefix}/registry"
    return subject.kept_as


def backup_of(subject: Keepable) -> BackupSpec | None:
    """How a subject is kept; None for one that is not."""
    if isinstance(subject, DatasetNode | ModelNode):
        return subject.spec.backup
    return subject.backup


def declared_backups(nodes: Sequence[AssetNode]) -> dict[str, BackupSpec]:
    """How each dataset of the vault is kept, by its name there."""
    found = {}
    for node in nodes:
        if not isinstance(node.subject, Pipeline | ManagedNode | LoadNode | VaultNode):
            spec = backup_of(node.subject)
            if spec is not None:
                found[kept_as(node.subject)] = spec
    return found
