"""Chunks that a session may refer to: those of the snapshots it has seen, found by their hash."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrai.vault.format.chunk_table import ROW_BYTES, Chunk, StoredObject, chunk_at, chunks_of
from orchestrai.vault.format.lists import StoredFile

if TYPE_CHECKING:
    import numpy as np


class KnownChunk(NamedTuple):
    """A chunk and the object it lies in."""

    chunk: Chunk
    object: StoredObject


class ChunkIndex:
    """Chunks of kept files by their hash; 16 bytes of memory a chunk besides the tables. Read by several threads at once."""

    def __init__(self, files: Iterable[StoredFile] = ()) -> None:
        import numpy as np

        self.files: Sequence[StoredFile] = [file for file in files if file.table]
        counts = [len(file.table) // ROW_BYTES for file in self.files]
        self._starts = np.cumsum([0, *counts])
        hashes = [_hashes(file.table) for file in self.files]
        unsorted: np.ndarray[Any, Any] = np.concatenate(hashes) if hashes else np.empty(0, "<u8")
        self._order = np.argsort(unsorted, kind="stable")
        self._sorted = unsorted[self._order]

    def find(self, sha256: bytes, size: int) -> KnownChunk | None:
        """Where these bytes lie already; None where they lie nowhere."""
        wanted = int.from_bytes(sha256[:8], "little")
        place = int(self._sorted.searchsorted(wanted))
        while place < len(self._sorted) and int(self._sorted[place]) == wanted:
            number = int(self._order[place])
            file = int(self._starts.searchsorted(number, side="right")) - 1
            stored = self.files[file]
            chunk = chunk_at(stored.table, number - int(self._starts[file]))
            if (chunk.sha256, chunk.size) == (sha256, size):
                return KnownChunk(chunk, stored.objects[chunk.place])
            place += 1
        return None


class FewChunks:
    """The same for one earlier version of a file, without an engine for arrays."""

    def __init__(self, file: StoredFile) -> None:
        self._chunks = {
            (chunk.sha256, chunk.size): KnownChunk(chunk, file.objects[chunk.place]) for chunk in chunks_of(file.table)
        }

    def find(self, sha256: bytes, size: int) -> KnownChunk | None:
        """Where these bytes lie already; None where they lie nowhere."""
        return self._chunks.get((sha256, size))


def _hashes(table: bytes) -> "np.ndarray[Any, Any]":
    """The first eight bytes of each chunk's hash."""
    import numpy as np

    return np.ndarray(len(table) // ROW_BYTES, "<u8", table, 0, (ROW_BYTES,)).copy()
