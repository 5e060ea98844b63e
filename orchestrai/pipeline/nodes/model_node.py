"""A model, with the feature views and label inputs that it learns from."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from orchestrai.features.spec import IncompleteRows, LabelSpec, SpineSpec
from orchestrai.pipeline.declarations import PipelineModelSpec
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.nodes.view_node import ViewNode
from orchestrai.stage.declared_subject import DeclaredSubject
from orchestrai.stage.names import StageName, SubjectKind
from orchestrai.vault.spec import BackupSpec


@dataclass(frozen=True)
class ModelNode(DeclaredSubject):
    """A model with the feature views and the label inputs it learns from."""

    kind: ClassVar[SubjectKind] = "model"
    pipeline: str
    spec: PipelineModelSpec
    views: tuple[ViewNode, ...]
    label_inputs: dict[str, DatasetNode]
    folder: Path

    @property
    def name(self) -> str:
        """Its name in the pipeline."""
        return self.spec.name

    @property
    def datasets(self) -> list[DatasetNode]:
        """Every dataset that it learns from, once: those of its labels, then those of its views."""
        nodes = [*self.label_inputs.values(), *(dataset for view in self.views for dataset in view.inputs.values())]
        return list({dataset.prefix: dataset for dataset in nodes}.values())

    @property
    def former_names(self) -> tuple[str, ...]:
        """The names that it had before, oldest first."""
        return self.spec.renamed_from

    @property
    def loadable(self) -> str:
        """What a warehouse loads of it."""
        return self.asset("predictions")

    @property
    def partitioned_like(self) -> DatasetNode | None:
        """None: its predictions are of the newest moment."""
        return None

    @property
    def label(self) -> LabelSpec | None:
        """What it learns, computed from its inputs; None where a spine brings it."""
        return self.spec.label

    @property
    def spine(self) -> SpineSpec | None:
        """The rows that somebody brings, with their label."""
        return self.spec.spine

    @property
    def incomplete(self) -> IncompleteRows:
        """What becomes of rows whose windows lack something."""
        return self.spec.incomplete

    @property
    def backup(self) -> BackupSpec | None:
        """How its versions are kept."""
        return self.spec.backup

    @property
    def kept_as(self) -> str:
        """Its dataset's name in the vault."""
        return f"{self.prefix}/registry"

    @property
    def backup_asset(self) -> str:
        """The asset of its snapshots."""
        return f"{self.prefix}/model_backup"

    def asset(self, stage: StageName) -> str:
        """The asset key of a stage."""
        return f"{self.prefix}/{stage}"
