"""How a declared column is read from a file that may be older than its declaration: as it is, as null, or cast to a wider type."""

from collections.abc import Mapping
from typing import Literal

from orchestrai.contracts.schema_change import widens

Reading = Literal["as_is", "null", "cast"]


def reading_of(name: str, declared: str, stored: Mapping[str, str | None], *, optional: bool) -> Reading | None:
    """By the types of a file's columns, by name; None where the column cannot be read from it as it is declared."""
    if name not in stored:
        return "null" if optional else None
    kind = stored[name]
    if kind == declared:
        return "as_is"
    return "cast" if kind is not None and widens(kind, declared) else None
