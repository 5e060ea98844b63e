"""Sixty-four bits for each row's key: equal keys have equal bits, and other keys almost never do."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrai.ingest.conversions.arrow_numbers import floats, integers

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

# as many as stay in the processor's cache while their bytes are summed
BATCH_ROWS = 8_192
# the base of the sums over a text's bytes, its inverse modulo 2^64, and the steps of splitmix64
_BASE = 0x9E3779B97F4A7C15
_INVERSE = pow(_BASE, -1, 2**64)
_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def key_batches(files: Sequence[Path], columns: Sequence[str]) -> Iterator["pa.RecordBatch"]:
    """The key columns of Parquet files, in rows that name every part of the key: an empty one is no key."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    for path in files:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=list(columns)):
                batch = batch.select(list(columns))
                for name in columns:
                    if batch.column(name).null_count:
                        batch = batch.filter(pc.is_valid(batch.column(name)))
                if batch.num_rows:
                    yield batch


def hashes_of(files: Sequence[Path], columns: Sequence[str]) -> "np.ndarray[Any, np.dtype[np.uint64]]":
    """The hashes of all keys in files, in the order of their rows."""
    import numpy as np

    parts = [hashed(batch) for batch in key_batches(files, columns)]
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)


def hashed(batch: "pa.RecordBatch") -> "np.ndarray[Any, np.dtype[np.uint64]]":
    """A hash for each row of a batch of key columns."""
    import numpy as np

    total = np.full(batch.num_rows, len(batch.columns), np.uint64)
    for column in batch.columns:
        for words in _words(column):
            total = mixed(total * np.uint64(_BASE) + words)
    return total


def _words(column: "pa.Array") -> Iterator["np.ndarray[Any, np.dtype[np.uint64]]"]:
    """A column's values as one or two words each."""
    import numpy as np
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
        yield _texts(column.cast(pa.large_binary()))
    elif pa.types.is_decimal(kind):
        wide = column.cast(pa.decimal128(38, kind.scale))
        pairs = np.frombuffer(wide.buffers()[1], np.uint64)[2 * wide.offset : 2 * (wide.offset + len(wide))].reshape(-1, 2)
        yield pairs[:, 0]
        yield pairs[:, 1]
    elif pa.types.is_floating(kind):
        # both zeros are one value
        yield (floats(column) + 0.0).view(np.uint64)
    else:
        plain = column.cast(pa.int32()) if pa.types.is_date32(kind) else column
        yield integers(plain).view(np.uint64)


def _texts(column: "pa.Array") -> "np.ndarray[Any, np.dtype[np.uint64]]":
    """A sum over each text's bytes, every byte by its place, mixed with the length."""
    import numpy as np

    _, offset_buffer, data = column.buffers()
    ends = np.frombuffer(offset_buffer, np.int64)[column.offset : column.offset + len(column) + 1]
    first = int(ends[0])
    content = np.frombuffer(data, np.uint8)[first : int(ends[-1])] if data is not None else np.empty(0, np.uint8)
    ends = ends - first
    powers, inverses = _powers(1 << max(10, len(content).bit_length()))
    sums = np.zeros(len(content) + 1, np.uint64)
    np.cumsum((content.astype(np.uint64) + np.uint64(1)) * powers[: len(content)], out=sums[1:])
    own = (sums[ends[1:]] - sums[ends[:-1]]) * inverses[ends[:-1]]
    return mixed(own + np.diff(ends).astype(np.uint64))


@lru_cache(maxsize=1)
def _powers(count: int) -> "tuple[np.ndarray[Any, np.dtype[np.uint64]], np.ndarray[Any, np.dtype[np.uint64]]]":
    import numpy as np

    powers = []
    for base in (_BASE, _INVERSE):
        steps = np.full(count + 1, base, np.uint64)
        steps[0] = 1
        powers.append(np.cumprod(steps, dtype=np.uint64))
    return powers[0], powers[1]


def mixed(words: "np.ndarray[Any, np.dtype[np.uint64]]") -> "np.ndarray[Any, np.dtype[np.uint64]]":
    """Every bit of a word spread over all of them."""
    import numpy as np

    words = words ^ (words >> np.uint64(30))
    words = words * np.uint64(_MIX[0])
    words = words ^ (words >> np.uint64(27))
    words = words * np.uint64(_MIX[1])
    return words ^ (words >> np.uint64(31))
