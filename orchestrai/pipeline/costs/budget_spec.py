"""What a pipeline may cost, as it is declared."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from orchestrai.core.time.duration_cron import Duration
from orchestrai.core.yaml.declaration import Declaration


class BudgetSpec(Declaration):
    """What a pipeline's runs may cost in a day or a month (UTC): US dollars by the prices that apply, CPU time, or both.

    People are told from `warn_at` (a share of it) on, and again when it is used up. Nothing is stopped.
    """

    usd: Annotated[float | None, Field(gt=0, description="US dollars")] = None
    cpu: Annotated[Duration | None, Field(description="CPU time of its runs on this side, such as 10h")] = None
    per: Literal["day", "month"] = "day"
    warn_at: Annotated[float, Field(gt=0, le=1, description="the share of it from which people are told")] = 0.8

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.usd is None and self.cpu is None:
            raise ValueError("expected usd or cpu, found neither")
        return self
