"""Published features as they were known at the moments of rows: what predictions are made of.

It decides which partitions of each view the moments need, and holds every one of them to the definition that is asked for.
How rows are joined is in point_in_time_join.py alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from orchestrai.core.time.calendar import WHOLE
from orchestrai.core.time.partition_key import by_value, time_part, value_part
from orchestrai.errors import FeatureViewError, NotReceipted
from orchestrai.features.completeness.incomplete_windows import noted
from orchestrai.features.completeness.lacking import Lacks, merged
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.incremental.partition_spans import overlapping, spans
from orchestrai.features.point_in_time_join import Clocked, ViewFiles, joined, of_same_events, require_joinable, unmatched
from orchestrai.features.spec import parse_moment
from orchestrai.features.views.view_inputs import Span, time_bounds
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.receipt import InputRef
from orchestrai.stage.outcomes import Partitioned

VIEW_HASH = "view_hash"
_INSTANT = timedelta(microseconds=1)


class RecordedView(Clocked, Protocol):
    """A view as somebody noted it: besides its clock, where its features are and which definition they must be of."""

    @property
    def asset(self) -> str:
        """The feature table."""
        ...

    @property
    def hash(self) -> str:
        """The digest of the definition."""
        ...


@dataclass(frozen=True)
class KnownRows:
    """Rows of one partition of the first view, with what the others knew; `inputs` name every partition that was read.

    `lacks` are the due partitions, by dataset, that windows of some of these features lacked.
    """

    partition: str
    table: pa.Table
    inputs: tuple[InputRef, ...]
    size: int
    lacks: Mapping[str, Sequence[str]] = field(default_factory=dict)


def made_by(dataset: Dataset, partition: str) -> str | None:
    """The digest of the view that computed a partition of features, by its receipt."""
    digest = dataset.receipt(partition).parameters.get(VIEW_HASH)
    return str(digest) if digest else None


def require_definition(dataset: Dataset, keys: Iterable[str], view: str, wanted: str, remedy: str) -> None:
    """Raises NotReceipted for a partition of features that another definition of the view computed."""
    for key in keys:
        digest = made_by(dataset, key)
        if digest != wanted:
            raise NotReceipted(
                f"expected {dataset.asset}@{key} to come from {view} of definition {wanted[:12]}, found another definition "
                f"({digest[:12] if digest else 'none named'}): {remedy}",
                asset=dataset.asset,
                partition=key,
            )


def feature_spans(view: Clocked, dataset: Dataset, like: Partitioned | None) -> dict[str, Span]:
    """The times of the rows that each partition of features may hold; of a view of moments just one."""
    if view.kind == "entity":
        return {key: (moment := parse_moment(key), moment + _INSTANT) for key in sorted(dataset.partitions)}
    return spans(dataset.partitions, like.grain if like is not None and [*dataset.partitions] != [WHOLE] else None)


@dataclass
class _Reading:
    """One view's partitions as they are read."""

    view: RecordedView
    dataset: Dataset
    keys: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    lacks: list[Lacks] = field(default_factory=list)
    size: int = 0

    def read(self, keys: Sequence[str], stack: ExitStack) -> None:
        """Take in some partitions, once their definition is the one asked for."""
        remedy = "train the model again, or restore the view's definition and compute it again"
        require_definition(self.dataset, keys, self.view.name, self.view.hash, remedy)
        for key, files in stack.enter_context(self.dataset.fetched(keys)).items():
            self.keys.append(key)
            windows = noted(self.dataset.files(key).stats)
            self.lacks += [windows.lacks] if windows is not None else []
            self.files += [file.path for file in files]
            self.size += sum(file.entry.size for file in files)

    @property
    def table(self) -> ViewFiles:
        """What was read, for the join."""
        return ViewFiles(self.view, self.files)

    @property
    def ref(self) -> InputRef:
        """What was read, for a receipt."""
        return InputRef(self.dataset.asset, self.dataset.version, self.dataset.roots(sorted(self.keys)))


