"""Content that a write session may refer to instead of storing it."""

from typing import TYPE_CHECKING

from orchestrai.vault.commit.source import SourceFile
from orchestrai.vault.format.lists import StoredFile, StoredPartition

if TYPE_CHECKING:
    from orchestrai.vault.pieces.chunk_index import ChunkIndex


class Known:
    """Content that may be referred to: by hash, or by an unchanged file's path and token.

    `entries` are the lists that it was read from, for who has to read them elsewhere.
    """

    def __init__(self) -> None:
        self.lists: dict[str, list[StoredFile]] = {}
        self.entries: list[StoredPartition] = []
        self._by_hash: dict[str, StoredFile] = {}
        self._by_path: dict[str, StoredFile] = {}
        self._cut: dict[str, StoredFile] = {}
        self._cut_by_path: dict[str, StoredFile] = {}
        self._chunks: ChunkIndex | None = None

    def add(self, files: list[StoredFile], key: str = "") -> None:
        """Know these files; what was known first stays."""
        if key:
            self.lists[key] = files
        for file in files:
            self._by_hash.setdefault(file.sha256, file)
            if file.token:
                self._by_path.setdefault(file.path, file)
            if file.table:
                self._cut.setdefault(file.sha256, file)
                self._cut_by_path.setdefault(file.path, file)
                self._chunks = None

    def find(self, source: SourceFile) -> StoredFile | None:
        """Where the source's content lies already, under the source's own name."""
        if source.sha256:
            file = self._by_hash.get(source.sha256)
        else:
            file = self._by_path.get(source.path) if source.token else None
            if file is not None and file.token != source.token:
                return None
        if file is None or file.size != source.size:
            return None
        if (file.path, file.role, file.rows, file.token) == (source.path, source.role, source.rows, source.token):
            return file
        return file._replace(path=source.path, role=source.role, rows=source.rows, token=source.token)

    def beside(self, others: "Known") -> None:
        """Refer to the chunks of others too; what is known here comes first."""
        self._cut = {**others._cut, **self._cut}
        self._chunks = None

    def chunks(self) -> "ChunkIndex":
        """The chunks of all these files, to be found by their hash."""
        if self._chunks is None:
            from orchestrai.vault.pieces.chunk_index import ChunkIndex

            self._chunks = ChunkIndex(self._cut.values())
        return self._chunks

    def earlier(self, path: str) -> StoredFile | None:
        """The newest known version, in chunks, of the file at a path."""
        return self._cut_by_path.get(path)
