"""A partition's profile, gathered from the batches as they are written: no row is read a second time, and memory does not grow.

Distinct values are counted by the smallest hashes (bottom-k): exactly up to KEPT of them, within 3 % beyond. The spread of values is
that of a sample: the rows with the smallest hashes, so that the same rows give the same sample, however they were cut into batches.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrai.contracts.anomaly.profile import BUCKETS, QUANTILES, SLICES, ColumnProfile, Profile, digits
from orchestrai.contracts.contract import Contract
from orchestrai.core.time.calendar import WHOLE, Grain, start_of_day, window
from orchestrai.ingest.conversions.arrow_numbers import floats, integers, valid
from orchestrai.ingest.keys.key_hashes import hashed, mixed

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

KEPT = 1_024
MOST_COLUMNS = 64
_NULL = 0x5BF0_3635
_NUMBERS = ("BIGINT", "INT", "DOUBLE", "DECIMAL")


@dataclass(frozen=True)
class Lens:
    """What is looked at in the rows of one partition: the time that its slices are cut from, and how each column is sketched."""

    event_time: str | None
    start: datetime | None
    end: datetime | None
    numbers: frozenset[str]
    columns: tuple[str, ...]


def lens_of(contract: Contract, partition: str, grain: Grain) -> Lens:
    """How the partition of a contract is looked at; values of personal columns are seen as hashes only."""
    names = contract.names[:MOST_COLUMNS]
    plain = {column.name for column in contract.columns if column.type.startswith(_NUMBERS) and not column.personal}
    numbers = frozenset(plain - set(contract.tokenised_columns))
    timed = contract.event_time if grain != WHOLE else None
    dated = timed is not None and contract.column(timed).type == "DATE"
    start, end = window(partition, grain) if grain != WHOLE else (None, None)
    if dated and start is not None:
        # a date is a day of the zone by which the partitions are cut: a day has one slice then, and says nothing
        timed = None if start_of_day(start.date(), grain) == start and end and (end - start).days <= 1 else timed
    return Lens(timed, start, end, numbers, names)


@dataclass
class Smallest:
    """The smallest distinct hashes of a column, at most KEPT, and how many values have each."""

    hashes: Any = None
    counts: Any = None

    def add(self, hashes: Any, counts: Any = None) -> None:
        """Take more of them."""
        import numpy as np

        if counts is None:
            if self.hashes is not None and len(self.hashes) == KEPT:
                # nearly all are beyond what is kept already
                hashes = hashes[hashes <= self.hashes[-1]]
            hashes, counts = np.unique(hashes, return_counts=True)
        if self.hashes is not None:
            hashes, places = np.unique(np.concatenate([self.hashes, hashes]), return_inverse=True)
            counts = np.bincount(places, np.concatenate([self.counts, counts])).astype(np.int64)
        self.hashes, self.counts = hashes[:KEPT], counts[:KEPT]

    @property
    def distinct(self) -> float:
        """About how many distinct values there are."""
        if self.hashes is None:
            return 0.0
        if len(self.hashes) < KEPT:
            return float(len(self.hashes))
        return digits([(KEPT - 1) / (float(self.hashes[-1]) / 2.0**64)], 4)[0]

    @property
    def repeated(self) -> float:
        """How often each value stands there, on average."""
        return float(self.counts.mean()) if self.hashes is not None and len(self.hashes) else 1.0


@dataclass
class Sketch:
    """What was seen of a partition's rows so far."""

    lens: Lens
    rows: int = 0
    nulls: dict[str, int] = field(default_factory=dict)
    slices: Any = None
    values: dict[str, Smallest] = field(default_factory=dict)
    whole: Smallest = field(default_factory=Smallest)
    # of the rows with the smallest hashes: these hashes, and by column a number or a bucket
    sample: Any = None

    def add(self, table: "pa.Table") -> None:
        """Look at more rows."""
        for batch in table.combine_chunks().to_batches():
            if batch.num_rows:
                self._add(batch)

    def _add(self, batch: "pa.RecordBatch") -> None:
        import numpy as np

        self.rows += batch.num_rows
        total = np.zeros(batch.num_rows, np.uint64)
        seen: dict[str, Any] = {}
        for name in self.lens.columns:
            column = batch.column(name)
            self.nulls[name] = self.nulls.get(name, 0) + column.null_count
            hashes = _hashes(column)
            self.values.setdefault(name, Smallest()).add(hashes if not column.null_count else hashes[hashes != _NULL])
            seen[name] = hashes
            total = mixed(total * np.uint64(3) + hashes)
        self.whole.add(total)
        limit = self.whole.hashes[-1]
        places = np.flatnonzero(total <= limit)
        _, first = np.unique(total[places], return_index=True)
        places = places[first]
        taken = {name: self._spread(batch, name, hashes, places) for name, hashes in seen.items()}
        self._keep(total[places], taken)
        if self.lens.event_time is not None:
            self._slice(batch.column(self.lens.event_time))

    def _spread(self, batch: "pa.RecordBatch", name: str, hashes: Any, places: Any) -> Any:
        """Of sampled rows the number, or the bucket of the hash; not a number where there is no value."""
        import numpy as np

        if name in self.lens.numbers:
            return floats(batch.column(name))[places]
        chosen = hashes[places]
        return np.where(chosen == _NULL, np.nan, (chosen % np.uint64(BUCKETS)).astype(float))

    def _keep(self, hashes: Any, taken: dict[str, Any]) -> None:
        import numpy as np

        if self.sample is not None:
            before, columns = self.sample
            hashes = np.concatenate([before, hashes])
            taken = {name: np.concatenate([columns[name], values]) for name, values in taken.items()}
        hashes, first = np.unique(hashes, return_index=True)
        self.sample = hashes[:KEPT], {name: values[first[:KEPT]] for name, values in taken.items()}

    def _slice(self, column: "pa.Array") -> None:
        import numpy as np
        import pyarrow as pa

        assert self.lens.start is not None and self.lens.end is not None
        times = integers(column.drop_null().cast(pa.timestamp("us", tz="UTC")))
        start = int(self.lens.start.timestamp()) * 1_000_000
        length = int((self.lens.end - self.lens.start).total_seconds()) * 1_000_000
        places = np.clip((times - start) * SLICES // length, 0, SLICES - 1)
        counts = np.bincount(places, minlength=SLICES)
        self.slices = counts if self.slices is None else self.slices + counts

    def merge(self, other: "Sketch") -> "Sketch":
        """Take over what another one saw of the same partition."""
        if other.rows:
            self.rows += other.rows
            for name, count in other.nulls.items():
                self.nulls[name] = self.nulls.get(name, 0) + count
                self.values.setdefault(name, Smallest()).add(other.values[name].hashes, other.values[name].counts)
            self.whole.add(other.whole.hashes, other.whole.counts)
            self._keep(*other.sample)
            if other.slices is not None:
                self.slices = other.slices if self.slices is None else self.slices + other.slices
        return self

    def profile(self) -> Profile:
        """What is kept of it."""
        columns = {name: self._column(name) for name in self.lens.columns} if self.rows else {}
        distinct = digits([self.rows / self.whole.repeated], 4)[0] if self.rows else 0.0
        return Profile(self.rows, distinct, tuple(map(int, self.slices)) if self.slices is not None else (), columns)

    def _column(self, name: str) -> ColumnProfile:
        import numpy as np

        values = self.sample[1][name]
        values = values[np.isfinite(values)]
        quantiles: tuple[float, ...] = ()
        buckets: tuple[int, ...] = ()
        if name in self.lens.numbers:
            quantiles = digits(np.quantile(values, QUANTILES)) if len(values) else ()
        elif len(values):
            buckets = tuple(map(int, np.bincount(values.astype(np.int64), minlength=BUCKETS)))
        return ColumnProfile(self.nulls[name], self.values[name].distinct, quantiles, buckets)


def merged(lens: Lens, sketches: Iterable[Sketch]) -> Sketch:
    """What several saw of one partition together."""
    return reduce(Sketch.merge, sketches, Sketch(lens))


def sketch_of(lens: Lens, path: Path, schema: "pa.Schema | None" = None) -> Sketch:
    """The sketch of a part that was not written here: of one typed elsewhere, or published before.

    A column of the `schema` that the part lacks, since it is younger, is without values in it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    sketch = Sketch(lens)
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=131_072, columns=list(lens.columns)):
            table = pa.Table.from_batches([batch])
            if schema is not None:
                for name in lens.columns:
                    if name not in table.schema.names:
                        table = table.append_column(name, pa.nulls(table.num_rows, schema.field(name).type))
            sketch.add(table.select(lens.columns))
    return sketch


def _hashes(column: "pa.Array") -> "np.ndarray[Any, np.dtype[np.uint64]]":
    """A hash for each value of a column; the same for each that is lacking."""
    import numpy as np
    import pyarrow as pa

    present = column.drop_null() if column.null_count else column
    hashes = hashed(pa.RecordBatch.from_arrays([present], ["value"]))
    if not column.null_count:
        return hashes
    total = np.full(len(column), _NULL, np.uint64)
    total[valid(column)] = hashes
    return total
