"""What a model could learn: the column that looks most like an outcome, the task that it asks, and what would give it away."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrai.core.sql.quoting import VARIABLE, spark_literal
from orchestrai.pipeline.starter.column_guess import Guess
from orchestrai.pipeline.starter.name_words import EVENTS, OUTCOMES, POSITIVE

if TYPE_CHECKING:
    import numpy as np

MOST_CLASSES = 20


@dataclass(frozen=True)
class Target:
    """A column to learn, by which task; `label` is SQL for it, `why` says what spoke for it, `sure` how well."""

    guess: Guess
    task: str
    label: str
    why: str
    sure: bool
    positive: Any = None


def find_target(guesses: Sequence[Guess]) -> Target | None:
    """The likeliest outcome among the columns; None where none can be learnt."""
    able = [g for g in guesses if _task(g)]
    named = sorted((g for g in able if g.name.strip("_") in OUTCOMES), key=lambda g: OUTCOMES.index(g.name.strip("_"))) or [
        g for g in able if any(word in EVENTS for word in g.name.split("_"))
    ]
    if named:
        return _target(named[0], "by its name", sure=True)
    last = guesses[-1] if guesses else None
    if last in able and last is not None and _task(last) != "regression":
        return _target(last, "the last column, of few values", sure=False)
    flags = [g for g in able if g.type == "BOOLEAN" or re.match(r"(is|has|was|did)_", g.name)]
    if flags:
        return _target(flags[-1], "a column of yes and no", sure=False)
    numbers = [g for g in able if g.numeric]
    chosen = last if last in able else next(reversed(numbers or able), None)
    return _target(chosen, "the last column that can be learnt", sure=False) if chosen is not None else None


def _task(guess: Guess) -> str:
    """What the values of a column ask for; nothing where they cannot be learnt."""
    if guess.timed or guess.present < 10 or guess.distinct < 2 or guess.derive:
        return ""
    if guess.distinct == 2 and _smallest(guess) >= 5:
        return "binary"
    few = guess.distinct <= min(MOST_CLASSES, max(guess.present // 10, 2))
    if few and (guess.type == "STRING" or guess.type == "BIGINT") and (guess.type == "STRING" or _consecutive(guess)):
        return "multiclass" if _smallest(guess) >= 2 else ("regression" if guess.numeric else "")
    return "regression" if guess.numeric and guess.distinct > 5 else ""


def _counts(guess: Guess) -> dict[Any, int]:
    import pyarrow.compute as pc

    return {one["values"]: one["counts"] for one in pc.value_counts(guess.values.drop_null()).to_pylist()}


def _smallest(guess: Guess) -> int:
    return min(_counts(guess).values())


def _consecutive(guess: Guess) -> bool:
    """Whole numbers that name classes are small and next to each other."""
    values = sorted(_counts(guess))
    return bool(values[-1] - values[0] <= 2 * len(values) and abs(values[0]) <= 10)


def _target(guess: Guess, why: str, *, sure: bool) -> Target:
    task = _task(guess)
    if task == "multiclass":
        return Target(guess, task, guess.name, why, sure)
    if task == "regression":
        return Target(guess, task, f"CAST({guess.name} AS DOUBLE)", why, sure)
    counts = _counts(guess)
    # views take braces for a snippet, and Spark for a variable
    able = [v for v in counts if not any(mark in str(v) for mark in ("{{", VARIABLE))] or list(counts)
    positive = next((v for v in able if str(v).strip().lower() in POSITIVE), min(able, key=lambda v: (counts[v], str(v))))
    if guess.type == "BOOLEAN":
        return Target(guess, task, f"CASE WHEN {guess.name} THEN 1 ELSE 0 END", why, sure, True)
    value = (
        spark_literal(positive)
        if isinstance(positive, str)
        else f"CAST({positive} AS DOUBLE)"
        if isinstance(positive, float)
        else str(positive)
    )
    return Target(
        guess, task, f"CASE WHEN {guess.name} = {value} THEN 1 ELSE 0 END", f"{why}; 1 is {positive!r}", sure, positive
    )


def alone_tells(guess: Guess, target: Target, order: "np.ndarray[Any, Any]") -> float:
    """How well one column of numbers ranks a target of yes and no, on all rows or the last quarter in `order`: an AUC, 0.5 for others."""
    import numpy as np

    if target.task != "binary" or not (guess.numeric or guess.type == "BOOLEAN"):
        return 0.5
    positive = _is_positive(target)
    values = np.asarray(guess.values.cast("float64").to_numpy(zero_copy_only=False))
    late = order[len(order) * 3 // 4 :]
    return max(_auc(values, positive), _auc(values[late], positive[late]))


def _is_positive(target: Target) -> "np.ndarray[Any, Any]":
    import numpy as np

    values = target.guess.values.to_pylist()
    return np.array([value == target.positive for value in values])


def _auc(values: "np.ndarray[Any, Any]", positive: "np.ndarray[Any, Any]") -> float:
    import numpy as np

    from orchestrai.models.metrics.binary import ranked

    known = ~np.isnan(values)
    values, positive = values[known], positive[known]
    ones = int(positive.sum())
    zeros = len(positive) - ones
    if ones < 5 or zeros < 5:
        return 0.5
    area = ranked(values, positive.astype(np.float64)).area(np.ones(len(values)))
    return max(area, 1 - area)


def gives_away(guess: Guess, target: Guess) -> bool:
    """Whether a column says the same as the target in other words, value for value."""
    import pyarrow as pa

    if guess.distinct > 0.5 * guess.present:
        return False  # what is different in nearly every row says everything, and nothing
    if not target.distinct or not 2 <= guess.distinct <= max(target.distinct, 2) * 2 or target.distinct > 1_000:
        return False
    pairs = pa.table({"a": guess.values, "b": target.values}).group_by(["a", "b"]).aggregate([])
    pairs = pairs.filter(pa.compute.and_(pairs["a"].is_valid(), pairs["b"].is_valid()))
    return bool(pairs.num_rows == guess.distinct and guess.distinct >= target.distinct)
