"""What ingest asks of others: a declared dataset, a source read on from a position."""

from typing import Protocol, TypeVar

from orchestrai.core.canonical import JsonValue
from orchestrai.ingest.spec import SourceSpec
from orchestrai.stage.outcomes import Partitioned


class LandedDataset(Partitioned, Protocol):
    """A dataset with the place where its data lands."""

    @property
    def about(self) -> str:
        """What its declaration says of it, for people."""
        ...

    @property
    def source(self) -> SourceSpec:
        """Where it lands and how it is read."""
        ...


class Batch(Protocol):
    """What lay behind a position of a source."""

    @property
    def empty(self) -> bool:
        """True when nothing did."""
        ...

    @property
    def more(self) -> bool:
        """Whether the source held more behind `end` already."""
        ...

    @property
    def end(self) -> JsonValue:
        """The position to go on from; of an empty batch the one it began at."""
        ...


Given = TypeVar("Given", bound=Batch, covariant=True)


class PositionedSource(Protocol[Given]):
    """A stream, a table or an API: whatever is read on from a position. Objects are none, see docs/adr/0011.

    Raises TransientStorageError for an outage, StorageError for a refusal, IntegrityError for damage: none is "nothing new".
    """

    @property
    def uri(self) -> str:
        """Where the source is, without any secret."""
        ...

    def next_batch(self, after: JsonValue) -> Given:
        """What lies behind a position, in bounded memory; the first batch behind None. The same position gives the same again.

        Nothing behind the position is left out. Where rows may appear before it (a table whose transactions commit late), what
        was given before may come again: it is known by its key.
        """
        ...
