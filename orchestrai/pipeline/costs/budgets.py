"""How much of its declared budget a pipeline has used."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from orchestrai.core.time.duration_cron import format_duration
from orchestrai.ledger.ledger import Ledger
from orchestrai.pipeline.costs.cost_report import spent_since
from orchestrai.pipeline.costs.day_costs import DayCost
from orchestrai.pipeline.nodes.pipeline_node import Pipeline

ASSET = "costs"


@dataclass(frozen=True)
class BudgetUse:
    """One limit of a budget (`usd` or `cpu`): the period that it is of, how much of it there is, and how much was used."""

    pipeline: str
    what: str
    per: str
    since: str
    limit: float
    used: float
    warn_at: float

    @property
    def share(self) -> float:
        """How much of it was used; 1 is all."""
        return self.used / self.limit

    @property
    def told(self) -> str:
        """What was used, for people."""
        return f"{_amount(self.what, self.used)} since {self.since} (UTC), {self.share:.0%} of it"

    @property
    def declared(self) -> str:
        """What was declared, for people."""
        return f"at most {_amount(self.what, self.limit)} a {self.per}"


def spent(ledger: Ledger, pipeline: Pipeline, now: datetime, per: str) -> DayCost:
    """What the runs of a pipeline cost since its day or month (UTC) began; raises what the ledger raises."""
    today = now.astimezone(UTC).date()
    first = date(today.year, today.month, 1) if per == "month" else today
    return spent_since(ledger, pipeline.name, f"{pipeline.name}/{ASSET}", first, now.astimezone(UTC))


def budget_use(ledger: Ledger, pipeline: Pipeline, now: datetime) -> list[BudgetUse]:
    """Each limit that a pipeline declares with what was used of it; none where it declares no budget."""
    budget = pipeline.spec.budget
    if budget is None:
        return []
    total = spent(ledger, pipeline, now, budget.per)
    found = []
    if budget.usd is not None:
        found.append(("usd", budget.usd, total.total.usd))
    if budget.cpu is not None:
        found.append(("cpu", budget.cpu.total_seconds(), total.cpu_seconds))
    return [
        BudgetUse(pipeline.name, what, budget.per, total.day, limit, used, budget.warn_at) for what, limit, used in found
    ]


def _amount(what: str, value: float) -> str:
    if what == "usd":
        return f"USD {value:,.4f}".rstrip("0").rstrip(".")
    return f"{format_duration(timedelta(seconds=round(value)))} of CPU"
