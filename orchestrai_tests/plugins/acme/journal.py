"""A table of another package, `acme-journal:///file.jsonl`: a JSON document a line, read on behind a watermark."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from orchestrai.errors import StorageError
from orchestrai.storage.databases.table_port import Paging, Reached, Relation, Wanted, Window


@contextmanager
def journal(url: str, relation: Relation) -> Iterator["Journal"]:
    """A file as it is when it is opened."""
    path = Path(url.partition("://")[2])
    if not path.is_file():
        raise StorageError(f"expected the journal {path.name}, found no such file: mount it")
    yield Journal(path.read_bytes(), relation.table)


class Journal:
    """Implements `orchestrai.storage.databases.table_port.TableSnapshot`; lines of other tables are passed over."""

    def __init__(self, data: bytes, table: str) -> None:
        self._digest = hashlib.sha256(data).hexdigest()
        self._rows = [row for row in map(json.loads, data.splitlines()) if row["table"] == table]

    def facts(self, watermark: str) -> dict[str, Any]:
        nulls = sum(row[watermark] is None for row in self._rows)
        return {
            "snapshot": self._digest[:12], "server_version": "acme journal 1", "null_watermarks": nulls,
            "oldest_transaction_seconds": None,
        }  # fmt: skip

    def batches(self, wanted: Wanted, window: Window, paging: Paging) -> Iterator[pa.RecordBatch]:
        rows = self._within(wanted, window)[: paging.limit_rows]
        for at in range(0, len(rows), paging.page_rows):
            page = rows[at : at + paging.page_rows]
            arrays = [pa.array([row[name] for row in page]) for name in wanted.columns]
            arrays += [pa.array([str(row[name]) for row in page]) for name in wanted.order]
            yield pa.RecordBatch.from_arrays(arrays, names=[str(place) for place in range(len(arrays))])

    def count(self, wanted: Wanted, window: Window) -> int:
        return len(self._within(wanted, window))

    def _within(self, wanted: Wanted, window: Window) -> list[dict[str, Any]]:
        def place(row: dict[str, Any]) -> tuple[datetime, int]:
            return _moment(row[wanted.order[0]]), int(row[wanted.order[1]])

        rows = sorted((row for row in self._rows if row[wanted.order[0]] is not None), key=place)
        after, until = window.after, window.until
        if after is not None and after.key is None:
            rows = [row for row in rows if place(row)[0] >= _moment(after.watermark) - window.overlap]
        elif after is not None:
            rows = [row for row in rows if place(row) > _reached(after)]
        if until is not None:
            rows = [row for row in rows if place(row) <= _reached(until)]
        return rows


def _moment(text: str | int) -> datetime:
    return datetime.fromisoformat(str(text))


def _reached(row: Reached) -> tuple[datetime, float]:
    return _moment(row.watermark), float("inf") if row.key is None else int(row.key[0])
