"""What kind of data it is, and so which view and label come first: a table of things, a series to forecast, or events of somebody."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from orchestrai.errors import ConfigError
from orchestrai.pipeline.starter.column_guess import ID_WORD, Guess
from orchestrai.pipeline.starter.cut_guess import micros_of, span_of
from orchestrai.pipeline.starter.label_guess import Target, alone_tells, find_target, gives_away
from orchestrai.pipeline.starter.look.sample import Sample
from orchestrai.pipeline.starter.roles import Entity, entity_column, key_column, words

if TYPE_CHECKING:
    import numpy as np

Kind = Literal["table", "series", "events"]
DAY = 86_400
# longest text that may be a category, and how many categories a model is given
MOST_CATEGORIES = 200
TIME_PARTS = ("year", "month", "day", "hour", "minute", "second", "weekday", "day_of_week")
# a little below what an evaluation takes for a leak
LEAK = 0.995
FEWEST_MOMENTS = 30


@dataclass
class Shape:
    """What is to be modelled. `entity` is a column's name; `step` of a series and `horizon` are seconds.

    `numbered` where rows have no key and are told apart by object and place; `series_of_file` where each file is a series.
    """

    kind: Kind
    time: Guess | None = None
    key: Guess | None = None
    entity: Guess | None = None
    target: Target | None = None
    features: tuple[Guess, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)
    numbered: bool = False
    series_of_file: bool = False
    step: int = 0
    every: int = 0
    horizon: int = 0
    window: int = 0
    count: bool = False
    persistent: bool = False
    notes: list[str] = field(default_factory=list)


def event_time(guesses: Sequence[Guess]) -> Guess | None:
    """The time that dates a row: the one that is always there, with a clock, and early in the row."""
    able = [g for g in guesses if g.timed and g.present and g.present >= 0.99 * len(g.values) and g.distinct > 1]
    born = re.compile(r"birth|dob|expir|due|end|valid_to|until")
    able = [g for g in able if not born.search(g.name)] or [g for g in able if "birth" not in g.name and g.name != "dob"]
    return next((g for g in able if g.type == "TIMESTAMP"), able[0] if able else None)


def find_shape(sample: Sample, guesses: Sequence[Guess]) -> Shape:
    """The kind of the data; raises ConfigError where nothing can be learnt."""
    time = event_time(guesses)
    key = key_column([g for g in guesses if g is not time], sample.rows, sample.whole)
    rest = [g for g in guesses if g not in (time, key)]
    target = find_target(rest)
    if time is None:
        return _table(sample, rest, Shape("table", None, key, target=target))
    found = entity_column(rest, sample.rows)
    series = _series(sample, rest, time, found, key)
    # a price at even steps is a series, whatever it is called
    if series is not None and not (target and target.sure and target.task != "regression"):
        return series
    # amounts of somebody's events are no outcome of theirs
    amount = target is not None and target.task == "regression" and found is not None and found.sure
    if target is not None and target.sure and not amount:
        return _table(sample, rest, Shape("table", time, key, target=target))
    # of a dozen days, or where nobody comes twice, a row is a thing and no event
    if found is not None and time.distinct >= FEWEST_MOMENTS:
        events, again = _events(rest, time, key, found)
        if again:
            return events
    return _table(sample, rest, Shape("table", time, key, target=target))


def _table(sample: Sample, rest: Sequence[Guess], shape: Shape) -> Shape:
    """Each row is a thing with an outcome."""
    target = shape.target
    if target is None:
        raise ConfigError(
            f"expected a column that a model could learn (two values, a few classes, or numbers), found none among "
            f"{', '.join(g.name for g in rest[:8]) or 'the columns'}: add one, or declare the dataset by hand (`orchestrai new`)"
        )
    import numpy as np

    features = []
    order = np.argsort(micros_of(shape.time), kind="stable") if shape.time is not None else np.arange(sample.rows)
    for guess in rest:
        if guess is target.guess:
            continue
        why = _no_feature(guess) or (
            "says the same as the target, value for value" if gives_away(guess, target.guess) else ""
        )
        alone = 0.5 if why else alone_tells(guess, target, order)
        if alone > LEAK:
            why = f"alone tells the target (AUC {alone:.4f}): put it back if it is known before the outcome is (unsure)"
        if why:
            shape.left_out[guess.name] = why
        else:
            features.append(guess)
    if not features:
        raise ConfigError(
            f"expected a column to learn {target.guess.name} from, found none besides keys, times and texts: add one"
        )
    shape.features = tuple(features)
    shape.entity = shape.key
    if shape.key is None:
        shape.numbered = True
        shape.notes.append("no column tells rows apart: they are numbered within their object (unsure)")
    shape.horizon = 60
    return shape


def _no_feature(guess: Guess) -> str:
    """Why a column is no feature; nothing for one that is."""
    if not guess.present:
        return "no values"
    if guess.timed:
        return "a time; make a number of it where it says something"
    if guess.distinct < 2:
        return "one value only"
    if guess.type == "STRING" and (guess.distinct > MOST_CATEGORIES or guess.distinct > 0.5 * guess.present):
        return f"text of {guess.distinct} values"
    if guess.name in ("id", "index", "unnamed_0", "rownames", "row_id") or guess.name.endswith("_uuid"):
        return "a number of the row"
    return ""


def _series(sample: Sample, rest: Sequence[Guess], time: Guess, found: Entity | None, key: Guess | None) -> Shape | None:
    """Values at even steps of time; None where times are uneven or there is no number."""
    import numpy as np

    numbers = [g for g in rest if g.numeric and g.distinct > 5 and g.present > 0.8 * sample.rows and not _counts_rows(g)]
    if not numbers:
        return None
    micros = micros_of(time)
    by_file = np.asarray(sample.objects)
    options: list[tuple[Guess | None, bool, Any]] = [(None, False, np.zeros(len(micros), "i8"))]
    if len(sample.keys) > 1:
        options.append((None, True, by_file))
    if found is not None:
        options.append((found.guess, False, _codes(found.guess)))
    for entity, of_file, groups in options:
        step = _step(micros, groups)
        if step:
            value = next(
                (
                    g
                    for g in numbers
                    if words(g.name) & {"value", "close", "price", "sales", "demand", "count", "total", "passengers"}
                ),
                numbers[0],
            )
            target = Target(value, "forecast", value.name, "the value to come", False)
            shape = Shape("series", time, key, entity, target, tuple(numbers[:12]), step=step, series_of_file=of_file)
            shape.horizon = step
            shape.notes.append(
                f"a value each {step} s" + (f" of each {entity.name}" if entity else " of each file" if of_file else "")
            )
            return shape
    return None


def _counts_rows(guess: Guess) -> bool:
    """Whether a number is a row's or a part of its time, and no value of a series."""
    numbered = guess.type == "BIGINT" and guess.distinct == len(guess.values)
    return bool(numbered or ID_WORD.search(guess.name.strip("_")) or guess.name.strip("_") in TIME_PARTS)


