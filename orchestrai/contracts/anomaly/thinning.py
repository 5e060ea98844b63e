"""Rows lost evenly: fewer rows and fewer rows to each value, looked at together.

Counts of a shop scatter by a third from day to day, and so do the rows to each invoice; but they do it apart from each other, while rows
lost evenly take from both. So the usual errors of both are weighted as to tell best between the two (Fisher's linear discriminant), by how
much each would change if LEFT of the rows were left.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrai.contracts.anomaly.profile import Profile

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]

LEFT = 0.4
# a column tells where its values repeat, and where they are not a handful that even a tenth of the rows would hold
REPEATED, DISTINCT = 1.3, 8
# how far correlations are drawn to none: some fifty partitions do not tell them well
SHRINKAGE = 0.5
# beyond so many scales an error says nothing of how errors usually go together
FURTHEST = 3.0


@dataclass(frozen=True)
class RowsToValues:
    """For each of some partitions the logarithm of the rows to each value of some columns, and what that would lose with the rows."""

    columns: tuple[str, ...]
    before: "Array"
    now: "Array"
    lost: "Array"
    noise: "Array"


def rows_to_values(profiles: Sequence[Profile], profile: Profile) -> RowsToValues | None:
    """Of the columns that tell; None where none does."""
    import numpy as np

    columns, before, now, lost, noise = [], [], [], [], []
    for name, column in profile.columns.items():
        there = [earlier for earlier in profiles if name in earlier.columns and earlier.columns[name].distinct]
        if len(there) < len(profiles) or not column.distinct:
            continue
        distinct = float(np.median([earlier.columns[name].distinct for earlier in there]))
        usual = float(np.median([earlier.rows / earlier.columns[name].distinct for earlier in there]))
        if usual < REPEATED or distinct < DISTINCT:
            continue
        columns.append(name)
        before.append([math.log(max(earlier.rows, 1) / earlier.columns[name].distinct) for earlier in there])
        now.append(math.log(max(profile.rows, 1) / column.distinct))
        # a value that stood there so often is still there with this probability
        lost.append(math.log(LEFT) - math.log1p(-((1 - LEFT) ** usual)))
        noise.append(max(0.03, 0.6 / math.sqrt(distinct)))
    if not columns:
        return None
    return RowsToValues(tuple(columns), np.array(before).T, np.array(now), np.array(lost), np.array(noise))


def evenly_lost(errors: "Array", current: "Array", lost: "Array") -> tuple[float, "Array"]:
    """How far the errors of a partition point to rows lost evenly, in the same unit as the usual errors, and the weights of each.

    `errors` are the usual ones in their scales, `current` that of the partition; `lost` is what each would be with LEFT of the rows.
    """
    import numpy as np

    usual = np.clip(errors, -FURTHEST, FURTHEST)
    together = usual.T @ usual / len(usual)
    size = np.sqrt(np.maximum(np.diag(together), 1e-9))
    correlated = (1 - SHRINKAGE) * together / np.outer(size, size)
    np.fill_diagonal(correlated, 1.0)
    weights = np.linalg.solve(correlated, lost)
    # nothing counts the wrong way round
    weights = np.where(weights * lost > 0, weights, 0.0)
    return float(current @ weights), weights
