"""A piece of a log on its way from the server to the vault: a file on this machine's disk."""

import hashlib
from pathlib import Path

from orchestrai.backup.wal.positions import Piece
from orchestrai.vault.commit.source import SourceFile, file_token


class SpooledPiece:
    """A piece on its way, in a file of its own."""

    def __init__(self, timeline: int, start: int, folder: Path) -> None:
        self.timeline, self.start, self.size = timeline, start, 0
        self.file = folder / f"{timeline}-{start:x}"
        self._hash = hashlib.sha256()
        self._stream = self.file.open("wb", buffering=0)

    def write(self, data: memoryview) -> None:
        """Append."""
        done = 0
        while done < len(data):
            done += self._stream.write(data[done:]) or 0
        self._hash.update(data)
        self.size += len(data)

    def source(self, segment_bytes: int) -> SourceFile:
        """The piece as the vault takes it."""
        self._stream.close()
        piece = Piece(self.timeline, self.start, self.size)
        token = file_token(self.file.stat())
        return SourceFile(piece.path(segment_bytes), self.size, self.file, self._hash.hexdigest(), token=token)

    def remove(self) -> None:
        """Let go of its file."""
        self._stream.close()
        self.file.unlink(missing_ok=True)
