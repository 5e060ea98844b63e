"""The columns of a table over files of different times: what they hold together, and whether each can be read so."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from orchestrai.core.parallel import in_order
from orchestrai.errors import ConfigError, IntegrityError
from orchestrai.ledger.manifest import FileEntry
from orchestrai.storage.base import Store

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

# what nearly every footer fits into
_TAIL = 64 * 1024
_END = 8
_REMOTE_WORKERS = 16


def footers(store: Store, files: Iterable[FileEntry]) -> "dict[str, pq.FileMetaData]":
    """The footers of Parquet files, by key; no other byte of them is read. Raises IntegrityError for what is no Parquet."""
    entries = list(files)
    workers = 1 if not entries or store.local_path(entries[0].key) is not None else _REMOTE_WORKERS
    read = in_order([partial(_footer, store, entry) for entry in entries], workers)
    return dict(zip((entry.key for entry in entries), read, strict=True))


def _footer(store: Store, entry: FileEntry) -> "pq.FileMetaData":
    import pyarrow as pa
    import pyarrow.parquet as pq

    tail = store.read(entry.key, start=max(0, entry.size - _TAIL))
    length = int.from_bytes(tail[-_END:-4], "little") + _END
    if length > len(tail):
        tail = store.read(entry.key, start=max(0, entry.size - length))
    try:
        return pq.read_metadata(pa.BufferReader(tail))
    except pa.ArrowInvalid as exc:
        raise IntegrityError(f"expected {entry.key} to be Parquet, found {exc}: restore or make it again") from exc


def columns_of(declared: "pa.Schema | None", read: "Mapping[str, pq.FileMetaData]") -> "pa.Schema":
    """The declared columns, then those that only files have, as they first come; all of them may be null."""
    import pyarrow as pa

    fields: dict[str, pa.Field] = {field.name: field for field in declared or ()}
    for footer in read.values():
        for field in footer.schema.to_arrow_schema():
            fields.setdefault(field.name, field)
    return pa.schema([pa.field(field.name, field.type) for field in fields.values()])


def require_readable(table: str, columns: "pa.Schema", read: "Mapping[str, pq.FileMetaData]", *, widens: bool) -> None:
    """Raise ConfigError for a file that a column cannot be read from; `widens` says that readers take a narrower type for it."""
    kinds = {field.name: field.type for field in columns}
    for key, footer in read.items():
        for field in footer.schema.to_arrow_schema():
            wanted = _short(kinds[field.name])
            if _short(field.type) != wanted and not (widens and _widens(field.type, wanted)):
                raise ConfigError(
                    f"expected {field.name} as {wanted} in each file of {table}, found {field.type} in {key}: type such partitions again "
                    "from their originals (orchestrai backfill), or share them under another name"
                )


def _short(kind: "pa.DataType") -> "pa.DataType":
    """Text and bytes without how long their offsets are in memory."""
    import pyarrow as pa

    return {pa.large_string(): pa.string(), pa.large_binary(): pa.binary()}.get(kind, kind)


def _widens(narrow: "pa.DataType", wide: "pa.DataType") -> bool:
    import pyarrow.types as kinds

    if kinds.is_decimal(narrow) and kinds.is_decimal(wide):
        return bool(narrow.scale == wide.scale and narrow.precision <= wide.precision)
    pairs = ((kinds.is_int32, kinds.is_int64), (kinds.is_float32, kinds.is_float64))
    return any(is_narrow(narrow) and is_wide(wide) for is_narrow, is_wide in pairs)
