"""Labels and scores of held-out rows, and who judges them."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from orchestrai.errors import ModelError
from orchestrai.models.rows import Floats

Index = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Scored:
    """Labels and scores of one part, all of them finite; of a multiclass the scores are a probability per class. Raises ModelError.

    `groups` numbers the lists of a ranking. `cluster` numbers what depends on each other (rows of one entity, or of one moment) and is
    drawn together; None where each row stands alone. `scale` is, per row of a forecast, what the seasonal naive forecast missed its
    series by while training, 0 where that is not known.
    """

    label: Floats
    score: Floats
    groups: Index
    cluster: Index | None = None
    scale: Floats | None = None

    def __post_init__(self) -> None:
        for what, numbers in (("labels", self.label), ("scores", self.score)):
            wrong = ~np.isfinite(numbers)
            if wrong.any():
                shown = numbers[wrong][0]
                raise ModelError(
                    f"expected finite {what} of the held-out rows, found {int(wrong.sum())} such as {shown}: nothing can be told from "
                    "them, look at the model and its features"
                )

    def take(self, index: Index) -> "Scored":
        """Some of the rows."""
        cluster = None if self.cluster is None else self.cluster[index]
        scale = None if self.scale is None else self.scale[index]
        return Scored(self.label[index], self.score[index], self.groups[index], cluster, scale)


class Judge(Protocol):
    """Computes the metrics of one part under row weights; a metric that these rows have no value of is NaN in here."""

    part: Scored

    def metrics(self, weight: Floats) -> dict[str, float]:
        """Every metric of the task."""
        ...

    def metric(self, name: str, weight: Floats) -> float:
        """One metric of the task, without those it shares nothing with."""
        ...

    def defined(self, weight: Floats) -> bool:
        """True when these weights leave rows that anything can be told of."""
        ...

    def undefined(self) -> dict[str, str]:
        """The metrics that these rows have no value of, with the sentence why."""
        ...
