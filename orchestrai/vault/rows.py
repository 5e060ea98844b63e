"""The rows of a snapshot's lists, and their form on the store."""

import io
from collections.abc import Iterable, Sequence
from itertools import starmap
from typing import Any, NamedTuple, Protocol

from orchestrai.errors import IntegrityError
from orchestrai.ledger import merkle
from orchestrai.ledger.manifest import canonical_json
from orchestrai.vault.layout import object_key, pack_key


class StoredFile(NamedTuple):
    """One file of a partition and where its bytes lie: `length` stored bytes from `offset` of `key`.

    `size` and `sha256` are of the file itself; under encryption `length` is larger. `token` is what a source without recorded
    hashes says of the unchanged file (inode, mtime, size). `pack` is -1 for a file with an object of its own.
    """

    path: str
    role: str
    size: int
    rows: int
    sha256: str
    session: str
    name: str
    pack: int
    offset: int
    length: int
    token: str = ""

    @property
    def key(self) -> str:
        """The object that holds the bytes."""
        if self.pack >= 0:
            return pack_key(self.session, self.pack)
        return object_key(self.session, self.name or self.sha256)

    def leaf(self) -> bytes:
        """The bytes hashed into the partition root: the same as the ledger's."""
        return canonical_json([self.path, self.size, self.rows, self.sha256])


class StoredPartition(NamedTuple):
    """One partition of a snapshot; `key` holds its list of files, `sha256` and `length` are of the stored list."""

    partition: str
    root: str
    rows: int
    size: int
    files: int
    key: str
    session: str
    sha256: str
    length: int


def partition_root(files: Iterable[StoredFile]) -> str:
    """The Merkle root over the files, sorted by path: equal to the ledger's by construction."""
    return "sha256:" + merkle.root([file.leaf() for file in sorted(files)]).hex()


class Codec(Protocol):
    """How lists become bytes; equal lists give equal bytes."""

    def encode_files(self, files: Sequence[StoredFile]) -> bytes:
        """The bytes of a partition's list."""
        ...

    def decode_files(self, data: bytes) -> list[StoredFile]:
        """Read a partition's list; raises IntegrityError."""
        ...

    def encode_tree(self, partitions: Sequence[StoredPartition]) -> bytes:
        """The bytes of a snapshot's partitions."""
        ...

    def decode_tree(self, data: bytes) -> list[StoredPartition]:
        """Read a snapshot's partitions; raises IntegrityError."""
        ...


class ParquetCodec:
    """Parquet with zstd; keys delta-encoded, hashes as 32 raw bytes."""

    def encode_files(self, files: Sequence[StoredFile]) -> bytes:
        """The bytes of a partition's list."""
        import pyarrow as pa

        columns = list(zip(*files, strict=True)) if files else [()] * len(StoredFile._fields)
        text, number = pa.string(), pa.int64()
        table = pa.table(
            {
                "path": pa.array(columns[0], text),
                "role": pa.array(columns[1], text),
                "size": pa.array(columns[2], number),
                "rows": pa.array(columns[3], number),
                "sha256": pa.array([bytes.fromhex(value) for value in columns[4]], pa.binary(32)),
                "session": pa.array(columns[5], text),
                "name": pa.array(columns[6], text),
                "pack": pa.array(columns[7], pa.int32()),
                "offset": pa.array(columns[8], number),
                "length": pa.array(columns[9], number),
                "token": pa.array(columns[10], text),
            }
        )
        return _write(table, ["role", "session", "name", "pack"], {"path": "DELTA_BYTE_ARRAY", "token": "DELTA_BYTE_ARRAY"})

    def decode_files(self, data: bytes) -> list[StoredFile]:
        """Read a partition's list; raises IntegrityError."""
        columns = _read(data, StoredFile._fields)
        columns[4] = [value.hex() for value in columns[4]]
        return list(starmap(StoredFile, zip(*columns, strict=True)))

    def encode_tree(self, partitions: Sequence[StoredPartition]) -> bytes:
        """The bytes of a snapshot's partitions."""
        import pyarrow as pa

        columns = list(zip(*partitions, strict=True)) if partitions else [()] * len(StoredPartition._fields)
        kinds = [pa.string(), pa.string(), pa.int64(), pa.int64(), pa.int64(), pa.string(), pa.string(), pa.string(), pa.int64()]
        arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
        return _write(pa.table(dict(zip(StoredPartition._fields, arrays, strict=True))), ["session"], {})

    def decode_tree(self, data: bytes) -> list[StoredPartition]:
        """Read a snapshot's partitions; raises IntegrityError."""
        return list(starmap(StoredPartition, zip(*_read(data, StoredPartition._fields), strict=True)))


def _write(table: Any, dictionary: list[str], encodings: dict[str, str]) -> bytes:
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(
        table, sink, compression="zstd", use_dictionary=dictionary, column_encoding=encodings or None, write_statistics=False
    )
    return sink.getvalue()


def _read(data: bytes, fields: Sequence[str]) -> list[list[Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data), use_threads=False)
        return [table.column(name).to_pylist() for name in fields]
    except (pa.ArrowException, OSError, KeyError) as exc:
        raise IntegrityError(f"expected a vault list in Parquet, found something else ({exc}): verify the vault") from exc
