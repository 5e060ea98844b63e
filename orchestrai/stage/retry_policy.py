"""How often a step is tried again after an error that may pass, and how long it waits: `retries:` of a dataset or a model."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field, model_validator

from orchestrai.core.time.duration_cron import DurationOrZero
from orchestrai.core.yaml.declaration import Declaration

# a run is ended after four hours (dagster.yaml), waiting included
LONGEST = timedelta(hours=3)


class RetryPolicy(Declaration):
    """At most `max` retries, the first after `delay`, each next one after `backoff` times as long. Only errors that may pass count."""

    max: Annotated[int, Field(ge=0, le=20)] = 3
    delay: DurationOrZero = timedelta(minutes=5)
    backoff: Annotated[float, Field(ge=1, le=10)] = 2

    @model_validator(mode="after")
    def _ends_in_time(self) -> "RetryPolicy":
        waits = sum(self.wait(attempt) for attempt in range(self.max))
        if waits > LONGEST.total_seconds():
            raise ValueError(
                f"expected retries that wait 3 hours in all at most, found {waits / 3600:.1f} hours: a run is ended after four"
            )
        return self

    def wait(self, attempt: int) -> float:
        """Seconds before the retry that follows this attempt; the first attempt is 0."""
        return self.delay.total_seconds() * self.backoff**attempt
