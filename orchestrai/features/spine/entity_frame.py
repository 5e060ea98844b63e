"""A frame of entities and moments, as other feature stores take it: CSV or Parquet with entity columns and `event_timestamp`.

Other columns, labels for example, are carried along. What cannot be a moment or an entity is refused before anything is read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from orchestrai.errors import FeatureViewError
from orchestrai.features.views.portable_types import UTC_MICROS

EVENT_TIMESTAMP = "event_timestamp"
ROW = "orchestrai_row"


@dataclass(frozen=True)
class EntityFrame:
    """The frame as it was brought, and its spine: a row for each with its place, entity and moment in the types of the views."""

    table: pa.Table
    spine: pa.Table
    entity: tuple[str, ...]


def read_frame(path: Path, entity: Mapping[str, pa.DataType]) -> EntityFrame:
    """Read a frame for views of these entity columns; raises FeatureViewError naming the column at fault."""
    table = _read(path, entity)
    doubled = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if doubled:
        raise FeatureViewError(f"{path.name}: expected each column once, found {', '.join(doubled)} more often: rename them")
    absent = [name for name in (*entity, EVENT_TIMESTAMP) if name not in table.column_names]
    if absent:
        raise FeatureViewError(
            f"{path.name}: expected the columns {', '.join((*entity, EVENT_TIMESTAMP))}, found no {', '.join(absent)} among "
            f"{', '.join(table.column_names) or 'none'}: rename or add them"
        )
    columns = {ROW: pa.array(range(table.num_rows), pa.int64())}
    for name, kind in entity.items():
        columns[name] = _filled(_cast(table.column(name), kind, name, path), name, path)
    columns[EVENT_TIMESTAMP] = _filled(_moments(table.column(EVENT_TIMESTAMP), path), EVENT_TIMESTAMP, path)
    return EntityFrame(table, pa.table(columns), tuple(entity))


def _read(path: Path, entity: Mapping[str, pa.DataType]) -> pa.Table:
    import pyarrow.csv as csv
    import pyarrow.parquet as pq

    if not path.is_file():
        raise FeatureViewError(f"expected a file of entities and moments at {path}, found none")
    try:
        if path.suffix.lower() == ".parquet":
            return pq.read_table(path)
        if path.suffix.lower() == ".csv":
            # entities such as 007 stay as they are written until their type is known
            texts = dict.fromkeys((*entity, EVENT_TIMESTAMP), pa.string())
            return csv.read_csv(path, convert_options=csv.ConvertOptions(column_types=texts, strings_can_be_null=True))
    except (pa.ArrowException, OSError) as exc:
        raise FeatureViewError(f"{path.name}: expected a readable file, found: {str(exc).splitlines()[0]}") from exc
    raise FeatureViewError(f"expected a file that ends in .csv or .parquet, found {path.name}: convert it")


def _cast(data: pa.ChunkedArray, kind: pa.DataType, name: str, path: Path) -> pa.ChunkedArray:
    try:
        return data.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as exc:
        raise FeatureViewError(
            f"{path.name}: expected {name} of type {kind}, as the views have it, found {data.type} ({str(exc).splitlines()[0]})"
        ) from exc


def _moments(data: pa.ChunkedArray, path: Path) -> pa.ChunkedArray:
    """Moments as UTC; a text or time without a zone is UTC."""
    kind = data.type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not (text or pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        raise FeatureViewError(
            f"{path.name}: expected {EVENT_TIMESTAMP} to be a time, found {kind}: write it as 2026-01-31T12:00:00Z"
        )
    for step in (pa.timestamp("us", "UTC"), pa.timestamp("us")):
        try:
            return data.cast(step).cast(pa.timestamp("us")).cast(UTC_MICROS)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as exc:
            reason = str(exc).splitlines()[0]
    raise FeatureViewError(
        f"{path.name}: expected times such as 2026-01-31T12:00:00Z in {EVENT_TIMESTAMP}, all with a zone or all without, found: {reason}"
    )


def _filled(data: pa.ChunkedArray, name: str, path: Path) -> pa.ChunkedArray:
    if data.null_count:
        first = pc.index(pc.is_null(data), pa.scalar(True)).as_py()
        raise FeatureViewError(
            f"{path.name}: expected {name} in every row, found {data.null_count} without, the first in row {first + 1}: fill or drop them"
        )
    return data
