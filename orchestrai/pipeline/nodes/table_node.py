"""What a table beside the lake has in common, whether it is loaded or holds versions: it follows a dataset, a view or a model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.nodes.model_node import ModelNode
from orchestrai.pipeline.nodes.view_node import ViewNode
from orchestrai.stage.declared_subject import DeclaredSubject


class Named(Protocol):
    """A declaration that has a name."""

    @property
    def name(self) -> str:
        """Its name in the pipeline."""


@dataclass(frozen=True)
class TableNode(DeclaredSubject):
    """A table with what it follows, whose steps are tried again as those of its source."""

    pipeline: str
    spec: Named
    source: DatasetNode | ViewNode | ModelNode
    folder: Path

    @property
    def name(self) -> str:
        """Its name in the pipeline."""
        return self.spec.name
