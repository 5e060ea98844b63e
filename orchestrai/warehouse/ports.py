"""What the warehouse asks of others: a declared load and what it is from."""

from typing import TYPE_CHECKING, Protocol

from orchestrai.stage.outcomes import Partitioned
from orchestrai.stage.stage import Subject
from orchestrai.warehouse.spec import LoadSpec

if TYPE_CHECKING:
    from orchestrai.contracts.contract import Contract


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
    def contract(self) -> "Contract | None":
        """The contract of the dataset that is loaded; None for what has none."""
        ...

    @property
    def partitioned_like(self) -> Partitioned | None:
        """The dataset whose partitions the table shares."""
        ...
