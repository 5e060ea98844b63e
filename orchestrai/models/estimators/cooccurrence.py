"""Item-to-item co-occurrence: what holders of an item went on to take; the plain recommendation baseline.

score(who, item) = sum over items h held by `who` of n(h -> item) / (n(h) + shrink), with the best `neighbours` of each h kept.
"""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orchestrai.errors import ModelError
from orchestrai.ledger.manifest import canonical_json
from orchestrai.models.rows import Column, Floats, Rows
from orchestrai.models.spec import CooccurrenceParams


@dataclass(frozen=True)
class Cooccurrence:
    """Weights from held items to items, and each item's own popularity to break what history cannot decide."""

    history: str
    weights: dict[str, dict[str, float]]
    popularity: dict[str, float]

    def score(self, rows: Rows) -> Floats:
        """One number per row; the history of a row is the other rows of the same entity and moment in this batch."""
        group, items = rows.groups(), rows.entity[1]
        held = _held(rows, self.history)
        history: dict[int, list[str]] = defaultdict(list)
        for place in np.flatnonzero(held).tolist():
            history[int(group[place])].append(str(items[place]))
        none: dict[str, float] = {}
        scores = np.empty(len(rows), dtype=np.float64)
        for place in range(len(rows)):
            item = str(items[place])
            total = sum(self.weights.get(h, none).get(item, 0.0) for h in history[int(group[place])])
            scores[place] = total + 1e-6 * self.popularity.get(item, 0.0)
        return scores

    def encode(self) -> bytes:
        """The file's bytes."""
        return canonical_json({"history": self.history, "weights": self.weights, "popularity": self.popularity})

    def importance(self, columns: tuple[Column, ...]) -> dict[str, float]:
        """All of it lies in the history."""
        return {column.name: float(column.name == self.history) for column in columns}


def _held(rows: Rows, history: str) -> npt.NDArray[np.bool_]:
    names = [column.name for column in rows.columns]
    if history not in names:
        raise ModelError(f"expected cooccurrence.history to name a feature, found {history!r}: choose of {', '.join(names)}")
    with np.errstate(invalid="ignore"):
        return np.asarray(rows.matrix[:, names.index(history)] > 0)


def fit(params: CooccurrenceParams, rows: Rows) -> Cooccurrence:
    """Count, per held item, the items its holders took next."""
    group, items, held = rows.groups(), rows.entity[1], _held(rows, params.history)
    history: dict[int, list[str]] = defaultdict(list)
    taken: dict[int, list[str]] = defaultdict(list)
    popularity: Counter[str] = Counter()
    for place in range(len(rows)):
        if held[place]:
            history[int(group[place])].append(str(items[place]))
        if rows.label[place] > 0:
            taken[int(group[place])].append(str(items[place]))
            popularity[str(items[place])] += 1
    holders: Counter[str] = Counter()
    moves: dict[str, Counter[str]] = defaultdict(Counter)
    for who, before in history.items():
        for item in before:
            holders[item] += 1
            moves[item].update(taken.get(who, ()))
    weights = {
        item: {
            other: count / (holders[item] + params.shrink)
            for other, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[: params.neighbours]
        }
        for item, counts in moves.items()
        if counts
    }
    most = max(popularity.values(), default=1)
    return Cooccurrence(params.history, weights, {item: count / most for item, count in popularity.items()})


def decode(data: bytes) -> Cooccurrence:
    """Read the file's bytes; raises ModelError."""
    try:
        body = json.loads(data)
        return Cooccurrence(body["history"], body["weights"], body["popularity"])
    except (ValueError, KeyError, TypeError) as exc:
        raise ModelError(f"expected item weights in JSON, found something else ({exc}): publish the model again") from exc
