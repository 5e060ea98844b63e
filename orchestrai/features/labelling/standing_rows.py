"""Rows of the published training set that a new one has too: those before the first moment that anything new can reach.

A row is made of its own features, of what other views knew up to its moment, and of what happened within its label's horizon. While none
of that changed, the row that stands is the row that would be made again. So a new set takes over what stands before the cut, and makes
the rest: only partitions that the rest can reach are read.

What is not read again is admitted as for use, each receipt of it. Its bytes were hashed when the set that stands was made of them, whose
own bytes are hashed now. A run that is to prove something takes nothing over.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa

from orchestrai.core.canonical import JsonValue
from orchestrai.core.sql.quoting import quoted
from orchestrai.core.time.calendar import window
from orchestrai.core.time.partition_key import values_of
from orchestrai.core.tree.ordered_keys import BEHIND, keys_before
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.engines.duckdb_sql import moment_sql
from orchestrai.features.engines.engine import BATCH_ROWS
from orchestrai.features.feature_table import write_files
from orchestrai.features.incremental.partition_spans import ALWAYS, PartitionSpans
from orchestrai.features.point_in_time_join import EVENT_TIME
from orchestrai.features.spec import LabelSpec, parse_moment
from orchestrai.features.views.view import FeatureView
from orchestrai.features.views.view_inputs import Inputs, require_stage
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.manifest import UNPARTITIONED, PartitionEntry
from orchestrai.ledger.receipt import Receipt
from orchestrai.stage.making import WAY

# the fact of a receipt with the manifests that the set was made of, in the order in which it reads its inputs: the way says which
READ_AT = "made_at"
# facts of a set that something was lacking in, or that is cut by a dimension
_PARTED = frozenset({"incomplete", "windows_not_noted", "values"})
_INSTANT = timedelta(microseconds=1)

Partitions = Mapping[str, PartitionEntry]


@dataclass(frozen=True)
class Sources:
    """What a training set is made of: feature tables by view, the first of which gives the rows, and the tables of the label."""

    features: Sequence[tuple[FeatureView, Dataset]]
    label: FeatureView
    spec: LabelSpec
    opened: Inputs

    @property
    def datasets(self) -> list[Dataset]:
        """All of them."""
        return [*(dataset for _, dataset in self.features), *self.opened.datasets.values()]

    @property
    def read_at(self) -> dict[str, JsonValue]:
        """What a receipt is to carry of them, for the set that is made after this one."""
        return {READ_AT: [dataset.head.manifest for dataset in self.datasets]}


@dataclass(frozen=True)
class Wanted:
    """The partitions that are read, by view and by table of the label."""

    features: Sequence[Sequence[str]]
    labels: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class StandingRows:
    """The rows of a published set before `since`, which none of what changed can reach; for the others `wanted` is read."""

    current: Dataset
    entity: Sequence[str]
    since: datetime
    wanted: Wanted

    def with_new(
        self, rows: Iterable[pa.RecordBatch], schema: pa.Schema, limit: datetime, scratch: Path
    ) -> Iterator[pa.RecordBatch]:
        """What stands up to `limit` and the `rows` made anew, sorted by entity and time, in bounded memory."""
        columns = ", ".join(map(quoted, schema.names))
        order = ", ".join(map(quoted, (*self.entity, EVENT_TIME)))
        until = min(self.since, limit + _INSTANT)
        with ExitStack() as stack:
            before = [file.path for file in stack.enter_context(self.current.fetched([UNPARTITIONED]))[UNPARTITIONED]]
            added = [part.path for part in write_files(rows, schema, scratch)]
            workspace = stack.enter_context(DuckDbEngine().connect())
            reader = workspace.connection.sql(
                f"SELECT {columns} FROM read_parquet({workspace.paths(before)}) "
                f"WHERE {quoted(EVENT_TIME)} < {moment_sql(until, zoned=True)} "
                f"UNION ALL SELECT {columns} FROM read_parquet({workspace.paths(added)}) ORDER BY {order}"
            ).to_arrow_reader(BATCH_ROWS)
            for batch in reader:
                yield batch.cast(schema)


def everything(sources: Sources) -> Wanted:
    """All partitions: a set is made from nothing."""
    labels = {name: [*spans] for name, spans in sources.opened.spans.items()}
    return Wanted([sorted(dataset.partitions) for _, dataset in sources.features], labels)


def standing_rows(current: Dataset | None, way: str, sources: Sources) -> StandingRows | None:
    """What a new set may take over of the `current` one; None where it has to be made from nothing.

    It is taken over from a set that was made in the same `way` (declarations, code, packages), that lacked nothing and is not cut by a
    dimension. Raises IntegrityError where the set, a manifest that it was made of, or a partition that is not read again may not be used.
    """
    receipt = _receipt(current, way)
    if current is None or receipt is None:
        return None
    since = _first_reached(current, receipt, sources)
    if since is None:
        return None
    wanted = _from(since, sources)
    if not wanted.features[0] or len(wanted.features[0]) == len(sources.features[0][1].partitions):
        return None
    return StandingRows(current, sources.features[0][0].entity, since, wanted) if _admitted(sources, wanted) else None


def _receipt(current: Dataset | None, way: str) -> Receipt | None:
    """The receipt of the current set, if another may be made of it."""
    if current is None or UNPARTITIONED not in current.partitions:
        return None
    receipt = current.receipt(UNPARTITIONED)
    sound = all(verdict.passed for verdict in receipt.verdicts.get(UNPARTITIONED, ())) and not receipt.overrides
    same = receipt.facts.get(WAY) == way and not _PARTED & set(receipt.facts)
    return receipt if sound and same and receipt.parameters.get("as_of_limit") is None else None


def _first_reached(current: Dataset, receipt: Receipt, sources: Sources) -> datetime | None:
    """The first moment whose row may differ from the one that stands; None where that may be any."""
    noted = receipt.facts.get(READ_AT)
    if not isinstance(noted, list) or len(noted) != len(sources.datasets):
        return None
    first = datetime.fromisoformat(str(receipt.facts["last_moment"])) + _INSTANT
    for place, (dataset, digest) in enumerate(zip(sources.datasets, noted, strict=True)):
        if values_of(dataset.partitions):
            return None
        begins = _begin(place, sources, dataset, current.ledger.pages(dataset.asset).tree(str(digest)))
        if begins is None:
            return None
        first = min([first, *begins])
    return first


def _begin(place: int, sources: Sources, dataset: Dataset, before: Partitions) -> list[datetime] | None:
    """From when on rows may feel each partition that is not as it was; None where they all may."""
    now = dataset.partitions
    changed = sorted(_differing(now, before))
    if place < len(sources.features):
        view = sources.features[place][0]
        if view.kind == "entity":
            return [parse_moment(key) for key in changed]
        grain, horizon = PartitionSpans(now, dataset.cut()).grain, timedelta(0)
    else:
        name = [*sources.opened.datasets][place - len(sources.features)]
        table = sources.label.tables[name]
        if changed and (table.whole or table.event_time is None):
            return None
        grain, horizon = PartitionSpans(now, sources.opened.grains.get(name)).grain, sources.spec.horizon
    starts = [window(key, grain)[0] for key in changed]
    return None if ALWAYS[0] in starts else [start - horizon for start in starts]


def _differing(now: Partitions, before: Partitions) -> set[str]:
    """Partitions that came, went, have other bytes, or of which something else is noted."""
    mine, theirs = ({key: (row.root, row.manifest) for key, row in rows.items()} for rows in (now, before))
    return {key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key)}


def _from(since: datetime, sources: Sources) -> Wanted:
    """What is read for the rows from a moment on; of each table of the label its newest rows too, which say where the data ends."""
    first, dataset = sources.features[0]
    if first.kind == "entity":
        own = [key for key in sorted(dataset.partitions) if parse_moment(key) >= since]
    else:
        own = PartitionSpans(dataset.partitions, dataset.cut()).overlapping(since, None)
    labels: dict[str, Sequence[str]] = {}
    for name, spans in sources.opened.spans.items():
        read = sources.opened.datasets[name]
        newest = next((key for key in keys_before(read.partitions, BEHIND) if read.partitions[key].rows), None)
        labels[name] = sources.opened.needed(name, min(since, spans[newest][0]) if newest is not None else None, None)
    return Wanted([own, *(sorted(others.partitions) for _, others in sources.features[1:])], labels)


def _admitted(sources: Sources, wanted: Wanted) -> bool:
    """Ask for the evidence of all that is not read again; False where a person let something through, which may lie anywhere.

    Raises NotReceipted.
    """
    for (_, dataset), keys in zip(sources.features, wanted.features, strict=True):
        for _ in dataset.without({*keys}).admitted():
            pass
    for name, dataset in sources.opened.datasets.items():
        for key, receipt in dataset.without({*wanted.labels[name]}).admitted():
            require_stage(dataset.asset, key, receipt)
            if receipt.override(key) is not None:
                return False
        if any(dataset.receipt(key).override(key) is not None for key in wanted.labels[name]):
            return False
    return True