def season(shape: Shape) -> int:
    """The season of a series in seconds: a day of shorter steps, a week of days, a year of weeks and months; a step of a short history."""
    assert shape.time is not None
    (first, last), step = span_of(shape.time), shape.step
    span = (last - first) // timedelta(seconds=1)
    found = DAY if step < DAY and DAY % step == 0 else 7 * DAY if step == DAY else 364 * DAY if step == 7 * DAY else 7 * step
    found = 365 * DAY if 28 * DAY <= step <= 31 * DAY else found
    return found if span >= 4 * found else step


def is_persistent(shape: Shape) -> bool:
    """Whether a single series is told better by its last value than by the one a season before: then a line goes on where trees stop."""
    import numpy as np

    assert shape.target is not None and shape.time is not None
    lag = shape.window // shape.step
    values = np.asarray(shape.target.guess.values.cast("float64").to_numpy(zero_copy_only=False))[
        np.argsort(micros_of(shape.time))
    ]
    values = values[~np.isnan(values)]
    if shape.entity is not None or shape.series_of_file or lag < 2 or len(values) <= 2 * lag:
        return False
    return bool(np.abs(np.diff(values)).mean() < 0.6 * np.abs(values[lag:] - values[:-lag]).mean())


def _codes(guess: Guess) -> "np.ndarray[Any, Any]":
    import numpy as np

    encoded = guess.values.dictionary_encode()
    return np.asarray(encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False))


