"""Whether a training set is stale: what it was made of, held against what is there now for the very moments that it covers.

Its span begins with its first features and ends with the data that it saw: later data makes a later set, not this one stale. A label's
horizon is part of the span, so that a day that changes in it counts although no feature reads it.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from orchestrai.core.time.calendar import WHOLE
from orchestrai.errors import NotReceipted
from orchestrai.features.incremental.partition_spans import overlapping, spans
from orchestrai.features.labels import declared_label
from orchestrai.features.ports import DeclaredView, Learner
from orchestrai.features.spec import parse_moment
from orchestrai.features.views.view_inputs import Span
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import UNPARTITIONED
from orchestrai.ledger.receipt import Receipt
from orchestrai.stage.staleness import Cause, Places, StalePartition, difference, upstream


def stale_training_set(ledger: Ledger, model: Learner, code: str, above: Places) -> tuple[StalePartition, ...]:
    """The training set of a model, if it is stale; `code` is what makes one now, `above` are features that are stale themselves."""
    current = ledger.find(model.asset("training_set"))
    if current is None or UNPARTITIONED not in current.partitions:
        return ()
    try:
        receipt = current.receipt(UNPARTITIONED)
    except NotReceipted:
        return (StalePartition(current.asset, UNPARTITIONED, (Cause("recalled"),)),)
    named = {ref.asset: ref.partitions for ref in receipt.inputs}
    causes = [Cause("code")] if receipt.code_version != code or not _same_definition(receipt, model) else []
    for asset, (then, now) in _read(ledger, model, receipt, named).items():
        causes += difference({asset: then}, {asset: now})
        causes += upstream({asset: now}, above)
    return (StalePartition(current.asset, UNPARTITIONED, tuple(causes)),) if causes else ()


def _same_definition(receipt: Receipt, model: Learner) -> bool:
    recorded, wanted = receipt.parameters.get("views"), [view.view.hash for view in model.views]
    made = [view.get("hash") for view in recorded if isinstance(view, dict)] if isinstance(recorded, list) else []
    return (
        _same_rows(receipt, model)
        and made == wanted
        and receipt.parameters.get("incomplete") == model.incomplete.model_dump(mode="json")
    )


def _same_rows(receipt: Receipt, model: Learner) -> bool:
    """Whether label or spine are declared as they were."""
    if model.spine is not None:
        return receipt.parameters.get("spine") == model.spine.model_dump(mode="json", by_alias=True)
    if model.label is None:
        return False
    schemas = {table: dataset.table_schema for table, dataset in model.label_inputs.items()}
    label = declared_label(model.label, schemas, model.folder, model.views[0].view)
    return bool(receipt.parameters.get("label_hash") == label.hash)


def _read(
    ledger: Ledger, model: Learner, receipt: Receipt, named: Mapping[str, Mapping[str, str]]
) -> dict[str, tuple[Mapping[str, str], Mapping[str, str]]]:
    """By input, the partitions of the span that the set covers: as named, and as they are now."""
    last, end = _moment(receipt, "last_moment"), _moment(receipt, "data_end")
    read: dict[str, tuple[Mapping[str, str], Mapping[str, str]]] = {}
    begins: list[datetime] = []
    for view in model.views:
        dataset = ledger.find(view.asset)
        then = named.get(view.asset, {})
        places = _places(view, {*then, *(dataset.partitions if dataset is not None else ())})
        newest = max((places[key][0] for key in then if key in places), default=None) if model.spine is not None else last
        inside = {key for key, (start, _) in places.items() if newest is None or start <= newest}
        begins += [places[key][0] for key in inside] if view is model.views[0] else []
        read[view.asset] = _pair(then, dataset, inside)
    first = min(begins, default=None)
    for declared in model.label_inputs.values():
        asset = declared.asset("restored")
        dataset, then = ledger.find(asset), named.get(asset, {})
        if model.spine is not None:
            # rows that are brought later make a later set
            read[asset] = _pair(then, dataset, then)
            continue
        keys = {*then, *(dataset.partitions if dataset is not None else ())}
        grain = None if keys <= {WHOLE} else declared.grain
        # the partition that holds the end of the data decides how far labels go
        reached = {key for key, (start, _) in spans(keys, grain).items() if end is None or start <= end}
        after = set(overlapping(spans(keys, grain), first, None))
        read[asset] = _pair(then, dataset, reached & after)
    return read


def _places(view: DeclaredView, keys: set[str]) -> dict[str, Span]:
    """The times of the rows that partitions of features hold."""
    if view.view.kind == "entity":
        return {key: (moment := parse_moment(key), moment) for key in keys}
    like = view.partitioned_like
    return spans(keys, like.grain if like is not None and not keys <= {WHOLE} else None)


def _pair(
    then: Mapping[str, str], dataset: Dataset | None, keys: Iterable[str]
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    wanted = {*keys}
    there = dataset.partitions if dataset is not None else {}
    return (
        {key: root for key, root in then.items() if key in wanted},
        {key: entry.root for key, entry in there.items() if key in wanted},
    )


def _moment(receipt: Receipt, fact: str) -> datetime | None:
    text = receipt.facts.get(fact)
    return datetime.fromisoformat(text) if isinstance(text, str) else None
