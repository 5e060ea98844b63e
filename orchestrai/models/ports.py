"""What models ask of others: a declared model, the rows of its features as they were known, and which definition made them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from orchestrai.errors import ModelError
from orchestrai.ledger.receipt import InputRef
from orchestrai.stage.stage import Subject

if TYPE_CHECKING:
    import pyarrow as pa

    from orchestrai.models.spec import ModelSpec
    from orchestrai.stage.names import StageName


class FeatureTable(Protocol):
    """A published table of features."""

    @property
    def asset(self) -> str:
        """Its asset key."""
        ...


class DeclaredModel(Subject, Protocol):
    """A model with its feature tables."""

    @property
    def spec(self) -> "ModelSpec":
        """Its declaration."""
        ...

    @property
    def views(self) -> Sequence[FeatureTable]:
        """The tables that it learns from and scores."""
        ...

    def asset(self, stage: "StageName") -> str:
        """The asset key of a stage."""
        ...


@dataclass(frozen=True)
class LearnedView:
    """A feature view as a model learned from it: its table, its definition, its clock and its columns.

    `kind` is `entity` for rows per entity and moment and `row` for rows per event, of which `first_table` has one each.
    """

    name: str
    asset: str
    hash: str
    kind: str
    time: str
    entity: tuple[str, ...]
    first_table: str
    features: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The form in model.json and in the receipts of training sets."""
        return {**self.__dict__, "entity": list(self.entity), "features": list(self.features)}


def read_views(listed: object) -> tuple[LearnedView, ...] | None:
    """Views as `as_json` writes them; None where they were not written down, as in earlier releases. Raises ModelError."""
    if not isinstance(listed, list) or not listed:
        return None
    try:
        return tuple(
            LearnedView(**{**view, "entity": tuple(view["entity"]), "features": tuple(view["features"])}) for view in listed
        )
    except (TypeError, KeyError) as exc:
        raise ModelError(f"expected the views that a model learned from, found something else ({exc}): train again") from exc


def changed_views(learned: Sequence[LearnedView], now: Mapping[str, str | None]) -> list[str]:
    """The assets whose definition, by asset in `now`, is not the one that was learned from."""
    return [view.asset for view in learned if now.get(view.asset) != view.hash]


class FeatureRows(Protocol):
    """Rows of one partition of the first view with all views' features; `inputs` name every partition that was read."""

    @property
    def partition(self) -> str:
        """The partition of the first view."""
        ...

    @property
    def table(self) -> "pa.Table":
        """Entity, `event_time` and the features, as a training set has them."""
        ...

    @property
    def inputs(self) -> tuple[InputRef, ...]:
        """What was read."""
        ...

    @property
    def size(self) -> int:
        """Bytes read."""
        ...

    @property
    def lacks(self) -> Mapping[str, Sequence[str]]:
        """The due partitions, by dataset, that windows of some of these features lacked."""
        ...


class KnownFeatures(Protocol):
    """Features as they were known at moments, by the very join that training sets are made with."""

    def rows(self, views: Sequence[LearnedView], partition: str | None = None) -> FeatureRows:
        """The rows of one partition of the first view, the newest by default.

        Raises OrchestraiError for features that another definition of a view computed.
        """
        ...

    def definition(self, asset: str) -> str | None:
        """The digest of the view that computed the newest features of an asset; None where there are none."""
        ...


@dataclass(frozen=True)
class Features:
    """Where a run finds features as they were known."""

    open: Callable[[], KnownFeatures]
