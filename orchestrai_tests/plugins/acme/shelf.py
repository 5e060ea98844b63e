"""A store of another package: objects as rows of one SQLite file, `acme-shelf:///folder/file.sqlite`."""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from orchestrai.errors import ObjectExists, ObjectNotFound, PreconditionFailed
from orchestrai.storage.base import CHUNK_BYTES, ObjectInfo, check_key

TABLE = "CREATE TABLE IF NOT EXISTS shelf (key BLOB PRIMARY KEY, data BLOB NOT NULL, written TEXT NOT NULL)"


class Shelf:
    """Implements `orchestrai.storage.base.Store`; each call is a transaction."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._path = Path(url.partition("://")[2])
        self._path.parent.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        opened = sqlite3.connect(self._path, timeout=60, isolation_level=None)
        try:
            opened.execute(TABLE)
            yield opened
        finally:
            opened.close()

    def _row(self, key: str, version: str | None) -> tuple[bytes, ObjectInfo]:
        check_key(key)
        with self._opened() as opened:
            row = opened.execute("SELECT data, written FROM shelf WHERE key = ?", [key.encode()]).fetchone()
        if row is None or version is not None:
            raise ObjectNotFound(f"expected {key} in {self.url}, found nothing: look at the key", key=key)
        return row[0], _info(key, *row)

    def head(self, key: str, *, version: str | None = None) -> ObjectInfo:
        return self._row(key, version)[1]

    def read(
        self, key: str, *, version: str | None = None, if_match: str | None = None, start: int = 0, length: int | None = None
    ) -> bytes:
        data, info = self._row(key, version)
        if if_match not in (None, info.etag):
            raise PreconditionFailed(f"expected {key} as it was, found another object: read it again", key=key)
        return data[start : None if length is None else start + length]

    def stream(self, key: str, *, version: str | None = None, if_match: str | None = None) -> Iterator[bytes]:
        data = self.read(key, version=version, if_match=if_match)
        return (data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES))

    def write(self, key: str, data: bytes | Iterable[bytes], *, create: bool = False) -> ObjectInfo:
        check_key(key)
        whole, now = data if isinstance(data, bytes) else b"".join(data), datetime.now(UTC).isoformat()
        how = "INSERT OR IGNORE" if create else "INSERT OR REPLACE"
        with self._opened() as opened:
            done = opened.execute(f"{how} INTO shelf VALUES (?, ?, ?)", [key.encode(), whole, now]).rowcount
        if not done:
            raise ObjectExists(f"expected no object {key} in {self.url}, found one: choose another key", key=key)
        return _info(key, whole, now)

    def write_file(self, key: str, path: Path, *, create: bool = False) -> ObjectInfo:
        return self.write(key, path.read_bytes(), create=create)

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        with self._opened() as opened:
            rows = opened.execute("SELECT key, data, written FROM shelf ORDER BY key").fetchall()
        for key, data, written in rows:
            if key.startswith(prefix.encode()) and key > (start_after or "").encode():
                yield _info(key.decode(), data, written)

    def delete(self, key: str, *, version: str | None = None) -> None:
        check_key(key)
        with self._opened() as opened:
            opened.execute("DELETE FROM shelf WHERE key = ?", [key.encode()])

    def local_path(self, key: str) -> Path | None:
        check_key(key)
        return None

    def sync(self) -> None:
        """Each transaction is on the disk when it is over."""


def _info(key: str, data: bytes, written: str) -> ObjectInfo:
    return ObjectInfo(key, len(data), hashlib.sha256(data).hexdigest(), datetime.fromisoformat(written))
