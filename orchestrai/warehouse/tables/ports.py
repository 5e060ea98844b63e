"""What a table asks of others: its declaration, whose versions it holds, and which of them the source's retention keeps."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from orchestrai.stage.stage import Subject
from orchestrai.warehouse.tables.share_spec import ShareSpec

if TYPE_CHECKING:
    import pyarrow as pa


class SharedSubject(Subject, Protocol):
    """A declared table and the asset whose versions are its snapshots."""

    @property
    def spec(self) -> ShareSpec:
        """Its declaration."""
        ...

    @property
    def source_asset(self) -> str:
        """The asset whose versions it holds."""
        ...

    @property
    def declared_columns(self) -> "pa.Schema | None":
        """The columns that its source declares; None where only the files tell."""
        ...

    @property
    def identifier(self) -> str:
        """What it is called in a catalog: `<namespace>.<name>`."""
        ...

    def kept(self, published: Mapping[int, datetime], now: datetime) -> set[int]:
        """Of versions, by the numbers of their heads with the times of these, those that the source's retention keeps."""
        ...
