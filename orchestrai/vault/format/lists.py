"""The rows of a snapshot's lists, and their form on the store."""

import json
import json.encoder
import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import starmap
from typing import Any, NamedTuple, Protocol, TypeVar

from orchestrai.core.canonical import canonical_json, sha256_hex
from orchestrai.core.tree import merkle
from orchestrai.core.tree.paged_tree import WIDTH, Content, Subtree
from orchestrai.errors import IntegrityError, UnknownFormatVersion
from orchestrai.vault.format.chunk_table import ROW_BYTES, StoredObject
from orchestrai.vault.format.layout import object_key, pack_key, tree_key

# a string as canonical JSON
text = json.encoder.encode_basestring


class StoredFile(NamedTuple):
    """One file of a partition and where its bytes lie: `length` stored bytes from `offset` of `key`.

    `size` and `sha256` are of the file itself; under encryption `length` is larger. `token` is what a source without
    recorded hashes says of the unchanged file (inode, mtime, ctime). `pack` is -1 for a file with an object of its own;
    `name` is that object's name where it is not the hash, and the length of the whole pack for a packed file.
    `version` is the object's version where the store keeps versions; `stored` is the SHA-256 of the object as it is stored, where
    that is not `sha256` and the store is not on this machine, or holds compressed bytes.

    A file that shares its `length` stored bytes with others, one piece, lies `at` bytes into its `piece` plain bytes; `compressed` where
    they are a zstd frame. A file in chunks has a `table` of them and the `objects` they lie in, of which `key` is the first.
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
    version: str = ""
    stored: str = ""
    piece: int = 0
    at: int = 0
    compressed: int = 0
    objects: tuple[StoredObject, ...] = ()
    table: bytes = b""

    @property
    def key(self) -> str:
        """The object that holds the bytes, or the first of them."""
        if self.objects:
            return self.objects[0].key
        if self.pack >= 0:
            return pack_key(self.session, self.pack)
        return object_key(self.session, self.name or self.sha256)

    @property
    def object_length(self) -> int:
        """How long the object under `key` is."""
        return int(self.name) if self.pack >= 0 else self.length

    @property
    def places(self) -> tuple[StoredObject, ...]:
        """Every object that holds bytes of the file: what must stay for it to be restored."""
        return self.objects or (StoredObject(self.key, self.object_length, self.version, self.stored),)

    @property
    def where(self) -> tuple[str | int, ...]:
        """What tells stored bytes apart: files that have it in common are the same bytes, read once."""
        if self.objects:
            # a shared chunk may be listed right in one file and wrong in another
            return self.sha256, sha256_hex(self.table), *(stored.key for stored in self.objects)
        return self.key, self.offset, self.length, self.at, self.size

    def leaf(self) -> bytes:
        """The bytes hashed into the partition root: the same as the ledger's."""
        # canonical_json([path, size, rows, sha256]), spelt out: it is asked for once for each file of a snapshot
        return f"[{text(self.path)},{self.size},{self.rows},{text(self.sha256)}]".encode()


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
    version: str = ""


class PagePlace(NamedTuple):
    """Where a page of a tree lies: `length` stored bytes from `offset` of a tree's object; `sha256` is of these."""

    session: str
    number: int
    offset: int
    length: int
    sha256: str
    version: str = ""

    @property
    def key(self) -> str:
        """The object that holds the page."""
        return tree_key(self.session, self.number)


def partition_root(files: Iterable[StoredFile]) -> str:
    """The Merkle root over the files, sorted by path: equal to the ledger's by construction."""
    return "sha256:" + merkle.root([file.leaf() for file in sorted(files)]).hex()


class Codec(Protocol):
    """How lists become bytes; equal lists give equal bytes. A page of a tree has at most `width` rows."""

    width: int

    def encode_files(self, files: Sequence[StoredFile]) -> bytes:
        """The bytes of a partition's list."""
        ...

    def decode_files(self, data: bytes) -> list[StoredFile]:
        """Read a partition's list; raises IntegrityError."""
        ...

    def encode_page(self, height: int, content: Content) -> bytes:
        """The bytes of a page of a tree: partitions at height 0, above that the pages below it."""
        ...

    def decode_page(self, data: bytes) -> tuple[int, Content]:
        """Read a page, its height first; raises IntegrityError."""
        ...


class ColumnCodec:
    """zlib-compressed JSON, one array a column in the order of the fields; hashes follow it as 32 raw bytes each.

    Plain library code: a command that lists, verifies or restores need not load an engine for tables.
    """

    def __init__(self, width: int = WIDTH) -> None:
        self.width = width

    def encode_files(self, files: Sequence[StoredFile]) -> bytes:
        """The bytes of a partition's list."""
        columns = _columns(files, StoredFile)
        digests, columns[_SHA256] = "".join(columns[_SHA256]), ()
        tables: Sequence[bytes] = ()
        if len(columns) > _TABLE:
            tables, columns[_TABLE] = columns[_TABLE], [len(table) for table in columns[_TABLE]]
        return b"".join([_compress(columns), bytes.fromhex(digests), *tables])

    def decode_files(self, data: bytes) -> list[StoredFile]:
        """Read a partition's list; raises IntegrityError."""
        columns, rest = _decompress(data, StoredFile)
        if len(columns) > _OBJECTS:
            rest = _read_tables(columns, rest)
        digits = rest.hex()
        columns[_SHA256] = [digits[start : start + 64] for start in range(0, len(digits), 64)]
        return _rows(StoredFile, columns)

    def encode_tree(self, partitions: Sequence[StoredPartition]) -> bytes:
        """The bytes of a snapshot's partitions, or of a page of them."""
        return _compress(_columns(partitions, StoredPartition))

    def decode_tree(self, data: bytes) -> list[StoredPartition]:
        """Read a snapshot's partitions; raises IntegrityError."""
        columns, _ = _decompress(data, StoredPartition)
        return _rows(StoredPartition, columns)

    def encode_page(self, height: int, content: Content) -> bytes:
        """The bytes of a page of a tree: partitions at height 0, above that the pages below it."""
        return encode_pages(height, content) if height else self.encode_tree(content)

    def decode_page(self, data: bytes) -> tuple[int, Content]:
        """Read a page, its height first; raises IntegrityError."""
        document, _ = _parsed(data)
        return decode_pages(document) if isinstance(document, dict) else (0, self.decode_tree(data))


