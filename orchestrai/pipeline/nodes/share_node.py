"""A table with time travel, with what it holds the versions of."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.nodes.model_node import ModelNode
from orchestrai.pipeline.nodes.table_node import TableNode
from orchestrai.stage.names import SubjectKind
from orchestrai.vault.lifecycle.retention import reasons_by_rules
from orchestrai.vault.spec import BackupSpec
from orchestrai.warehouse.tables.share_spec import ShareSpec

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class ShareNode(TableNode):
    """A table with the dataset, feature view or model whose versions are its snapshots."""

    kind: ClassVar[SubjectKind] = "share"
    spec: ShareSpec

    @property
    def about(self) -> str:
        """What its declaration says of it, for people."""
        return (
            f"{self.spec.form.capitalize()} table {self.identifier if self.spec.form == 'iceberg' else 'beside its data'}."
        )

    @property
    def source_asset(self) -> str:
        """The asset whose versions it holds."""
        if isinstance(self.source, DatasetNode) and self.spec.of == "raw":
            return self.source.asset("raw_events")
        return self.source.loadable

    @property
    def declared_columns(self) -> "pa.Schema | None":
        """The columns that its source declares; of predictions none."""
        if isinstance(self.source, ModelNode):
            return None
        return self.source.contract.arrow_schema() if isinstance(self.source, DatasetNode) else self.source.view.schema

    @property
    def identifier(self) -> str:
        """What it is called in a catalog."""
        return self.spec.table or f"{self.pipeline}.{self.name}"

    @property
    def place(self) -> tuple[str, ...]:
        """What no two tables may have both."""
        return ("delta", self.source_asset) if self.spec.form == "delta" else (self.spec.catalog, self.identifier)

    @property
    def asset(self) -> str:
        """The asset key of the table."""
        return f"{self.prefix}/table"

    def kept(self, published: Mapping[int, datetime], now: datetime) -> set[int]:
        """Of versions by number, those that the source's `keep` would keep as snapshots; all where nothing is let go by itself."""
        backup = self.source.backup or BackupSpec()
        if not backup.retention.apply:
            return {*published}
        newest_first = sorted(published, key=lambda number: (published[number], number), reverse=True)
        reasons = reasons_by_rules([published[number] for number in newest_first], backup.keep, now)
        return {number for number, why in zip(newest_first, reasons, strict=True) if why}
