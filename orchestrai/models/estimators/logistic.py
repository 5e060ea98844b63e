"""Logistic regression fitted by scikit-learn and kept as JSON coefficients: no code in the file, equal bytes each time."""

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from orchestrai.errors import ModelError
from orchestrai.ledger.manifest import canonical_json
from orchestrai.models.rows import Column, Floats, Rows
from orchestrai.models.spec import LogisticParams


@dataclass(frozen=True)
class Term:
    """One input of the linear form: a standardised number, a missing flag, or a category's presence."""

    place: int
    kind: str
    centre: float = 0.0
    scale: float = 1.0
    coefficient: float = 0.0

    def values(self, rows: Rows) -> Floats:
        """This term's value in every row."""
        column = rows.matrix[:, self.place].astype(np.float64)
        if self.kind == "missing":
            return np.isnan(column).astype(np.float64)
        if self.kind == "category":
            return np.asarray(column == self.centre, dtype=np.float64)
        filled = np.where(np.isnan(column), self.centre, column)
        return np.asarray((filled - self.centre) / self.scale, dtype=np.float64)


@dataclass(frozen=True)
class LogisticModel:
    """Probabilities from a linear form; a missing number counts as the training mean, an unknown category as none."""

    terms: tuple[Term, ...]
    intercept: float

    def score(self, rows: Rows) -> Floats:
        """One probability per row."""
        total = np.full(len(rows), self.intercept, dtype=np.float64)
        for term in self.terms:
            total += term.coefficient * term.values(rows)
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(total, -700, 700))), dtype=np.float64)

    def encode(self) -> bytes:
        """The file's bytes."""
        return canonical_json({"intercept": self.intercept, "terms": [asdict(term) for term in self.terms]})

    def importance(self, columns: tuple[Column, ...]) -> dict[str, float]:
        """Share of the absolute coefficients per feature."""
        sums = dict.fromkeys((column.name for column in columns), 0.0)
        for term in self.terms:
            sums[columns[term.place].name] += abs(term.coefficient)
        total = sum(sums.values()) or 1.0
        return {name: value / total for name, value in sums.items()}


def _terms(rows: Rows) -> list[Term]:
    terms = []
    for place, column in enumerate(rows.columns):
        if column.kind == "category":
            terms += [Term(place, "category", float(code)) for code in range(len(column.categories))]
            continue
        values = rows.matrix[:, place].astype(np.float64)
        missing = np.isnan(values)
        centre = float(values[~missing].mean()) if not missing.all() else 0.0
        scale = float(values[~missing].std()) if not missing.all() else 0.0
        terms.append(Term(place, "number", centre, scale or 1.0))
        if missing.any():
            terms.append(Term(place, "missing"))
    return terms


def fit(params: LogisticParams, rows: Rows) -> LogisticModel:
    """Fit on one BLAS thread, so that sums have one order."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    terms = _terms(rows)
    design = np.column_stack([term.values(rows) for term in terms])
    with threadpool_limits(1):
        model = LogisticRegression(C=params.c, max_iter=params.max_iter, class_weight=params.class_weight)
        model.fit(design, rows.label)
    fitted = tuple(
        Term(term.place, term.kind, term.centre, term.scale, float(value))
        for term, value in zip(terms, model.coef_[0], strict=True)
    )
    return LogisticModel(fitted, float(model.intercept_[0]))


def decode(data: bytes, columns: tuple[Column, ...]) -> LogisticModel:
    """Read the file's bytes; raises ModelError unless they are coefficients over these columns."""
    try:
        body: dict[str, Any] = json.loads(data)
        terms = tuple(Term(**term) for term in body["terms"])
        model = LogisticModel(terms, float(body["intercept"]))
    except (ValueError, KeyError, TypeError) as exc:
        raise ModelError(
            f"expected logistic coefficients in JSON, found something else ({exc}): publish the model again"
        ) from exc
    if any(not 0 <= term.place < len(columns) for term in model.terms):
        raise ModelError(f"expected coefficients for {len(columns)} features, found some beyond: it is another model")
    return model
