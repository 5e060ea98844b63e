"""How large requested runs are, how many may wait, and what machine they are given, as it is declared."""

from datetime import timedelta
from typing import Annotated, Self

from pydantic import Field, model_validator

from orchestrai.core.time.duration_cron import Duration
from orchestrai.core.yaml.declaration import Declaration


class RunsSpec(Declaration):
    """The runs that a sensor asks for: a backlog becomes as many as the queue has room for, each of so many partitions.

    With `seconds` their number follows from what earlier runs took, between `least` and `most`. `waiting` counts those that are queued or
    going; what finds no room is asked for by a later tick.
    """

    least: Annotated[int, Field(ge=1, description="partitions that a run takes at least")] = 1
    most: Annotated[int, Field(ge=1, description="partitions that a run takes at most")] = 5000
    seconds: Annotated[Duration | None, Field(description="how long a run should take")] = None
    waiting: Annotated[int, Field(ge=1, description="runs that are queued or going at most")] = 20

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.most < self.least:
            raise ValueError(f"most: expected at least {self.least}, found {self.most}")
        return self

    @property
    def wanted_seconds(self) -> float:
        """How long a run should take; 0 where that is not declared."""
        return (self.seconds or timedelta()).total_seconds()


class ResourcesSpec(Declaration):
    """What a run's container is given where each run has one: CPUs as a request, memory as request and limit."""

    cpu: Annotated[float | None, Field(gt=0, le=1024, description="CPUs, such as 2 or 0.5")] = None
    memory_gb: Annotated[float | None, Field(gt=0, le=24576, description="memory in GiB")] = None
