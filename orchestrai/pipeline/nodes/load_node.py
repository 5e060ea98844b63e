"""A warehouse table with what it is loaded from; and how the steps of any node are tried again."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from orchestrai.contracts.contract import Contract
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.nodes.model_node import ModelNode
from orchestrai.pipeline.nodes.view_node import ViewNode
from orchestrai.stage.declared_subject import DeclaredSubject
from orchestrai.stage.names import SubjectKind
from orchestrai.stage.retry_policy import RetryPolicy
from orchestrai.warehouse.spec import LoadSpec


@dataclass(frozen=True)
class LoadNode(DeclaredSubject):
    """A warehouse table with what it is loaded from."""

    kind: ClassVar[SubjectKind] = "load"
    pipeline: str
    spec: LoadSpec
    source: DatasetNode | ViewNode | ModelNode
    folder: Path

    @property
    def name(self) -> str:
        """Its name in the pipeline."""
        return self.spec.name

    @property
    def about(self) -> str:
        """What its declaration says of it, for people."""
        return f"Table {self.spec.table}."

    @property
    def source_asset(self) -> str:
        """The asset whose newest version the table holds."""
        return self.source.loadable

    @property
    def contract(self) -> Contract | None:
        """The contract of the dataset that is loaded; None for what has none."""
        return self.source.contract if isinstance(self.source, DatasetNode) else None

    @property
    def asset(self) -> str:
        """The asset key of the table."""
        return f"{self.prefix}/warehouse"

    @property
    def partitioned_like(self) -> DatasetNode | None:
        """The dataset whose partitions the table shares; None where it is loaded whole."""
        return self.source.partitioned_like


def retries_of(subject: object) -> RetryPolicy:
    """How a step is tried again: as its dataset or model declares, a view as its first dataset, a load as what it loads."""
    subject = subject.source if isinstance(subject, LoadNode) else subject
    if isinstance(subject, ViewNode):
        subject = next(iter(subject.inputs.values()))
    return subject.spec.retries if isinstance(subject, DatasetNode | ModelNode) else RetryPolicy()
