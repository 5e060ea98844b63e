"""The schemas that an input's files were stored with: what an older one lacks reads as null, a narrower one is cast."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrai.contracts.columns.older_columns import reading_of
from orchestrai.errors import FeatureViewError
from orchestrai.features.views.input_table import Table
from orchestrai.features.views.portable_types import portable, spark_type


def alike(table: Table, files: Sequence[Path]) -> list[tuple[pa.Schema, list[Path]]]:
    """Files by the types that they hold the table's columns in, in order of the first of each.

    Raises FeatureViewError for files that the declared columns cannot be read from.
    """
    parts: dict[tuple[object, ...], tuple[pa.Schema, list[Path]]] = {}
    for path in files:
        stored = stored_schema(path)
        kinds = tuple(stored.field(name).type if name in stored.names else None for name in table.schema.names)
        if kinds not in parts:
            _require_readable(table, stored)
        parts.setdefault(kinds, (stored, []))[1].append(path)
    return list(parts.values())


def stored_schema(path: Path) -> pa.Schema:
    """The schema in a file's footer."""
    status = path.stat()
    return _read(path, status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=16_384)
def _read(path: Path, _inode: int, _size: int, _changed: int) -> pa.Schema:
    return pq.read_schema(path).remove_metadata()


def _require_readable(table: Table, stored: pa.Schema) -> None:
    clocks = (table.event_time, table.known_at)
    kinds = {name: _kind(stored.field(name).type) for name in table.schema.names if name in stored.names}
    for field in table.schema:
        optional = field.nullable and field.name not in clocks
        if reading_of(field.name, spark_type(field.type), kinds, optional=optional) is not None:
            continue
        if field.name not in kinds:
            what = "the clock of its rows" if field.name in clocks else "required by its contract"
            raise FeatureViewError(
                f"expected the column {field.name} in {table.name}, found a partition without it ({', '.join(stored.names)}): "
                f"it is {what}; type these partitions again from their originals (orchestrai backfill), or declare it optional"
            )
        found = kinds[field.name] or stored.field(field.name).type
        raise FeatureViewError(
            f"expected {field.name} of {table.name} as {spark_type(field.type)}, found a partition that holds it as {found}: "
            "type these partitions again from their originals (orchestrai backfill), or declare the type they have"
        )


def _kind(stored: pa.DataType) -> str | None:
    kind = portable(stored)
    return spark_type(kind) if kind is not None else None
