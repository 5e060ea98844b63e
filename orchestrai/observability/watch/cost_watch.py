"""What may be wrong with what a pipeline costs: its budget is nearly used, or used up."""

from collections.abc import Iterator
from datetime import datetime

from orchestrai.observability.alerts.condition import Condition
from orchestrai.pipeline.costs.budgets import budget_use
from orchestrai.pipeline.nodes.pipeline_node import Pipeline
from orchestrai.pipeline.runtime import Runtime


def over_budget(runtime: Runtime, pipeline: Pipeline, now: datetime) -> Iterator[Condition]:
    """A limit of the budget is used to the declared share, which is a warning, or to the whole, which is an error."""
    for use in budget_use(runtime.ledger, pipeline, now):
        if use.share >= use.warn_at:
            yield Condition(
                "over_budget",
                pipeline.name,
                f"{use.declared} for the pipeline",
                use.told,
                f"orchestrai cost report {pipeline.name}",
                # the next day or month is another condition
                cause=f"{use.what} {use.since}",
                severity="error" if use.share >= 1 else "warning",
            )
