"""The text by which an entity is looked up: its columns as a JSON array."""

import json
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from orchestrai.core.canonical import JsonValue

# what JSON writes otherwise than as it is
_ESCAPED = r"[^ -!#-\[\]-~]"


def key_of(entity: Sequence[JsonValue]) -> str:
    """The key of one entity."""
    return json.dumps(list(entity))


def keys_of(columns: Sequence[pa.Array]) -> pa.Array:
    """The keys of rows, whose entity columns are given; the same text as `key_of`."""
    if len(columns) == 1 and pa.types.is_string(columns[0].type):
        texts = columns[0]
        if not texts.null_count and not pc.any(pc.match_substring_regex(texts, _ESCAPED)).as_py():
            return pc.binary_join_element_wise('["', texts, '"]', "")
    return pa.array([json.dumps(list(row)) for row in zip(*map(plain_values, columns), strict=True)], pa.string())


def plain_values(column: pa.Array) -> list[JsonValue]:
    """A column's values as JSON has them: dates and times in ISO 8601, decimals as text."""
    values: list[JsonValue] = column.to_pylist()
    if pa.types.is_decimal(column.type):
        return [None if value is None else str(value) for value in values]
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return [None if value is None else value.isoformat() for value in column.to_pylist()]
    return values
