"""Columns that were there and no longer are.

A contract grows by optional columns, so the objects of earlier days lack them, and that is fine. A column that the partition before
still had was dropped or renamed by the producer: reading it as null would train models on a loss that nobody decided.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import chain

from orchestrai.core.time.partition_key import alike_before
from orchestrai.core.verdict import Verdict
from orchestrai.errors import NotReceipted
from orchestrai.ledger.dataset import Dataset

# where the verdict on the schema names the declared columns that an object lacked
LACKING = "lacking"


def vanished(
    partition: str,
    lacking: Sequence[str],
    dataset: Dataset | None,
    before: Mapping[str, Sequence[Verdict]],
    there: Collection[str],
) -> tuple[str, ...]:
    """Those of the lacking columns that the newest accepted partition of its value up to this one had, sorted.

    `before` has the verdicts of partitions judged in this run, which come before what is published; `there` are the partitions that
    are published or were judged open in this run.
    """
    itself = [partition] if partition in there else []
    for key in chain(itself, alike_before(there, partition)) if lacking else ():
        verdicts = accepted(key, dataset, before)
        if verdicts is not None:
            return tuple(sorted(set(lacking) - _lacked(verdicts)))
    return ()


def accepted(key: str, dataset: Dataset | None, before: Mapping[str, Sequence[Verdict]]) -> Sequence[Verdict] | None:
    """The verdicts that a partition was let through with, by its gate or by a person; None where it was not."""
    if key in before:
        return None if any(verdict.closes_gate for verdict in before[key]) else before[key]
    try:
        return dataset.receipt(key).verdicts.get(key, ()) if dataset else None
    except NotReceipted:
        return None  # recalled: no example to go by


def _lacked(verdicts: Sequence[Verdict]) -> set[str]:
    named = (verdict.details.get(LACKING) for verdict in verdicts if verdict.check == "schema")
    return {str(name) for names in named if isinstance(names, list) for name in names}
