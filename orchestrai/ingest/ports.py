"""What ingest asks of others: a declared dataset, and a Spark session where a partition is large."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

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


@dataclass(frozen=True)
class SparkSession:
    """A session of Spark, opened when it is first asked for."""

    open: Callable[[], object]
