"""Every stage there is, upstream first: a new one is a folder and a line here."""

from collections.abc import Iterator
from typing import Any

from orchestrai.backup.airgap.run import PULL
from orchestrai.backup.cold_copy import COLD_COPY
from orchestrai.backup.heal_stage import HEAL
from orchestrai.backup.managed.run import RECOVERY_POINT, RESTORE_TEST
from orchestrai.backup.retention_stages import PRUNE, RETENTION
from orchestrai.backup.run import DEFINITIONS_SNAPSHOT, DUMP, FEATURE_BACKUP, MODEL_BACKUP
from orchestrai.backup.wal.run import BASE, WAL
from orchestrai.features.run import FEATURES
from orchestrai.features.training_set import TRAINING_SET
from orchestrai.ingest.arrival import DEAD_LETTERS, LANDING, RAW_EVENTS
from orchestrai.models.run import CANDIDATE, CHAMPION, DEPLOYMENT, EVALUATION, PREDICTIONS
from orchestrai.pipeline.costs import cost_report
from orchestrai.pipeline.nodes.pipeline_node import Pipeline
from orchestrai.pipeline.reports.pipeline_catalog import PRODUCER, write_catalog
from orchestrai.restore.drill_run import DRILL
from orchestrai.restore.run import RESTORED
from orchestrai.stage.names import VERBATIM
from orchestrai.stage.stage import Role, Stage
from orchestrai.vault.run import SNAPSHOT
from orchestrai.warehouse.run import WAREHOUSE
from orchestrai.warehouse.tables.share_run import TABLE


def catalogued(pipeline: Pipeline) -> Iterator[str]:
    """The assets that a pipeline's catalog lists, where they are published."""
    for dataset in pipeline.datasets:
        yield from (dataset.asset(stage) for stage in VERBATIM)
    yield from _kept(pipeline, "backup")
    yield from _kept(pipeline, "copy")


def _kept(pipeline: Pipeline, role: Role, *, declared: bool = False) -> Iterator[str]:
    """What is kept of a pipeline, also what is declared no more, unless only that is wanted."""
    for stage in STAGES:
        for subject in pipeline.subjects if stage.role == role else ():
            if subject.kind in stage.of and (stage.applies(subject) or not declared):
                yield stage.asset(subject.prefix)


def _deps(pipeline: Pipeline) -> tuple[str, ...]:
    """The snapshots of its own datasets, and every backup and copy: the catalog comes last."""
    snapshots = [dataset.asset("snapshot") for dataset in pipeline.own_datasets]
    return (*snapshots, *_kept(pipeline, "backup", declared=True), *_kept(pipeline, "copy", declared=True))


# what it lists are the others' assets, so it is made beside their list
CATALOG: Stage[Pipeline] = Stage(
    "catalog",
    ("pipeline",),
    "What the pipeline holds: versions, snapshots, rows and bytes of every dataset, as backed up.",
    frozenset({"json"}),
    PRODUCER,
    lambda context, node, partitions: write_catalog(context, catalogued(node.subject), node.asset),
    deps=_deps,
    role="catalog",
    tried=True,
)

COSTS: Stage[Pipeline] = Stage(
    "costs",
    ("pipeline",),
    "What the runs of the pipeline used and cost, a line a day (UTC), up to yesterday.",
    frozenset({"json"}),
    cost_report.PRODUCER,
    lambda context, node, partitions: cost_report.write_costs(context, node.subject.name, node.asset),
    role="account",
)

STAGES: tuple[Stage[Any], ...] = (
    LANDING,
    RAW_EVENTS,
    DEAD_LETTERS,
    SNAPSHOT,
    RESTORED,
    FEATURES,
    TRAINING_SET,
    CANDIDATE,
    EVALUATION,
    CHAMPION,
    DEPLOYMENT,
    PREDICTIONS,
    WAREHOUSE,
    TABLE,
    FEATURE_BACKUP,
    MODEL_BACKUP,
    DUMP,
    BASE,
    WAL,
    DEFINITIONS_SNAPSHOT,
    DRILL,
    COLD_COPY,
    RECOVERY_POINT,
    RESTORE_TEST,
    RETENTION,
    PRUNE,
    HEAL,
    PULL,
    CATALOG,
    COSTS,
)


def stages_of(kind: str) -> list[Stage[Any]]:
    """The stages of a kind of subject, upstream first."""
    return [stage for stage in STAGES if kind in stage.of]


def gates() -> tuple[str, ...]:
    """The names of the stages that hold back what fails their checks."""
    return tuple(stage.name for stage in STAGES if stage.gate)
