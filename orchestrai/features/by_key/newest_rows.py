"""The newest row of each entity: in verified files of a feature table, and of several such tables together."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from orchestrai.features.by_key.entity_keys import keys_of
from orchestrai.features.views.view import FeatureView

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]

KEY, TIME, UNIT = "key", "time", "unit"
_TIME = pa.timestamp("us", tz="UTC")
# the unit of an entity that has no row any more
NOBODY = -1


@dataclass(frozen=True)
class Rows:
    """One row an entity, column-wise: `heads` are key, time and the number of the file that it is from, `values` its features."""

    heads: pa.Table
    values: pa.Table

    def __len__(self) -> int:
        return int(self.heads.num_rows)

    @property
    def keys(self) -> pa.Array:
        """The keys of the rows."""
        return whole(self.heads.column(KEY))

    def chosen(self, which: pa.Array) -> "Rows":
        """The rows at places, or those where a mask is true."""
        if pa.types.is_boolean(which.type):
            return Rows(self.heads.filter(which), self.values.filter(which))
        return Rows(self.heads.take(which), self.values.take(which))


def whole(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.array([], column.type)])


def no_rows(view: FeatureView) -> Rows:
    """A table without rows."""
    schema = pa.schema([(KEY, pa.string()), (TIME, _TIME), (UNIT, pa.int64())])
    return Rows(schema.empty_table(), pa.schema([view.schema.field(name) for name in view.features]).empty_table())


def without_row(view: FeatureView, keys: pa.Array) -> Rows:
    """Entities that have no row any more."""
    heads = {KEY: keys, TIME: pa.nulls(len(keys), _TIME), UNIT: pa.repeat(pa.scalar(NOBODY, pa.int64()), len(keys))}
    fields = [view.schema.field(name).with_nullable(True) for name in view.features]
    return Rows(pa.table(heads), pa.table([pa.nulls(len(keys), field.type) for field in fields], pa.schema(fields)))


def newest(parts: Sequence[Rows]) -> Rows:
    """Of several tables the newest row of each key; of rows at one moment that of the last table."""
    import numpy as np

    heads = pa.concat_tables(part.heads for part in parts).combine_chunks()
    values = pa.concat_tables([part.values for part in parts], promote_options="permissive")
    if not heads.num_rows:
        return Rows(heads, values)
    codes = np.asarray(whole(heads.column(KEY)).dictionary_encode().indices)
    times = np.asarray(whole(heads.column(TIME)).cast(pa.int64()).fill_null(-(2**62)))
    return Rows(heads, values).chosen(pa.array(_last(codes, times)))


def in_files(view: FeatureView, files: Iterable[tuple[Path, int]]) -> Rows:
    """The newest row of each entity in verified files, each given with its number; files of one moment later ones first.

    One file is in memory at a time, and one row an entity.
    """
    rows = no_rows(view)
    for path, number in files:
        part = _in_file(view, path, number)
        rows = newest([rows, part]) if len(rows) else part
    return rows


def _in_file(view: FeatureView, path: Path, number: int) -> Rows:
    import numpy as np
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        table = file.read(columns=[*view.entity, view.time, *view.features])
    if not table.num_rows:
        return no_rows(view)
    columns = [whole(table.column(name)) for name in view.entity]
    times = whole(table.column(view.time)).cast(_TIME)
    if len(columns) == 1:
        encoded = columns[0].dictionary_encode("encode")
        names, codes = keys_of([encoded.dictionary]), np.asarray(encoded.indices)
    else:
        encoded = keys_of(columns).dictionary_encode()
        names, codes = encoded.dictionary, np.asarray(encoded.indices)
    places = _last(codes, np.asarray(times.cast(pa.int64()).fill_null(-(2**62))))
    at = pa.array(places)
    heads = {KEY: names.take(pa.array(codes[places])), TIME: times.take(at)}
    heads[UNIT] = pa.repeat(pa.scalar(number, pa.int64()), len(places))
    return Rows(pa.table(heads), table.select(list(view.features)).take(at))


def _last(codes: "Numbers", times: "Numbers") -> "Numbers":
    """The place of the newest row of each code, of rows at one moment the last, in order of place."""
    import numpy as np

    order = np.lexsort((times, codes))
    sorted_codes = codes[order]
    ends = np.flatnonzero(np.append(sorted_codes[1:] != sorted_codes[:-1], True))
    return np.sort(order[ends])


def ordered(rows: Rows) -> Rows:
    """The rows by key."""
    return rows.chosen(pc.sort_indices(rows.keys))
