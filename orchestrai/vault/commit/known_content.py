"""Content that a write session may refer to instead of storing it."""

from orchestrai.vault.commit.source import SourceFile
from orchestrai.vault.format.lists import StoredFile


class Known:
    """Content that may be referred to: by hash, or by an unchanged file's path and token."""

    def __init__(self) -> None:
        self.lists: dict[str, list[StoredFile]] = {}
        self._by_hash: dict[str, StoredFile] = {}
        self._by_path: dict[str, StoredFile] = {}

    def add(self, files: list[StoredFile], key: str = "") -> None:
        """Know these files; what was known first stays."""
        if key:
            self.lists[key] = files
        for file in files:
            self._by_hash.setdefault(file.sha256, file)
            if file.token:
                self._by_path.setdefault(file.path, file)

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
