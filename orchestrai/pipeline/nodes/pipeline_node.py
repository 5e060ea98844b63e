"""One loaded pipeline: the nodes that it declares."""

from dataclasses import dataclass
from pathlib import Path

from orchestrai.backup.airgap.pulled_vault import PulledVaultNode
from orchestrai.backup.subjects import DatabaseNode, ManagedNode
from orchestrai.pipeline.declarations import PipelineSpec
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.nodes.load_node import LoadNode
from orchestrai.pipeline.nodes.model_node import ModelNode
from orchestrai.pipeline.nodes.share_node import ShareNode
from orchestrai.pipeline.nodes.view_node import ViewNode
from orchestrai.stage.names import SubjectKind

Declared = DatasetNode | ViewNode | ModelNode | LoadNode | ShareNode | DatabaseNode | ManagedNode | PulledVaultNode


@dataclass(frozen=True)
class Pipeline:
    """One loaded pipeline."""

    spec: PipelineSpec
    folder: Path
    datasets: tuple[DatasetNode, ...]
    views: tuple[ViewNode, ...]
    models: tuple[ModelNode, ...]
    loads: tuple[LoadNode, ...] = ()
    shares: tuple[ShareNode, ...] = ()

    @property
    def name(self) -> str:
        """The pipeline's name, which is also its group in the UI."""
        return self.spec.pipeline

    @property
    def kind(self) -> SubjectKind:
        """A pipeline as a whole."""
        return "pipeline"

    @property
    def pipeline(self) -> str:
        """Its own group."""
        return self.name

    @property
    def prefix(self) -> str:
        """Its name."""
        return self.name

    @property
    def about(self) -> str:
        """Nothing beyond what its catalog says."""
        return ""

    @property
    def source_files(self) -> tuple[Path, ...]:
        """None: what it holds is declared elsewhere."""
        return ()

    @property
    def own_datasets(self) -> list[DatasetNode]:
        """The datasets that it declares itself; what it refers to is another's."""
        return [dataset for dataset in self.datasets if dataset.pipeline == self.name]

    @property
    def subjects(self) -> tuple[Declared, ...]:
        """Everything that it declares itself, upstream first."""
        databases = [DatabaseNode(self.name, spec, self.folder) for spec in self.spec.databases]
        managed = [ManagedNode(self.name, spec, self.folder, self._after(spec.after)) for spec in self.spec.managed_backups]
        pulled = [PulledVaultNode(self.name, spec, self.folder) for spec in self.spec.pulled_vaults]
        return (*self.own_datasets, *self.views, *self.models, *self.loads, *self.shares, *databases, *managed, *pulled)

    def _after(self, name: str | None) -> tuple[str, ...]:
        """The asset that a managed backup comes after."""
        snapshots = [dataset.asset("snapshot") for dataset in self.datasets if dataset.spec.name == name]
        return (*snapshots, *(model.asset("champion") for model in self.models if model.spec.name == name))
