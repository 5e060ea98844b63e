"""Which partitions of predictions are stale: the newest by its champion and features, earlier ones by the features that they read.

A later champion says nothing of what was scored before it; features that were wrong then do. Of earlier partitions only those are read that
a change since the last run may have reached: that of the same moment in the first view, those at or after it in the others.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from orchestrai.core.canonical import JsonValue
from orchestrai.core.time.partition_key import by_value, time_part
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.stage.last_judgement import InputState, Judgement, changed_since, last_judgement, ranges
from orchestrai.stage.staleness import Places, StalePartition, stale_by_receipt


@dataclass(frozen=True)
class Scored:
    """Predictions as declared: their asset, the champion that makes them, its feature tables in order, and the code."""

    asset: str
    champion: str
    features: tuple[str, ...]
    code: str | None


def stale_predictions(ledger: Ledger, scored: Scored, above: Places) -> tuple[StalePartition, ...]:
    """The stale partitions of predictions, ascending; `above` are feature partitions that are stale themselves."""
    current = ledger.find(scored.asset)
    if current is None:
        return ()
    newest = {max(keys) for keys in by_value(current.partitions).values()}
    stale: list[StalePartition] = []
    for key in sorted({*newest, *_reached(ledger, scored, current, above)}):
        if key in newest:
            stale += stale_by_receipt(ledger, scored.asset, key, scored.code, above)
        else:
            stale += stale_by_receipt(ledger, scored.asset, key, None, above, apart=(scored.champion,))
    return tuple(stale)


def judged_predictions(
    ledger: Ledger, scored: Scored, stale: Iterable[StalePartition], published: Collection[str]
) -> dict[str, JsonValue]:
    """The fact with which a run leaves predictions of which it published some and found some stale."""
    current = ledger.find(scored.asset)
    before: Mapping[str, object] = current.partitions if current is not None else {}
    tables = {asset: ledger.find(asset) for asset in scored.features}
    inputs = {asset: InputState(table.head.seq, table.version) for asset, table in tables.items() if table is not None}
    left = [one.partition for one in stale if one.by_inputs and one.partition not in published]
    after = current.head.seq if current is not None else 0
    return Judgement(scored.code or "", after, inputs, stale=ranges(left, {*before, *published})).as_fact()


def _reached(ledger: Ledger, scored: Scored, current: Dataset, above: Places) -> set[str]:
    """The partitions that what changed since the last judgement may have made stale; all where that cannot be told."""
    last, every = last_judgement(current), set(current.partitions)
    if last.judgement is None:
        return every
    reached = {key for key in every if key in last.unread or last.judgement.was_stale(key)}
    reached |= _recalled(current)
    for number, asset in enumerate(scored.features):
        table = ledger.find(asset)
        changes = changed_since(last.judgement.inputs.get(asset), table) if table is not None else None
        if changes is None:
            return every
        changed = {time_part(key) for key in (*changes[0], *changes[1], *above.get(asset, ()))}
        if number == 0:
            reached |= {key for key in every if time_part(key) in changed}
        elif changed:
            reached |= {key for key in every if time_part(key) >= min(changed)}
    return reached


def _recalled(current: Dataset) -> set[str]:
    if not current.recalls.records:
        return set()
    return {
        key
        for key, entry in current.partitions.items()
        if current.recalls.find(current.asset, key, entry.root, entry.receipt) is not None
    }
