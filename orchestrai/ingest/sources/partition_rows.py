"""The rows of each partition in a page of rows, a few steps a partition and none a row."""

from datetime import MAXYEAR
from typing import TYPE_CHECKING

from orchestrai.core.time.calendar import TimeGrain, partition_of, window

if TYPE_CHECKING:
    import pyarrow as pa


def rows_by_partition(moments: "pa.Array", grain: TimeGrain) -> list[tuple[str, list[int]]]:
    """Row numbers by the partition of their moment, in UTC or a date; those without one under `all`. Partitions in order of time."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    none = pc.indices_nonzero(pc.is_null(moments)).to_pylist()
    found: list[tuple[str, list[int]]] = [("all", none)] if none else []
    order = pc.array_sort_indices(moments).to_numpy()[: len(moments) - len(none)]
    numbers = moments.take(pa.array(order)).cast(pa.int32() if pa.types.is_date(moments.type) else pa.int64()).to_numpy()
    start = 0
    while start < len(order):
        first = moments[int(order[start])].as_py()
        key = partition_of(first, grain)
        if pa.types.is_date(moments.type) or first.year == MAXYEAR:
            # a day is of one partition whatever the zone, and behind the last year no window ends
            end = int(np.searchsorted(numbers, numbers[start], "right"))
        else:
            last = pa.scalar(window(key, grain)[1], moments.type).cast(pa.int64()).as_py()
            end = max(int(np.searchsorted(numbers, last, "left")), start + 1)
        rows = np.sort(order[start:end]).tolist()
        if found and found[-1][0] == key:
            rows = sorted([*found.pop()[1], *rows])
        found.append((key, rows))
        start = end
    return found
