"""What backup asks of others: subjects that are kept beside events, and the declarations of every deployed pipeline."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from orchestrai.restore.ports import Drilled
from orchestrai.stage.names import StageName

if TYPE_CHECKING:
    import pyarrow as pa


class KeptTable(Drilled, Protocol):
    """Something whose rows are kept as they are published."""

    @property
    def table_schema(self) -> "pa.Schema":
        """Its declared columns."""
        ...


class KeptModel(Drilled, Protocol):
    """A model whose versions are kept."""

    def asset(self, stage: StageName) -> str:
        """The asset key of a stage."""
        ...


@dataclass(frozen=True)
class Definitions:
    """The folders of every deployed pipeline by name, and how many load together from some folders under some variables."""

    folders: Callable[[], Mapping[str, Path]]
    load: Callable[[Sequence[Path], Mapping[str, str]], int]
