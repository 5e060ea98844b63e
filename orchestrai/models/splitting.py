"""Which rows train and which are held out; no row, moment or (where asked) entity is on both sides."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrai.errors import ModelError
from orchestrai.models.rows import Floats, Ints, Rows
from orchestrai.models.spec import ModelSpec
from orchestrai.models.task import VALUES

Index = npt.NDArray[np.intp]
EARLY_STOPPING_SHARE = 0.1


@dataclass(frozen=True)
class HeldOut:
    """Places of the training rows and of the test rows; `cut` is the first test moment for a split by time."""

    train: Index
    test: Index
    cut: str = ""


def moment(micros: int) -> str:
    """ISO time of microseconds since 1970 UTC."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)).isoformat()


def who(rows: Rows, spec: ModelSpec) -> npt.NDArray[np.object_]:
    """The entity that must not be on both sides: the whole key, or for a ranking the one who is served."""
    if spec.task == "ranking" or len(rows.entity) == 1:
        return rows.entity[0]
    joined = rows.entity[0]
    for part in rows.entity[1:]:
        joined = joined + "\x1f" + part
    return joined


def _draws(entities: npt.NDArray[np.object_], seed: int) -> Floats:
    """A number in [0, 1) per row by a seeded hash of its entity: the same on every machine and in every training."""
    distinct, inverse = np.unique(entities.astype(str), return_inverse=True)
    salt = f"{seed}\x1f".encode()
    hashes = (hashlib.sha256(salt + str(name).encode()).digest()[:8] for name in distinct)
    draws = np.array([int.from_bytes(head, "big") / 2**64 for head in hashes], dtype=np.float64)
    return draws[inverse]


def hold_out(rows: Rows, spec: ModelSpec) -> HeldOut:
    """Split rows once; with `folds` every row trains and none is held out here."""
    split = spec.split
    everything = np.arange(len(rows), dtype=np.intp)
    if split.folds is not None:
        return HeldOut(everything, everything[:0])
    if split.by == "entity":
        late = _draws(who(rows, spec), split.seed) < split.test_share
        parts = HeldOut(everything[~late], everything[late])
    else:
        parts = _by_time(rows, spec)
    if not len(parts.train) or not len(parts.test):
        raise ModelError(
            f"{spec.name}: expected rows on both sides of the split, found {len(parts.train)} to train and {len(parts.test)} to "
            "test: shorten split.gap, change split.test_share or declare split.folds"
        )
    return parts


def _by_time(rows: Rows, spec: ModelSpec) -> HeldOut:
    split = spec.split
    moments, counts = np.unique(rows.event_time, return_counts=True)
    if len(moments) < 2:
        raise ModelError(
            f"{spec.name}: expected at least two as-of moments for a split by time, found {len(moments)} in {len(rows)} rows: "
            "declare split: {folds: 5} or split: {by: entity}, or add history"
        )
    gap = round(split.gap.total_seconds() * 1_000_000)
    if split.test == "earliest":
        earlier = np.cumsum(counts)[:-1] / len(rows)
        last = int(moments[:-1][int(np.argmin(np.abs(earlier - split.test_share)))])
        train = (rows.event_time > last) & (rows.event_time >= last + gap)
        return _apart(rows, spec, train, rows.event_time <= last, last)
    later = np.cumsum(counts[::-1])[::-1][1:] / len(rows)
    cut = int(moments[1:][int(np.argmin(np.abs(later - split.test_share)))])
    train = (rows.event_time < cut) & (rows.event_time <= cut - gap)
    return _apart(rows, spec, train, rows.event_time >= cut, cut)


def backtests(rows: Rows, spec: ModelSpec) -> list[HeldOut]:
    """The test period cut into consecutive tests, each with what came `gap` before it to train on."""
    late = rows.event_time[hold_out(rows, spec).test]
    moments, count = np.unique(late), spec.split.backtests or 1
    if len(moments) < count:
        raise ModelError(
            f"{spec.name}: expected at least {count} moments in the test period for as many backtests, found {len(moments)}: "
            "declare fewer, raise split.test_share or add history"
        )
    gap = round(spec.split.gap.total_seconds() * 1_000_000)
    parts = []
    for chunk in np.array_split(moments, count):
        first, last = int(chunk[0]), int(chunk[-1])
        train = (rows.event_time < first) & (rows.event_time <= first - gap)
        parts.append(_apart(rows, spec, train, (rows.event_time >= first) & (rows.event_time <= last), first))
    if any(not len(part.train) for part in parts):
        raise ModelError(
            f"{spec.name}: expected rows before each backtest, found none before one: shorten split.gap or add history"
        )
    return parts


def held_out_parts(rows: Rows, spec: ModelSpec) -> list[HeldOut]:
    """Every test that is declared: the folds, the backtests, or the one that is held out."""
    if spec.split.folds is not None:
        return folds(rows, spec)
    return [hold_out(rows, spec)] if spec.split.backtests is None else backtests(rows, spec)


def _apart(rows: Rows, spec: ModelSpec, train: Any, test: Any, cut: int) -> HeldOut:
    if spec.split.disjoint_entities:
        entities = who(rows, spec).astype(str)
        train &= ~np.isin(entities, entities[test])
    return HeldOut(np.flatnonzero(train), np.flatnonzero(test), moment(cut))


def folds(rows: Rows, spec: ModelSpec) -> list[HeldOut]:
    """The declared folds: entities in hash order, dealt in turn within each label, so shares of labels stay equal."""
    count = spec.split.folds or 0
    distinct, inverse = np.unique(who(rows, spec).astype(str), return_inverse=True)
    if len(distinct) < count:
        raise ModelError(f"{spec.name}: expected at least {count} entities for {count} folds, found {len(distinct)}")
    draws = np.empty(len(distinct))
    draws[inverse] = _draws(who(rows, spec), spec.split.seed)
    strata = np.zeros(len(distinct))
    if spec.task not in VALUES:
        np.maximum.at(strata, inverse, rows.label)
    order = np.lexsort((draws, strata))
    fold_of = np.empty(len(distinct), dtype=np.intp)
    fold_of[order] = np.arange(len(distinct)) % count
    dealt = fold_of[inverse]
    return [HeldOut(np.flatnonzero(dealt != fold), np.flatnonzero(dealt == fold)) for fold in range(count)]


def stopping_rows(rows: Rows, spec: ModelSpec, train: Index) -> tuple[Index, Index]:
    """Divide training rows into those that fit and those that say when to stop: the latest, or a tenth of the entities."""
    if spec.split.folds is None and spec.split.by == "time":
        times: Ints = rows.event_time[train]
        cut = np.quantile(times, 1 - EARLY_STOPPING_SHARE)
        late = times > cut if (times > cut).any() else times >= times.max()
        if late.any() and not late.all():
            return train[~late], train[late]
    late = _draws(who(rows, spec)[train], spec.split.seed + 1) < EARLY_STOPPING_SHARE
    return train[~late], train[late]
