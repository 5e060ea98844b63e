"""How a landed value is spelled: its one text, by which all formats mean the same."""

import json
from collections.abc import Callable
from math import isfinite
from typing import TYPE_CHECKING, Any

from orchestrai.ingest.conversions.conversion_table import Kind

if TYPE_CHECKING:
    import pyarrow as pa


def spelled(array: "pa.Array", kind: Kind) -> "tuple[pa.Array, list[int]]":
    """A column as text, with the rows that have none."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    if kind == "text":
        return array, []
    if kind in ("float", "decimal", "nested", "bytes"):
        ways: dict[str, Callable[[Any], str | None]] = {
            "float": _float,
            "decimal": _decimal,
            "nested": nested_text,
            "bytes": _bytes,
        }
        spell = ways[kind]
        values = array.to_pylist()
        texts = [None if value is None else spell(value) for value in values]
        return pa.array(texts, pa.string()), [
            row for row, value in enumerate(values) if value is not None and texts[row] is None
        ]
    if kinds.is_timestamp(array.type) and array.type.tz is not None:
        array = pc.cast(array, pa.timestamp(array.type.unit, tz="UTC"))
    return pc.cast(array, pa.string()), []


def _float(value: float) -> str | None:
    return repr(float(value)) if isfinite(value) else None


def _decimal(value: Any) -> str:
    return format(value, "f")


def _bytes(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


class JsonNumber(str):
    """A number of a JSON text as it is written there, so that no digit is lost."""

    __slots__ = ()


def nested_text(value: Any, *, sort_keys: bool = True) -> str | None:
    """The JSON text of a value; None where JSON has none for it, or where it is nested too deep to be told."""
    try:
        return _json(value, sort_keys)
    except (TypeError, ValueError, RecursionError):
        return None


def _json(value: Any, sort_keys: bool) -> str:
    if isinstance(value, JsonNumber):
        return str(value)
    if isinstance(value, dict):
        items = sorted(value.items()) if sort_keys else value.items()
        return "{" + ", ".join(f"{_json(name, sort_keys)}: {_json(item, sort_keys)}" for name, item in items) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_json(item, sort_keys) for item in value) + "]"
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    text.encode()  # raises for a lone surrogate
    return text
