"""What features ask of others: engines, a declared view with its datasets, and a model that learns from views."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from orchestrai.core.time.calendar import Grain
from orchestrai.features.engines.engine import Engine
from orchestrai.features.spec import IncompleteRows, LabelSpec, SpineSpec
from orchestrai.features.views.view import FeatureView
from orchestrai.stage.names import StageName
from orchestrai.stage.outcomes import Partitioned
from orchestrai.stage.stage import Subject

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Engines:
    """Where views run: `choose` takes what a view wants and the bytes of its input, `embedded` is this machine's."""

    choose: Callable[[str, int], Engine]
    embedded: Callable[[], Engine]


class DeclaredView(Subject, Protocol):
    """A feature view and the datasets that it reads, by table."""

    @property
    def view(self) -> FeatureView:
        """The view, linted."""
        ...

    @property
    def asset(self) -> str:
        """The asset key of the feature table."""
        ...

    @property
    def inputs(self) -> Mapping[str, Partitioned]:
        """Table -> dataset."""
        ...

    @property
    def partitioned_like(self) -> Partitioned | None:
        """The dataset whose partitions it shares."""
        ...

    @property
    def grain_of_first(self) -> Grain:
        """How the first input is cut."""
        ...


class LabelledDataset(Partitioned, Protocol):
    """A dataset that labels are computed from, and how old it may be."""

    @property
    def table_schema(self) -> "pa.Schema":
        """Its declared columns."""
        ...

    @property
    def halt_training_after(self) -> timedelta | None:
        """How long ago the newest restored partition may have ended."""
        ...

    @property
    def halt_training_behind(self) -> timedelta | None:
        """How long other datasets may go on after it."""
        ...


class Learner(Subject, Protocol):
    """A model as its training set knows it."""

    @property
    def views(self) -> tuple[DeclaredView, ...]:
        """The views that it learns from; the first gives the rows."""
        ...

    @property
    def label(self) -> LabelSpec | None:
        """What it learns, computed from its inputs; None where a spine brings it."""
        ...

    @property
    def spine(self) -> SpineSpec | None:
        """The rows that somebody brings, with their label."""
        ...

    @property
    def incomplete(self) -> IncompleteRows:
        """What becomes of rows whose windows lack something."""
        ...

    @property
    def label_inputs(self) -> Mapping[str, LabelledDataset]:
        """Table -> dataset of the label."""
        ...

    @property
    def folder(self) -> Path:
        """Where its declaration lies."""
        ...

    def asset(self, stage: StageName) -> str:
        """The asset key of a stage."""
        ...
