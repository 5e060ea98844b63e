"""What is asked of scores."""

from dataclasses import dataclass

from orchestrai.models.metrics.metric import TOP
from orchestrai.models.task import Task


@dataclass(frozen=True)
class MetricSet:
    """Which metrics are asked: a task's, at `top` places of a list, of a prediction that is meant as `quantile` where there is one."""

    task: Task
    top: int = TOP
    quantile: float | None = None