class PointInTime:
    """Features as they were known, from a ledger's feature tables."""

    def __init__(self, ledger: Ledger, engine: DuckDbEngine | None = None) -> None:
        self.ledger = ledger
        self._engine = engine or DuckDbEngine()

    def rows(self, views: Sequence[RecordedView], partition: str | None = None) -> KnownRows:
        """The rows of one partition of the first view (the newest by default) with all views' features at their moments; of a
        dimension those of each value, where the partition names none.

        The columns are those of a training set without its label. Of the other views no partition after the newest moment is
        read, and none before those in which every row found what was known. Raises NotReceipted for features of another
        definition, FeatureViewError as the join does.
        """
        require_joinable(views)
        datasets = [self.ledger.open(view.asset) for view in views]
        first = datasets[0].partitions
        if partition is None:
            chosen = [keys[-1] for keys in by_value(first).values()]
        else:
            chosen = [key for key in sorted(first) if partition in (key, time_part(key))] or [partition]
        if not chosen:
            raise FeatureViewError(f"expected partitions in {datasets[0].asset}, found none: materialize it")
        return _together(partition or time_part(max(chosen)), [self._of_one(views, datasets, key) for key in chosen])

    def _of_one(self, views: Sequence[RecordedView], datasets: Sequence[Dataset], chosen: str) -> KnownRows:
        """The rows of one partition of the first view; of a dimension the others are of its value."""
        value = value_part(chosen)
        readings = [_Reading(view, dataset.of_value(value)) for view, dataset in zip(views, datasets, strict=True)]
        first = readings[0]
        with ExitStack() as stack:
            first.read([chosen], stack)
            bounds = time_bounds(first.files, first.view.time)
            if bounds is not None:
                for other in readings[1:]:
                    self._read_known(first, other, bounds, stack)
            with joined([reading.table for reading in readings], engine=self._engine) as batches:
                table = batches.read_all()
        refs = tuple(reading.ref for reading in readings if reading.keys)
        lacks = merged(some for reading in readings for some in reading.lacks)
        return KnownRows(chosen, table, refs, sum(reading.size for reading in readings), lacks)

    def definition(self, asset: str) -> str | None:
        """The digest of the view that computed the newest features of an asset; None where there are none that count."""
        dataset = self.ledger.find(asset)
        if dataset is None or not dataset.partitions:
            return None
        try:
            return made_by(dataset, max(dataset.partitions))
        except NotReceipted:
            return None  # recalled: nobody is given them

    def _read_known(self, first: _Reading, other: _Reading, bounds: Span, stack: ExitStack) -> None:
        """Read back from the newest moment, twice as many partitions each time, until no row lacks anything."""
        same = of_same_events(other.view, first.view)
        left = at_or_before(other.view, other.dataset, bounds, same_events=same)
        count = len(left) if same else 1
        while left:
            other.read(left[:count], stack)
            left, count = left[count:], count * 2
            if left and other.files and not unmatched(first.table, other.table, self._engine):
                return


def _together(partition: str, parts: Sequence[KnownRows]) -> KnownRows:
    """The rows of several values as those of one partition."""
    if len(parts) == 1:
        return replace(parts[0], partition=partition)
    roots: dict[tuple[str, str], dict[str, str]] = {}
    for ref in (ref for part in parts for ref in part.inputs):
        roots.setdefault((ref.asset, ref.version), {}).update(ref.partitions)
    return KnownRows(
        partition,
        pa.concat_tables([part.table for part in parts]),
        tuple(InputRef(asset, version, dict(sorted(keys.items()))) for (asset, version), keys in roots.items()),
        sum(part.size for part in parts),
        merged(part.lacks for part in parts),
    )


def at_or_before(view: Clocked, dataset: Dataset, bounds: Span, *, same_events: bool) -> list[str]:
    """The partitions that may hold what was known at moments within `bounds`, newest first."""
    keys, (low, high) = dataset.partitions, bounds
    if view.kind == "entity":
        moments: dict[str, datetime] = {key: parse_moment(key) for key in keys}
        return sorted((key for key, moment in moments.items() if moment <= high), key=moments.__getitem__, reverse=True)
    # of other events only those strictly before the moment count
    return overlapping(spans(keys, dataset.cut()), low if same_events else None, high + _INSTANT if same_events else high)[
        ::-1
    ]
