"""Reads files that share one pack: each piece is read and opened once, in the order in which pieces lie, and each file is a slice of it."""

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import attrgetter

from orchestrai.errors import DigestMismatch
from orchestrai.storage.base import Store
from orchestrai.storage.disk.posix import BUFFER_BYTES, page_buffer
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.keys.encryption import Cipher, context
from orchestrai.vault.pieces.object_reads import object_file, read_into, read_stretch, require_listed
from orchestrai.vault.pieces.piece_compression import expanded

# a gap between two wanted pieces of a pack that is cheaper to read over than to ask again for
_READ_OVER = 1024 * 1024
_where = attrgetter("offset", "length", "piece", "compressed")

Piece = list[StoredFile]


def read_packed(
    store: Store, vault: str, cipher: Cipher | None, files: Sequence[StoredFile], *, reuse: bool = False
) -> Iterator[tuple[StoredFile, bytes]]:
    """Yield the bytes of files that share one pack, in few reads; raises MissingObject, DigestMismatch, which name the pack.

    With `reuse`, the bytes may be a view of a buffer that is valid only until the next file is asked for.
    """
    ordered = sorted(files, key=attrgetter("offset", "length", "piece", "compressed", "at"))
    pieces = [list(group) for _, group in groupby(ordered, key=_where)]
    local = store.local_path(ordered[0].key) is not None
    opener = _Opener(vault, cipher)
    with _reading(store, pieces, local) as read:
        for run in _runs(pieces, BUFFER_BYTES if local else sys.maxsize):
            start = run[0][0].offset
            data = read(start, max(_end(piece) for piece in run) - start)
            for piece in run:
                first = piece[0]
                plain = opener.plain(first, data[first.offset - start : _end(piece) - start])
                for file in piece:
                    part = plain[file.at : file.at + file.size] if first.piece else plain
                    require_listed(file, len(part), hashlib.sha256(part).hexdigest())
                    yield file, part if reuse else bytes(part)  # type: ignore[misc]  # a view stands in for bytes wherever they are only written and hashed


class _Opener:
    """Opens pieces one after another; what it gives is valid until the next."""

    def __init__(self, vault: str, cipher: Cipher | None) -> None:
        self.vault = vault
        self.cipher = cipher
        self._buffer = memoryview(b"")

    def plain(self, first: StoredFile, part: memoryview) -> memoryview:
        """The plain bytes of a piece, of which `first` is a file; raises DigestMismatch."""
        if self.cipher is not None:
            part = self._unsealed(self.cipher, first, part)
        return memoryview(expanded(part, first.piece, first.key)) if first.compressed else part

    def _unsealed(self, cipher: Cipher, first: StoredFile, part: memoryview) -> memoryview:
        size = cipher.plain_length(len(part))
        if len(self._buffer) < size:
            self._buffer = memoryview(bytearray(size))
        target = self._buffer[:size]
        try:
            cipher.open_into(context(self.vault, "pack", first.key, first.session, first.offset), part, target)
        except DigestMismatch as exc:
            raise DigestMismatch(
                f"{exc.message}; it is the piece at {first.offset} of {first.key}, which holds {first.path}", key=first.key
            ) from exc
        return target


def _end(piece: Piece) -> int:
    return piece[0].offset + piece[0].length


def _runs(pieces: Sequence[Piece], limit: int) -> Iterator[list[Piece]]:
    """Pieces that one read covers: with small gaps alone between them, and `limit` bytes at most where there are more than one."""
    run: list[Piece] = []
    start = end = 0
    for piece in pieces:
        offset = piece[0].offset
        if run and (offset > end + _READ_OVER or _end(piece) - start > limit):
            yield run
            run = []
        if not run:
            start = offset
        run.append(piece)
        end = _end(piece)
    if run:
        yield run


@contextmanager
def _reading(store: Store, pieces: Sequence[Piece], local: bool) -> Iterator[Callable[[int, int], memoryview]]:
    """What reads from the pack: in a local store, into a buffer that each read uses again."""
    first = pieces[0][0]
    if not local:
        yield lambda start, length: memoryview(read_stretch(store, first, start, length))
        return
    with object_file(store, first.key) as descriptor, page_buffer() as buffer:
        # a piece that is sealed or compressed is longer than what else one read takes
        longest = max(piece[0].length for piece in pieces)
        wide = buffer if longest <= BUFFER_BYTES else memoryview(bytearray(longest))

        def read(start: int, length: int) -> memoryview:
            view = wide[:length]
            return view[: read_into(store, first.key, descriptor, view, start)]

        yield read
