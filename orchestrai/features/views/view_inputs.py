"""A view's inputs, opened through the ledger: only restored datasets, only verified files."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq

from orchestrai.core.time.calendar import WHOLE, Grain
from orchestrai.core.time.partition_key import of_value
from orchestrai.errors import FeatureViewError, NotReceipted
from orchestrai.features.incremental.partition_spans import PartitionSpans, overlapping
from orchestrai.features.views.view import FeatureView
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.receipt import InputRef, Receipt

Span = tuple[datetime, datetime]
Files = Mapping[str, Mapping[str, Sequence[Path]]]


@dataclass(frozen=True)
class Inputs:
    """Open datasets by table name, with the span each partition covers; of a `value` what its partitions may read."""

    datasets: Mapping[str, Dataset]
    spans: Mapping[str, Mapping[str, Span]]
    grains: Mapping[str, Grain | None] = field(default_factory=dict)
    value: str = ""

    def of_value(self, value: str) -> "Inputs":
        """The same as partitions of a value see them: its own, and all of what has no dimension; itself for no value."""
        if not value:
            return self
        datasets = {name: dataset.of_value(value) for name, dataset in self.datasets.items()}
        spans = {name: {key: of[key] for key in of_value(value, of)} for name, of in self.spans.items()}
        return replace(self, datasets=datasets, spans=spans, value=value)

    def needed(self, table: str, since: datetime | None, until: datetime | None) -> list[str]:
        """The partitions of a table that may hold rows of [since, until)."""
        return overlapping(self.spans[table], since, until)

    def roots(self, keys: Mapping[str, Iterable[str]]) -> dict[str, dict[str, str]]:
        """Partition roots by asset: what a result was computed from."""
        return {self.datasets[table].asset: self.datasets[table].roots(sorted(part)) for table, part in sorted(keys.items())}

    def refs(self, keys: Mapping[str, Iterable[str]]) -> list[InputRef]:
        """Input references for a receipt."""
        refs = []
        for table, part in sorted(keys.items()):
            dataset = self.datasets[table]
            refs.append(InputRef(dataset.asset, dataset.version, dataset.roots(sorted(part))))
        return refs

    @contextmanager
    def fetched(self, keys: Mapping[str, Iterable[str]], only: Collection[str] | None = None) -> Iterator[Files]:
        """Verified local files by table and partition, of these SHA-256 `only`; raises NotReceipted unless all were restored."""
        with ExitStack() as stack:
            files: dict[str, dict[str, list[Path]]] = {}
            for table, part in keys.items():
                dataset = self.datasets[table]
                wanted = sorted(part)
                for key in wanted:
                    require_restored(dataset, key)
                partitions = stack.enter_context(dataset.fetched(wanted, only=only))
                files[table] = {key: [file.path for file in entries] for key, entries in partitions.items()}
            yield files


def open_inputs(ledger: Ledger, view: FeatureView, assets: Mapping[str, str], grain: Grain | None = None) -> Inputs:
    """Open the assets behind a view's tables; raises FeatureViewError for a table without one, NotReceipted."""
    missing = [name for name in view.tables if name not in assets]
    if missing:
        raise FeatureViewError(
            f"{view.name}: expected an asset for {', '.join(missing)}, found {', '.join(assets) or 'none'}"
        )
    datasets = {name: ledger.open(assets[name]) for name in view.tables}
    first = next(iter(view.tables))
    table_spans, grains = {}, {}
    for name, dataset in datasets.items():
        whole = len(dataset.partitions) == 1 and WHOLE in dataset.partitions
        given = grain if name == first and grain != WHOLE and not whole else None
        grains[name] = given or dataset.cut()
        table_spans[name] = PartitionSpans(dataset.partitions, grains[name])
    return Inputs(datasets, table_spans, grains)


def require_restored(dataset: Dataset, partition: str) -> None:
    """Raises NotReceipted unless a partition counts and came from the restore."""
    require_stage(dataset.asset, partition, dataset.receipt(partition))


def require_stage(asset: str, partition: str, receipt: Receipt) -> None:
    """Raises NotReceipted unless a partition came from the restore, by its receipt."""
    if receipt.stage != "restored":
        raise NotReceipted(
            f"expected {asset}@{partition} to come from stage restored, found stage {receipt.stage}: "
            "features read restored datasets only; restore the dataset first",
            asset=asset,
            partition=partition,
        )


def time_bounds(files: Iterable[Path], column: str) -> Span | None:
    """The smallest and largest value of a timestamp column, from footers; None without rows."""
    low: list[datetime] = []
    high: list[datetime] = []
    for path in files:
        metadata = pq.read_metadata(path)
        index = next(i for i in range(metadata.num_columns) if metadata.schema.column(i).path == column)
        for group in range(metadata.num_row_groups):
            statistics = metadata.row_group(group).column(index).statistics
            if statistics is not None and statistics.has_min_max:
                low.append(_utc(statistics.min))
                high.append(_utc(statistics.max))
    return (min(low), max(high)) if low else None


def within(files: Iterable[Path], column: str | None, since: datetime | None, until: datetime | None) -> list[Path]:
    """The files that may hold rows of [since, until), by their footers."""
    if column is None or (since is None and until is None):
        return list(files)
    paths = []
    for path in files:
        bounds = time_bounds([path], column)
        if bounds is None or ((until is None or bounds[0] < until) and (since is None or bounds[1] >= since)):
            paths.append(path)
    return paths


def _utc(value: datetime) -> datetime:
    return value.astimezone(UTC) if value.tzinfo is not None else value.replace(tzinfo=UTC)
