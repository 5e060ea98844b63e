"""How far a distribution moved: the population stability index, over shares of the same bins.

PSI = sum over bins of (after - before) ln(after / before). Rule of thumb: below 0.1 none, above 0.25 a real shift. Whoever has the
values makes the bins: of a model's training rows, or of a feature table.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# of a bin that is empty on one side, whose logarithm has no value
LEAST_SHARE = 1e-4
DRIFTED = 0.25


def population_stability_index(
    before: "Sequence[float] | npt.NDArray[np.float64]", after: "Sequence[float] | npt.NDArray[np.float64]"
) -> float:
    """The PSI between two lists of shares of the same bins, of which each is taken as `LEAST_SHARE` at least."""
    import numpy as np

    old = np.maximum(np.asarray(before, dtype=np.float64), LEAST_SHARE)
    new = np.maximum(np.asarray(after, dtype=np.float64), LEAST_SHARE)
    return float(((new - old) * np.log(new / old)).sum())
