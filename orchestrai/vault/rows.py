"""The rows of a snapshot's lists, and their form on the store."""

import io
from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate, starmap
from typing import Any, Literal, NamedTuple, Protocol

from orchestrai.errors import IntegrityError
from orchestrai.ledger import merkle
from orchestrai.ledger.manifest import canonical_json
from orchestrai.vault.layout import object_key, pack_key


class StoredFile(NamedTuple):
    """One file of a partition and where its bytes lie: `length` stored bytes from `offset` of `key`.

    `size` and `sha256` are of the file itself; under encryption `length` is larger. `token` is what a source without
    recorded hashes says of the unchanged file (inode, mtime, ctime). `pack` is -1 for a file with an object of its own;
    `name` is that object's name where it is not the hash, and the length of the whole pack for a packed file.
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

    @property
    def object_length(self) -> int:
        """How long the object under `key` is."""
        return int(self.name) if self.pack >= 0 else self.length

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
    """Parquet with zstd; paths delta-encoded, hashes as 32 raw bytes."""

    def encode_files(self, files: Sequence[StoredFile]) -> bytes:
        """The bytes of a partition's list."""
        return _write(files, StoredFile._fields, _FILE_KINDS, {"path": "DELTA_BYTE_ARRAY", "token": "DELTA_BYTE_ARRAY"})

    def decode_files(self, data: bytes) -> list[StoredFile]:
        """Read a partition's list; raises IntegrityError."""
        columns = _read(data, StoredFile._fields)
        columns[4] = [value.hex() for value in columns[4]]
        return list(starmap(StoredFile, zip(*columns, strict=True)))

    def encode_tree(self, partitions: Sequence[StoredPartition]) -> bytes:
        """The bytes of a snapshot's partitions."""
        return _write(partitions, StoredPartition._fields, _TREE_KINDS, {})

    def decode_tree(self, data: bytes) -> list[StoredPartition]:
        """Read a snapshot's partitions; raises IntegrityError."""
        return list(starmap(StoredPartition, zip(*_read(data, StoredPartition._fields), strict=True)))


# text, dictionary-encoded text, 64-bit number, 32 bytes from hex digits
_Kind = Literal["text", "name", "number", "digest"]
_FILE_KINDS: tuple[_Kind, ...] = (
    "text", "name", "number", "number", "digest", "name", "name", "number", "number", "number", "text",
)  # fmt: skip
_TREE_KINDS: tuple[_Kind, ...] = ("text", "text", "number", "number", "number", "text", "name", "text", "number")


def _array(values: Sequence[Any], kind: _Kind) -> Any:
    """An Arrow array from its buffers: pyarrow's own constructors import pandas."""
    import pyarrow as pa

    if kind == "number":
        return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(array("q", values))])
    if kind == "digest":
        return pa.Array.from_buffers(pa.binary(32), len(values), [None, pa.py_buffer(bytes.fromhex("".join(values)))])
    encoded = [value.encode() for value in values]
    offsets = array("q", accumulate(map(len, encoded), initial=0))
    return pa.Array.from_buffers(
        pa.large_string(), len(values), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    )


def _write(
    rows: Sequence[tuple[Any, ...]], names: Sequence[str], kinds: Sequence[_Kind], encodings: dict[str, str]
) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    arrays = [_array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    dictionary = [name for name, kind in zip(names, kinds, strict=True) if kind == "name"]
    sink = io.BytesIO()
    pq.write_table(
        pa.Table.from_arrays(arrays, names=list(names)),
        sink,
        compression="zstd",
        use_dictionary=dictionary,
        column_encoding=encodings or None,
        write_statistics=False,
    )
    return sink.getvalue()


def _read(data: bytes, fields: Sequence[str]) -> list[list[Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
        return [table.column(name).to_pylist() for name in fields]
    except (pa.ArrowException, OSError, KeyError) as exc:
        raise IntegrityError(f"expected a vault list in Parquet, found something else ({exc}): verify the vault") from exc
