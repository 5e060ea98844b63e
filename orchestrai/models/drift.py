"""Drift: how far a feature's distribution moved, as the population stability index.

Bins are the training rows' deciles (missing values a bin of their own) or categories.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from orchestrai.contracts.population_stability import DRIFTED, population_stability_index
from orchestrai.core.verdict import Verdict
from orchestrai.models.rows import Column, Floats, Matrix, Rows

MAX_CATEGORIES = 50
# shares of this many rows are known to about 0.01, which is enough to see a shift, and cost nothing beside training
SAMPLED_ROWS = 20_000
DECILES = np.linspace(0.1, 0.9, 9)


def profile(rows: Rows) -> dict[str, Any]:
    """Per feature the bin edges and shares of these rows (or of a sample spread over them), to keep beside a model."""
    histograms = {}
    # each feature's values beside each other, then in order: every question below is a look-up in them
    sampled = np.ascontiguousarray(rows.matrix[:: max(1, len(rows) // SAMPLED_ROWS)].T)
    sampled.sort(axis=1)
    for values, column in zip(sampled, rows.columns, strict=True):
        edges = _edges(values, column)
        histograms[column.name] = {"edges": edges, "shares": [round(float(s), 9) for s in _shares(values, edges)]}
    return histograms


def drift(known: Mapping[str, Any], rows: Rows) -> dict[str, float]:
    """PSI per feature between a kept profile and other rows; features without a profile are left out."""
    result = {}
    for place, column in enumerate(rows.columns):
        before = known.get(column.name)
        if before is not None and len(rows):
            shares = _shares(np.sort(rows.matrix[:, place]), before["edges"])
            result[column.name] = round(population_stability_index(before["shares"], shares), 6)
    return result


def drift_verdict(psi_by_feature: Mapping[str, float], since: str) -> Verdict:
    """A warning that names the features that moved."""
    moved = sorted(((psi, name) for name, psi in psi_by_feature.items() if psi > DRIFTED), reverse=True)
    named = ", ".join(f"{name} (PSI {psi:.2f})" for psi, name in moved[:5])
    message = f"moved since {since}: {named}" if moved else f"no feature moved since {since} (all PSI at most {DRIFTED})"
    return Verdict("feature_drift", not moved, message, "warn", {"psi": dict(sorted(psi_by_feature.items()))})


def _edges(values: Matrix, column: Column) -> list[float]:
    """Where the bins of sorted values meet."""
    if column.kind == "category":
        return [code + 0.5 for code in range(min(len(column.categories), MAX_CATEGORIES) - 1)]
    present = _present(values)
    if not present:
        return []
    # the lower of two values between which a decile lies; plus 0.0, as which zero stands first is not said
    return sorted({float(edge) + 0.0 for edge in values[np.floor(DECILES * (present - 1)).astype(np.intp)]})


def _shares(values: Matrix, edges: list[float]) -> Floats:
    """Shares of sorted values in each bin, which its upper edge belongs to, and of those that are missing."""
    present = _present(values)
    below = np.searchsorted(values[:present].astype(np.float64), np.asarray(edges, dtype=np.float64), side="right")
    counts = np.diff(below, prepend=0, append=[present, len(values)])
    return np.asarray(counts / max(1, len(values)), dtype=np.float64)


def _present(values: Matrix) -> int:
    """How many of some sorted values are not missing: NaN comes last."""
    return int(np.searchsorted(values, np.nan, side="left"))
