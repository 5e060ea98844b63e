"""Declarations -> the asset graph, as plain values that any orchestrator could draw: each subject times its stages.

landing --> raw_events --> snapshot --> restored --> features --> training_set --> candidate --> evaluation --> champion --> predictions
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from orchestrai.backup.retention_stages import RETENTION
from orchestrai.backup.subjects import DEFINITIONS, INSTANCE, VaultNode
from orchestrai.pipeline.declarations import PipelineSpec
from orchestrai.pipeline.nodes.pipeline_node import Pipeline
from orchestrai.pipeline.stage_registry import stages_of
from orchestrai.restore.drill_run import DRILL
from orchestrai.stage.stage import AssetNode, Subject
from orchestrai.vault.dead_letter_copy import DEAD_LETTERS
from orchestrai.vault.spec import BackupSpec


def asset_graph(pipelines: Sequence[Pipeline]) -> list[AssetNode[Any]]:
    """Every asset of every pipeline, upstream first, and what keeps the house itself."""
    nodes = [
        node
        for pipeline in pipelines
        for subject in (*pipeline.subjects, pipeline)
        for node in _nodes(subject, pipeline.spec.owner)
    ]
    if pipelines:
        owner = str(PipelineSpec.model_fields["owner"].default)
        folders = tuple(pipeline.folder / "pipeline.yaml" for pipeline in pipelines)
        for house in (INSTANCE, replace(DEFINITIONS, source_files=folders)):
            nodes += _nodes(house, owner)
        released = tuple(node.asset for node in nodes if node.stage is RETENTION)
        nodes += _nodes(VaultNode(after=released, backups=tuple(declared_backups(nodes).values())), owner)
    return nodes


def _nodes(subject: Subject, owner: str) -> Iterator[AssetNode[Any]]:
    return (stage.node(subject, owner) for stage in stages_of(subject.kind) if stage.applies(subject))


def declared_backups(nodes: Sequence[AssetNode[Any]]) -> dict[str, BackupSpec]:
    """How each dataset of the vault is kept, by its name there."""
    # whatever is kept is drilled; dead letters stay as the events they were refused from
    subjects = [node.subject for node in nodes if node.stage is DRILL]
    letters = {f"{one.prefix}/{DEAD_LETTERS}": one.backup for one in subjects if one.kind == "dataset"}
    return letters | {one.kept_as: one.backup for one in subjects}