# of pages of pages
PAGES_FORMAT = 2


def encode_pages(height: int, content: Content) -> bytes:
    """A page of pages, a column each for what stands for them."""
    columns = [
        [child.first for child in content],
        *([list(sums) for sums in zip(*(child.sums for child in content), strict=True)]),
        [child.hash.hex() for child in content],
        *(list(column) for column in zip(*(child.place for child in content), strict=True)),
    ]
    return zlib.compress(canonical_json({"format": PAGES_FORMAT, "height": height, "columns": columns}), _LEVEL)


def decode_pages(document: Mapping[str, Any]) -> tuple[int, Content]:
    """Read a page of pages; raises IntegrityError, UnknownFormatVersion."""
    if document.get("format") != PAGES_FORMAT:
        raise UnknownFormatVersion(
            f"expected pages of format {PAGES_FORMAT}, found {document.get('format')!r}: use a newer release"
        )
    try:
        height, width = int(document["height"]), len(PagePlace._fields)
        rows = zip(*document["columns"], strict=True)
        return height, [
            Subtree(height - 1, row[0], tuple(row[1 : -width - 1]), bytes.fromhex(row[-width - 1]), PagePlace(*row[-width:]))
            for row in rows
        ]
    except (KeyError, TypeError, ValueError) as exc:
        raise IntegrityError(f"expected a page of a tree, found something else ({exc}): verify the vault") from exc


_SHA256 = StoredFile._fields.index("sha256")
_OBJECTS = StoredFile._fields.index("objects")
_TABLE = StoredFile._fields.index("table")
# what format 1 had at first: later columns follow, and are left out from the end while they are empty
_FIRST: dict[type, int] = {StoredFile: 11, StoredPartition: 9}
# higher levels take three times as long for a tenth less
_LEVEL = 1
_Row = TypeVar("_Row", StoredFile, StoredPartition)


def _columns(rows: Sequence[tuple[Any, ...]], kind: type[_Row]) -> list[Sequence[Any]]:
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * len(kind._fields)
    while len(columns) > _FIRST[kind] and not any(columns[-1]):
        columns.pop()
    return columns


def _compress(columns: Sequence[Sequence[Any]]) -> bytes:
    return zlib.compress(canonical_json(columns), _LEVEL)


def _decompress(data: bytes, kind: type[_Row]) -> tuple[list[Sequence[Any]], bytes]:
    """The columns, and what follows them."""
    columns, rest = _parsed(data)
    if not isinstance(columns, list) or not _FIRST[kind] <= len(columns) <= len(kind._fields):
        raise IntegrityError(
            "expected a whole vault list, found one cut off or of other columns: read it with the version that wrote it"
        )
    return columns, rest


def _parsed(data: bytes) -> tuple[Any, bytes]:
    stream = zlib.decompressobj()
    try:
        document = json.loads(stream.decompress(data))
    except (zlib.error, ValueError) as exc:
        raise IntegrityError(f"expected a vault list, found something else ({exc}): verify the vault") from exc
    if not stream.eof:
        raise IntegrityError("expected a whole vault list, found one cut off: verify the vault")
    return document, stream.unused_data


def _read_tables(columns: list[Sequence[Any]], rest: bytes) -> bytes:
    """Put the tables of chunks, which end a list, into their column, and objects into theirs; what stands before them."""
    lengths = columns[_TABLE] if len(columns) > _TABLE else ()
    try:
        start = len(rest) - sum(lengths)
        hashes, tables = rest[:start], []
        for length in lengths:
            if length < 0 or length % ROW_BYTES or start < 0:
                raise ValueError(f"a table of {length} bytes")
            tables.append(rest[start : start + length])
            start += length
        columns[_TABLE:] = [tables] if tables else []
        columns[_OBJECTS] = [tuple(starmap(StoredObject, objects)) for objects in columns[_OBJECTS]]
    except (TypeError, ValueError) as exc:
        raise IntegrityError(f"expected a vault list, found its tables of chunks uneven ({exc}): verify the vault") from exc
    return hashes


def _rows(kind: type[_Row], columns: Sequence[Sequence[Any]]) -> list[_Row]:
    try:
        return list(starmap(kind, zip(*columns, strict=True)))
    except (TypeError, ValueError) as exc:
        raise IntegrityError(f"expected a vault list, found its columns uneven ({exc}): verify the vault") from exc
