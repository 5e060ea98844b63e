"""What a reader hands on: some rows by source column, with the refused records found on the way."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from orchestrai.ingest.readers.rejects import Mark, Refused

if TYPE_CHECKING:
    import pyarrow as pa

CAREFUL_ROWS = 10_000
CAREFUL_BYTES = 8 * 1024 * 1024


class Untidy(Exception):
    """A fast reader met something it cannot name; read the object again with care."""


@dataclass(frozen=True)
class Chunk:
    """Rows as arrays by source column name; `marks` tell where each row lies, where the reader knows."""

    arrays: Mapping[str, "pa.Array"]
    rows: int
    marks: Sequence[Mark] | None = None
    refused: Sequence[Refused] = field(default_factory=tuple)


def one_array(column: "pa.ChunkedArray") -> "pa.Array":
    """A column of a table as one array."""
    combined = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    return combined


class ObjectReader(Protocol):
    """One landed object, open for reading in bounded memory."""

    fields: tuple[str, ...]
    """The columns that the object says it has."""

    def fast(self, path: Path) -> Iterator[Chunk]:
        """Yield typed or text columns; raises Untidy at the first thing out of order."""
        ...

    def careful(self, path: Path) -> Iterator[Chunk]:
        """Yield text columns with a mark for each row, and the records refused; raises UnreadableObject."""
        ...
