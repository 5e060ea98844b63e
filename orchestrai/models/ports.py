"""What models ask of others: a declared model and the feature tables that it scores."""

from collections.abc import Sequence
from typing import Protocol

from orchestrai.models.spec import ModelSpec
from orchestrai.stage.names import StageName
from orchestrai.stage.stage import Subject


class FeatureTable(Protocol):
    """A published table of features."""

    @property
    def asset(self) -> str:
        """Its asset key."""
        ...


class DeclaredModel(Subject, Protocol):
    """A model with its feature tables."""

    @property
    def spec(self) -> ModelSpec:
        """Its declaration."""
        ...

    @property
    def views(self) -> Sequence[FeatureTable]:
        """The tables that it learns from and scores."""
        ...

    def asset(self, stage: StageName) -> str:
        """The asset key of a stage."""
        ...
