"""What may be wrong with what a pipeline costs: its budget is nearly used, or used up, or nobody knows."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from orchestrai.observability.alerts.condition import Condition
from orchestrai.pipeline.costs.budgets import budget_use
from orchestrai.pipeline.costs.owed_costs import Owed, OwedCosts
from orchestrai.pipeline.nodes.pipeline_node import Pipeline
from orchestrai.pipeline.runtime import Runtime

# the next run brings what an outage of minutes kept back
GRACE = timedelta(hours=1)


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


def unrecorded(runtime: Runtime, now: datetime) -> Iterator[Condition]:
    """Records of costs that this home could not write for a while, an asset each."""
    by_asset: dict[str, list[Owed]] = {}
    for owed in OwedCosts(runtime.settings.home).all():
        if datetime.fromisoformat(owed.record.finished) <= now - GRACE:
            by_asset.setdefault(owed.record.asset, []).append(owed)
    for asset, some in sorted(by_asset.items()):
        yield Condition(
            "cost_unrecorded",
            asset,
            "a record of what each run cost",
            f"{len(some):,} not written since {some[0].record.finished[:19]}: {some[-1].why}",
            "orchestrai doctor",
            members=tuple(sorted(owed.record.run for owed in some)),
        )
