"""Feature files: one deterministic Parquet writer behind every engine, which also watches the key.

The same rows give the same bytes: fixed row groups, zstd, no file-level metadata that changes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrai.core.verdict import Verdict
from orchestrai.features.spec import FeatureChecks

GROUP_ROWS = 131_072
FILE_ROWS = 64 * GROUP_ROWS


@dataclass
class KeyWatch:
    """Counts null and repeated keys as sorted batches pass by."""

    key: Sequence[str]
    entity: Sequence[str]
    rows: int = 0
    nulls: int = 0
    repeats: int = 0
    example: str = ""
    _last: pa.RecordBatch | None = None

    def watch(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the batches unchanged."""
        for batch in batches:
            if batch.num_rows == 0:
                continue
            self.rows += batch.num_rows
            keys = batch.select(list(self.key))
            self.nulls += self._null_rows(keys)
            before = (
                pa.concat_batches([self._last, keys.slice(0, keys.num_rows - 1)])
                if self._last
                else keys.slice(0, keys.num_rows - 1)
            )
            self._compare(before, keys if self._last else keys.slice(1))
            self._last = keys.slice(keys.num_rows - 1)
            yield batch

    def _null_rows(self, keys: pa.RecordBatch) -> int:
        if not any(keys.column(name).null_count for name in self.key):
            return 0
        missing = None
        for name in self.key:
            null = pc.is_null(keys.column(name))
            missing = null if missing is None else pc.or_(missing, null)
        return int(pc.sum(missing).as_py() or 0)

    def _compare(self, before: pa.RecordBatch, after: pa.RecordBatch) -> None:
        same = None
        for name in reversed(self.key):
            equal = pc.equal(before.column(name), after.column(name))
            same = equal if same is None else pc.and_(same, equal)
            if not pc.any(same).as_py():
                return
        self.repeats += int(pc.sum(same).as_py() or 0)
        if not self.example:
            at = pc.index(same, True).as_py()
            self.example = ", ".join(f"{name}={after.column(name)[at].as_py()}" for name in self.key)

    def verdicts(self, view: str) -> list[Verdict]:
        """`entity_not_null` and `unique_key`."""
        null = Verdict(
            "entity_not_null",
            self.nulls == 0,
            ""
            if not self.nulls
            else f"expected no NULL in {', '.join(self.key)}, found {self.nulls} of {self.rows} rows: "
            f"filter them in {view} or close the gap in the contract",
            details={"rows": self.rows, "null_rows": self.nulls},
        )
        unique = Verdict(
            "unique_key",
            self.repeats == 0,
            ""
            if not self.repeats
            else f"expected one row per {', '.join(self.key)}, found {self.repeats} more, such as "
            f"{self.example}: a join multiplies rows, or duplicates were not removed",
            details={"rows": self.rows, "repeated_rows": self.repeats},
        )
        return [null, unique]


@dataclass(frozen=True)
class Written:
    """A feature file."""

    path: Path
    rows: int


def write_files(batches: Iterable[pa.RecordBatch], schema: pa.Schema, folder: Path, stem: str = "part") -> list[Written]:
    """Write sorted batches as part-00000.parquet and so on, a new file every FILE_ROWS rows; at least one file."""
    folder.mkdir(parents=True, exist_ok=True)
    # a dictionary of doubles or times holds every value: 3/4 of the CPU, and larger files
    repeated = [
        field.name for field in schema if not (pa.types.is_floating(field.type) or pa.types.is_timestamp(field.type))
    ]
    written: list[Written] = []
    groups = _groups(batches, schema)
    group: pa.Table | None = next(groups, schema.empty_table())
    while group is not None:
        path = folder / f"{stem}-{len(written):05d}.parquet"
        rows = 0
        with pq.ParquetWriter(
            path, schema, compression="zstd", compression_level=1, use_dictionary=repeated, store_schema=False
        ) as writer:
            while group is not None and rows < FILE_ROWS:
                writer.write_table(group, row_group_size=GROUP_ROWS)
                rows += group.num_rows
                group = next(groups, None)
        written.append(Written(path, rows))
    return written


def _groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Tables of exactly GROUP_ROWS rows, in one chunk each, the last one shorter."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        held.append(batch)
        rows += batch.num_rows
        while rows >= GROUP_ROWS:
            table = pa.Table.from_batches(held, schema)
            yield table.slice(0, GROUP_ROWS).combine_chunks()
            rest = table.slice(GROUP_ROWS)
            held, rows = rest.to_batches(), rest.num_rows
    if rows:
        yield pa.Table.from_batches(held, schema).combine_chunks()


@dataclass(frozen=True)
class ColumnSummary:
    """A column's share of nulls and its smallest and largest value, from the files' footers."""

    rows: int
    nulls: int
    low: Any = None
    high: Any = None

    @property
    def null_rate(self) -> float:
        """Nulls over rows; 0 for no rows."""
        return self.nulls / self.rows if self.rows else 0.0


@dataclass
class _Running:
    rows: int = 0
    nulls: int = 0
    values: list[Any] = field(default_factory=list)


def summarize(paths: Iterable[Path]) -> dict[str, ColumnSummary]:
    """Summaries by column, from footers alone: no data page is read."""
    columns: dict[str, _Running] = {}
    for path in paths:
        metadata = pq.read_metadata(path)
        for group in range(metadata.num_row_groups):
            for index in range(metadata.num_columns):
                chunk = metadata.row_group(group).column(index)
                running = columns.setdefault(chunk.path_in_schema, _Running())
                running.rows += chunk.num_values
                statistics = chunk.statistics
                if statistics is not None:
                    running.nulls += statistics.null_count or 0
                    if statistics.has_min_max:
                        running.values += [statistics.min, statistics.max]
    return {
        name: ColumnSummary(part.rows, part.nulls, min(part.values, default=None), max(part.values, default=None))
        for name, part in columns.items()
    }


def rule_verdicts(checks: FeatureChecks, summary: Mapping[str, ColumnSummary]) -> list[Verdict]:
    """`null_rate` and `value_range`, where the view declares them."""
    verdicts = []
    empty = ColumnSummary(0, 0)
    if checks.null_rate:
        wrong = [
            f"{name} {summary.get(name, empty).null_rate:.1%} > {most:.1%}"
            for name, most in sorted(checks.null_rate.items())
            if summary.get(name, empty).null_rate > most
        ]
        verdicts.append(Verdict("null_rate", not wrong, _told("share of nulls within its limit", wrong)))
    if checks.ranges:
        wrong = []
        for name, (low, high) in sorted(checks.ranges.items()):
            seen = summary.get(name, empty)
            if (low is not None and seen.low is not None and seen.low < low) or (
                high is not None and seen.high is not None and seen.high > high
            ):
                wrong.append(f"{name} in [{seen.low}, {seen.high}] instead of [{low}, {high}]")
        verdicts.append(Verdict("value_range", not wrong, _told("values within their range", wrong)))
    return verdicts


def _told(expected: str, wrong: Sequence[str]) -> str:
    return f"expected each {expected}, found {'; '.join(wrong)}: look at the input, or change checks" if wrong else ""
