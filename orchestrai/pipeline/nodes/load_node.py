"""A warehouse table with what it is loaded from; and how the steps of any node are tried again."""

from dataclasses import dataclass
from typing import ClassVar

from orchestrai.contracts.contract import Contract
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.nodes.model_node import ModelNode
from orchestrai.pipeline.nodes.table_node import TableNode
from orchestrai.pipeline.nodes.view_node import ViewNode
from orchestrai.stage.names import SubjectKind
from orchestrai.stage.retry_policy import RetryPolicy
from orchestrai.warehouse.spec import LoadSpec


@dataclass(frozen=True)
class LoadNode(TableNode):
    """A warehouse table with what it is loaded from."""

    kind: ClassVar[SubjectKind] = "load"
    spec: LoadSpec

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
    """How a step is tried again: as its dataset or model declares, a view as its first dataset, a table as what it follows."""
    subject = subject.source if isinstance(subject, TableNode) else subject
    if isinstance(subject, ViewNode):
        subject = next(iter(subject.inputs.values()))
    return subject.spec.retries if isinstance(subject, DatasetNode | ModelNode) else RetryPolicy()
