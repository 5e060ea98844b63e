"""Drift: how far a feature's distribution moved, as the population stability index.

PSI = sum over bins of (p - q) ln(p / q), shares floored at 1e-4. Rule of thumb: below 0.1 none, above 0.25 a real shift.
Bins are the training rows' deciles (missing values a bin of their own) or categories.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from orchestrai.contracts.verdict import Verdict
from orchestrai.models.rows import Column, Floats, Matrix, Rows

FLOOR = 1e-4
DRIFTED = 0.25
MAX_CATEGORIES = 50
# shares of this many rows are known to about 0.01, which is enough to see a shift, and cost nothing beside training
SAMPLED_ROWS = 20_000


def profile(rows: Rows) -> dict[str, Any]:
    """Per feature the bin edges and shares of these rows (or of a sample spread over them), to keep beside a model."""
    found = {}
    matrix = rows.matrix[:: max(1, len(rows) // SAMPLED_ROWS)]
    for place, column in enumerate(rows.columns):
        values = matrix[:, place]
        edges = _edges(values, column)
        found[column.name] = {"edges": edges, "shares": [round(float(s), 9) for s in _shares(values, edges)]}
    return found


def drift(known: Mapping[str, Any], rows: Rows) -> dict[str, float]:
    """PSI per feature between a kept profile and other rows; features without a profile are left out."""
    result = {}
    for place, column in enumerate(rows.columns):
        before = known.get(column.name)
        if before is not None and len(rows):
            old = np.maximum(np.asarray(before["shares"], dtype=np.float64), FLOOR)
            new = np.maximum(_shares(rows.matrix[:, place], before["edges"]), FLOOR)
            result[column.name] = round(float(((new - old) * np.log(new / old)).sum()), 6)
    return result


def drift_verdict(found: Mapping[str, float], since: str) -> Verdict:
    """A warning that names the features that moved."""
    moved = sorted(((psi, name) for name, psi in found.items() if psi > DRIFTED), reverse=True)
    named = ", ".join(f"{name} (PSI {psi:.2f})" for psi, name in moved[:5])
    message = f"moved since {since}: {named}" if moved else f"no feature moved since {since} (all PSI at most {DRIFTED})"
    return Verdict("feature_drift", not moved, message, "warn", {"psi": dict(sorted(found.items()))})


def _edges(values: Matrix, column: Column) -> list[float]:
    if column.kind == "category":
        return [code + 0.5 for code in range(min(len(column.categories), MAX_CATEGORIES) - 1)]
    present = values[~np.isnan(values)]
    if not len(present):
        return []
    return sorted({float(edge) for edge in np.quantile(present, np.linspace(0.1, 0.9, 9), method="lower")})


def _shares(values: Matrix, edges: list[float]) -> Floats:
    missing = np.isnan(values)
    places = np.searchsorted(np.asarray(edges, dtype=np.float64), values[~missing].astype(np.float64), side="left")
    counts = np.append(np.bincount(places, minlength=len(edges) + 1), missing.sum())
    return np.asarray(counts / max(1, len(values)), dtype=np.float64)
