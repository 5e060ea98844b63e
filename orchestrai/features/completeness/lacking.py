"""Which due partitions a span of time lacks: the one rule, for features, labels, training sets and predictions.

A partition is lacking where the contract expects data, the dataset had begun, and nothing of it was there to read. A dataset begins
with the first partition that was ever published, so that what follows is the same wherever it is worked out anew. Why a partition is
lacking (refused, left out by a person) is told beside it and decides nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from orchestrai.core.canonical import JsonValue
from orchestrai.core.time.calendar import WHOLE, keys_between, partition_of, time_grain
from orchestrai.core.time.partition_key import value_part, with_value
from orchestrai.core.verdict import Severity, Verdict
from orchestrai.features.incremental.partition_spans import ALWAYS, overlapping, spans
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.decisions.skips import Skips
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.quarantine import closed_gates
from orchestrai.stage.outcomes import Partitioned, is_due

Span = tuple[datetime, datetime]
# the lacking partitions of some datasets, by asset
Lacks = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class DatasetState:
    """A dataset as a computation meets it: `absent` are the due partitions that it has not, with their spans, ascending."""

    asset: str
    absent: Mapping[str, Span] = field(default_factory=dict)


def lacking(state: DatasetState, since: datetime | None, until: datetime | None) -> tuple[str, ...]:
    """The due partitions that a dataset lacks in [since, until): those whose span overlaps it. None is without bound."""
    return tuple(overlapping(state.absent, since, until))


def dataset_state(
    dataset: Dataset, declared: Partitioned | None, until: datetime | None, since: datetime | None = None
) -> DatasetState:
    """What a dataset, of a dimension one value of it, lacks between its first published partition and `until`, and no earlier than in
    the partition that holds `since`; nothing where no declaration says what is due.
    """
    first = next(iter(dataset.partitions), WHOLE)
    if declared is None or declared.grain == WHOLE or first == WHOLE or until in (None, ALWAYS[1]):
        return DatasetState(dataset.asset)
    assert until is not None
    value, time = value_part(first), time_grain(declared.grain)
    last = with_value(partition_of(until - timedelta(microseconds=1), time), value)
    if since is not None and since > ALWAYS[0]:
        first = max(first, with_value(partition_of(since, time), value))
    absent = [
        key for key in keys_between(first, last, declared.grain) if key not in dataset.partitions and is_due(declared, key)
    ]
    return DatasetState(dataset.asset, spans(absent, declared.grain))


@dataclass(frozen=True)
class Reason:
    """Why a partition is lacking: `refused`, `held`, `skipped`, `not restored` or `missing`, and what is known of it."""

    state: str
    note: str = ""

    def __str__(self) -> str:
        return f"{self.state}: {self.note}" if self.note else self.state


def reasons(ledger: Ledger, declared: Mapping[str, Partitioned], lacks: Lacks) -> dict[str, Reason]:
    """Why each of some lacking partitions is so, by `asset@partition`; from the ledger as it is now."""
    told: dict[str, Reason] = {}
    skips = ledger.skips() if any(lacks.values()) else Skips()
    for asset, keys in sorted(lacks.items()):
        dataset = declared.get(asset)
        if dataset is None or not keys:
            told |= {f"{asset}@{key}": Reason("missing") for key in keys}
            continue
        first, refused = ledger.find(dataset.gates[0]), _refused(ledger, dataset.gates)
        for key in sorted(keys):
            skip = next((standing for gate in dataset.gates if (standing := skips.find(gate, key))), None)
            if key in refused:
                reason = refused[key]
            elif skip is not None:
                reason = Reason("skipped", skip.note)
            elif first is not None and key in first.partitions:
                reason = Reason("not restored")
            else:
                reason = Reason("missing")
            told[f"{asset}@{key}"] = reason
    return told


@dataclass(frozen=True)
class Reasons:
    """Why partitions of some datasets are lacking, looked up once, and only where somebody asks."""

    ledger: Ledger
    declared: Mapping[str, Partitioned]
    states: tuple[DatasetState, ...]

    @cached_property
    def _all(self) -> dict[str, Reason]:
        return reasons(self.ledger, self.declared, {state.asset: list(state.absent) for state in self.states})

    def of(self, lacks: Lacks) -> dict[str, Reason]:
        """Those of some of the partitions."""
        places = [f"{asset}@{key}" for asset, keys in sorted(lacks.items()) for key in keys]
        return {place: self._all[place] for place in places} if places else {}


def _refused(ledger: Ledger, gates: Sequence[str]) -> dict[str, Reason]:
    """What closed a gate, by partition: checks, or that it is held until a person or more data decides."""
    closed: dict[str, Reason] = {}
    for asset in gates:
        for key, refusal in closed_gates(ledger, asset, ledger.find(asset)).items():
            state = "held" if refusal.held else "refused"
            closed.setdefault(
                key, Reason(state, f"since {refusal.time[:10]}" if refusal.held else ", ".join(refusal.closed))
            )
    return closed


def merged(lacks: Iterable[Lacks]) -> dict[str, list[str]]:
    """The lacking partitions of several computations together."""
    together: dict[str, set[str]] = {}
    for some in lacks:
        for asset, keys in some.items():
            together.setdefault(asset, set()).update(keys)
    return {asset: sorted(keys) for asset, keys in sorted(together.items()) if keys}


def shown(told: Mapping[str, Reason], most: int = 5) -> str:
    """Lacking partitions in words, the first few of many."""
    lines = [f"{place} ({reason})" for place, reason in list(told.items())[:most]]
    more = len(told) - len(lines)
    return ", ".join(lines) + (f" and {more} more" if more > 0 else "")


@dataclass(frozen=True)
class Shortfall:
    """What a check of completeness counted: `count` of `of` rows that fall short, and how its message and its details call them."""

    check: str
    noun: str
    that: str
    count: int
    of: int
    details: Mapping[str, JsonValue]

    def verdict(self, told: Mapping[str, Reason], most: float | None) -> Verdict:
        """Passes where no row falls short, warns of the lacking partitions, and closes the gate above the share `most`."""
        if not self.count:
            return Verdict(self.check, True, severity="warn")
        share = self.count / self.of if self.of else 0.0
        severity: Severity = "error" if most is not None and share > most else "warn"
        limit = "" if most is None else f" in all but {most:.1%} of the rows"
        message = (
            f"expected {self.noun} without a lacking partition{limit}, found {self.count} of {self.of} rows ({share:.1%}) "
            f"{self.that} {shown(told)}: mend the day, or declare in the contract that nothing was due"
        )
        lacks: dict[str, JsonValue] = {place: str(reason) for place, reason in told.items()}
        return Verdict(self.check, False, message, severity, {**self.details, "share": round(share, 6), "lacking": lacks})
