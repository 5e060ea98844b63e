"""What Parquet footers tell without reading a row: schema, rows, nulls, minima and maxima. Lying footers are refused."""

import json
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from orchestrai.errors import UnreadableObject

if TYPE_CHECKING:
    import pyarrow as pa

MAX_FOOTER_BYTES = 64 * 1024 * 1024
MAX_UNCOMPRESSED_BYTES = 4 * 1024**3
MAX_RATIO = 2_000
SMALL_FILE = 256 * 1024
ENOUGH = 16 * 1024 * 1024
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_failures() -> tuple[type[BaseException], ...]:
    """What pyarrow was seen to raise on damaged bytes: its own errors and most of Python's (never a bare Exception)."""
    import pyarrow as pa

    return (OSError, ValueError, ArithmeticError, LookupError, RuntimeError, TypeError, MemoryError, pa.lib.ArrowException)


def one_line(error: BaseException) -> str:
    """An error's text for people: one line, at most 200 characters."""
    if isinstance(error, UnicodeDecodeError):
        return "an error whose own text is not UTF-8"
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."


@dataclass
class ColumnStats:
    """One column over all files; `nulls` and the bounds are None where a footer does not tell them."""

    nulls: int | None = 0
    low: Any = None
    high: Any = None
    bounded: bool = True


@dataclass
class Footers:
    """What all footers of a partition tell together."""

    rows: int = 0
    schemas: list["pa.Schema"] = field(default_factory=list)
    columns: dict[str, ColumnStats] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)


def check_envelope(path: Path) -> None:
    """Refuse a file that is not framed as Parquet; raises UnreadableObject. No row and no Thrift is read."""
    with path.open("rb") as stream:
        _check_frame(path.stat().st_size, stream.read(4), _tail(stream))


def _tail(stream: BinaryIO) -> bytes:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(size - 8, 0))
    return stream.read(8)


def _check_frame(size: int, start: bytes, end: bytes) -> None:
    if size < 12 or start != b"PAR1":
        content = f"{size} bytes starting {start!r}"
        raise UnreadableObject(f"expected a Parquet file, found {content}: have the producer send it again")
    length, magic = struct.unpack("<I4s", end)
    if magic != b"PAR1":
        raise UnreadableObject(
            f"expected a whole Parquet file, found one that ends in {magic!r}: it is truncated or encrypted"
        )
    if length > min(size - 12, MAX_FOOTER_BYTES):
        raise UnreadableObject(
            f"expected a footer of at most {size - 12} bytes, found a claim of {length}: the file is damaged"
        )


def _metadata(path: Path) -> tuple[Any, int]:
    """A file's footer and size; a small file is read in one go, which costs a third of opening it by path."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with path.open("rb") as stream:
        data = stream.read(SMALL_FILE + 1)
        if len(data) > SMALL_FILE:
            size = path.stat().st_size
            _check_frame(size, data[:4], _tail(stream))
            return pq.read_metadata(path), size
    _check_frame(len(data), data[:4], data[-8:])
    return pq.read_metadata(pa.BufferReader(data)), len(data)


def check_sizes(size: int, metadata: Any, limit: int = MAX_UNCOMPRESSED_BYTES) -> None:
    """Refuse a file of `size` bytes that by its own footer would not fit memory or cannot be; raises UnreadableObject."""
    unpacked = rows = 0
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        rows += group.num_rows
        for number in range(group.num_columns):
            column = group.column(number)
            if column.total_compressed_size < 0 or column.total_compressed_size > size or column.total_uncompressed_size < 0:
                raise UnreadableObject(
                    "expected column chunks inside the file, found a footer that claims more: it is damaged"
                )
            unpacked += column.total_uncompressed_size
    if unpacked > limit or (unpacked > ENOUGH and unpacked > MAX_RATIO * size):
        raise UnreadableObject(
            f"expected at most {limit} bytes unpacked from {size}, found {unpacked}: it is a decompression bomb"
        )
    if rows * max(metadata.num_columns, 1) > limit:
        # runs of one value take no space: the rows themselves are the bomb
        raise UnreadableObject(
            f"expected at most {limit} values in {size} bytes, found {rows} rows: it is a decompression bomb"
        )
    if rows != metadata.num_rows:
        raise UnreadableObject(
            f"expected {metadata.num_rows} rows as the footer says, found row groups of {rows}: it is damaged"
        )


def read_footers(paths: Sequence[Path], names: Sequence[str] = ()) -> Footers:
    """Read the footers of a partition's files; statistics only of columns in `names`. Raises UnreadableObject."""
    total = Footers(columns={name: ColumnStats() for name in names}, files=list(paths))
    before = schema = None
    for path in paths:
        try:
            metadata, size = _metadata(path)
            check_sizes(size, metadata)
            if schema is None or not metadata.schema.equals(before):
                before, schema = metadata.schema, metadata.schema.to_arrow_schema()
            _add(total, metadata, schema)
        except UnreadableObject:
            raise
        except read_failures() as exc:
            raise UnreadableObject(f"expected a readable Parquet footer in {path.name}, found {one_line(exc)}") from exc
    return total


def _add(total: Footers, metadata: Any, schema: "pa.Schema") -> None:
    total.rows += metadata.num_rows
    if all(schema is not seen and not schema.equals(seen) for seen in total.schemas):
        total.schemas.append(schema)
    if not total.columns or metadata.num_columns != len(schema.names):
        # nested columns have several leaves: no bounds
        for stats in total.columns.values():
            stats.nulls, stats.bounded = None, False
        return
    positions = {name: index for index, name in enumerate(schema.names)}
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        for name, stats in total.columns.items():
            if name in positions:
                _merge(stats, group.column(positions[name]).statistics, group.num_rows)


def _bounds(statistics: Any) -> tuple[Any, Any]:
    """The least and the greatest value; moments are made here, since Arrow would import pandas for them."""
    if statistics.logical_type.type == "TIMESTAMP":
        kind = json.loads(statistics.logical_type.to_json())
        if kind["isAdjustedToUTC"] and kind["timeUnit"] == "microseconds":
            try:
                low, high = timedelta(microseconds=statistics.min_raw), timedelta(microseconds=statistics.max_raw)
                return EPOCH + low, EPOCH + high
            except OverflowError:
                pass  # beyond the years that Python knows, of which Arrow says what it says
    return statistics.min, statistics.max


def _merge(stats: ColumnStats, statistics: Any, rows: int) -> None:
    if statistics is None:
        stats.nulls, stats.bounded = None, False
        return
    if stats.nulls is not None:
        stats.nulls = stats.nulls + statistics.null_count if statistics.has_null_count else None
    if statistics.has_min_max:
        low, high = _bounds(statistics)
        stats.low = low if stats.low is None else min(stats.low, low)
        stats.high = high if stats.high is None else max(stats.high, high)
    elif not (statistics.has_null_count and statistics.null_count == rows):
        stats.bounded = False
