"""What the warehouse asks of others: a declared load and what it is from."""

from typing import Protocol

from orchestrai.stage.outcomes import Partitioned
from orchestrai.stage.stage import Subject
from orchestrai.warehouse.spec import LoadSpec


class DeclaredLoad(Subject, Protocol):
    """A warehouse table and the asset whose versions it holds."""

    @property
    def spec(self) -> LoadSpec:
        """Its declaration."""
        ...

    @property
    def source_asset(self) -> str:
        """What is loaded."""
        ...

    @property
    def partitioned_like(self) -> Partitioned | None:
        """The dataset whose partitions the table shares."""
        ...