def _step(micros: "np.ndarray[Any, Any]", groups: "np.ndarray[Any, Any]") -> int:
    """The even step of most rows in seconds; 0 where there is none, or a group has two rows of one moment."""
    import numpy as np

    order = np.lexsort((micros, groups))
    gaps = np.diff(micros[order])[np.diff(groups[order]) == 0]
    if len(gaps) < 20 or (gaps == 0).mean() > 0.01:
        return 0
    steps, counts = np.unique(gaps[gaps > 0], return_counts=True)
    mode = int(steps[int(np.argmax(counts))])
    near = np.abs(gaps - mode) <= 0.15 * mode
    return max(mode // 1_000_000, 1) if near.mean() >= 0.6 and mode >= 1_000_000 else 0


def _events(rest: Sequence[Guess], time: Guess, key: Guess | None, found: Entity) -> tuple[Shape, float]:
    """Events of somebody at uneven times: what they did, and whether they come again, with the share of those who do."""
    import numpy as np

    entity = found.guess
    numbers = tuple(g for g in rest if g.numeric and g is not entity and g.distinct > 1)[:6]
    shape = Shape("events", time, key, entity, features=numbers)
    micros, codes = micros_of(time), _codes(entity)
    known = (micros > np.iinfo("i8").min) & (codes >= 0)
    seconds, codes = micros[known] // 1_000_000, codes[known]
    span = int(seconds.max() - seconds.min()) if len(seconds) else 0
    shape.every, shape.window, shape.horizon = _lengths(span)
    if not found.sure:
        shape.notes.append(f"whose rows they are was taken from {entity.name} (unsure)")
    rates = {share: _rate(seconds, codes, shape.window, shape.horizon * share) for share in (1, 2)}
    share = min(rates, key=lambda one: abs(rates[one] - 0.5))
    shape.horizon *= share
    rate = rates[share]
    shape.count = not 0.02 <= rate <= 0.98
    shape.notes.append(
        f"{rate:.0%} of those seen in {shape.window // 3600} h come again within {shape.horizon // 3600} h"
        + (": too even for yes or no, so how often is learnt" if shape.count else "")
    )
    return shape, rate


def _lengths(span: int) -> tuple[int, int, int]:
    """How often, over which window, how far ahead: about a dozen moments in the span at least."""
    if span >= 120 * DAY:
        return 7 * DAY, 28 * DAY, 14 * DAY
    if span >= 24 * DAY:
        return DAY, 7 * DAY, 3 * DAY
    if span >= 6 * DAY:
        return DAY // 4, DAY, DAY // 4
    return 3600, 4 * 3600, 3600


def _rate(seconds: "np.ndarray[Any, Any]", codes: "np.ndarray[Any, Any]", window: int, horizon: int) -> float:
    """The share of entities seen before a moment that are seen after it, over a few moments."""
    import numpy as np

    if not len(seconds):
        return 0.0
    low, high = int(seconds.min()) + window, int(seconds.max()) - horizon
    again = total = 0
    for moment in np.linspace(low, max(high, low), 5):
        before = np.unique(codes[(seconds < moment) & (seconds >= moment - window)])
        after = np.unique(codes[(seconds >= moment) & (seconds < moment + horizon)])
        total += len(before)
        again += len(np.intersect1d(before, after))
    return again / total if total else 0.0
