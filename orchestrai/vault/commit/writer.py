"""Puts file contents into the vault: packs for small files, one object for a larger one, chunks for what is large or compresses."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, count
from typing import NamedTuple

from orchestrai.core.parallel import in_order
from orchestrai.storage.base import Store
from orchestrai.storage.zstd_stream import looks_compressible
from orchestrai.vault.commit.known_content import Known
from orchestrai.vault.commit.source import Hashing, SourceFile, chunks, read_into, require_equal
from orchestrai.vault.format.layout import object_key, pack_key
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.keys.encryption import Cipher, context
from orchestrai.vault.pieces.chunk_index import FewChunks
from orchestrai.vault.pieces.chunk_writer import ChunkWriter, Cut, Found, Sealing, whole_pieces
from orchestrai.vault.pieces.chunker import CHUNKED_FROM, chunker
from orchestrai.vault.pieces.piece_compression import compressed

PACK_BELOW = 256 * 1024
PACK_BYTES = 16 * 1024 * 1024
# small files that are compressed and sealed together; to read one of them all are opened
GROUP_BYTES = 512 * 1024
# more packs than a session has: what tells apart the packs of several tries
_PACKS = 10**9


class Put(NamedTuple):
    """Stored files, and how many plain bytes had to be stored for them."""

    files: list[StoredFile]
    new: int


class Part(NamedTuple):
    """What is stored in one go: the files of one pack, or one file alone; its number is in the name of what is written."""

    number: int
    sources: Sequence[SourceFile]
    packed: bool


class Writer:
    """Stores the contents of one session; `workers` 0 works in the calling thread.

    `attempt` marks the names of a sealed vault's objects, where a part may be stored by several, each of whom seals it to other bytes.
    """

    def __init__(
        self, store: Store, vault: str, session: str, cipher: Cipher | None = None, workers: int = 2, attempt: int = 0
    ) -> None:
        self.store = store
        self.vault = vault
        self.session = session
        self.cipher = cipher
        self.workers = workers
        self.attempt = attempt if cipher is not None else 0
        self.new_bytes = 0
        self._packs = 0
        self._objects = 0

    def put_all(
        self, sources: Sequence[SourceFile], done: Callable[[int, int], None] | None = None, known: Known | None = None
    ) -> list[StoredFile]:
        """Store every file; small ones share packs in the order given. Chunks that are known are referred to."""
        known = known or Known()
        parts = list(self.parts(sources))
        if any(_is_cut(part) for part in parts):
            # it is read by all threads, and made by one
            known.chunks()
        stored: list[StoredFile] = []
        tasks = [partial(self.put, part, known) for part in parts]
        for number, (files, new) in enumerate(in_order(tasks, self.workers), 1):
            stored += files
            self.new_bytes += new
            if done:
                done(number, len(tasks))
        return stored

    def parts(self, sources: Sequence[SourceFile]) -> Iterator[Part]:
        """What is to be stored in one go each, numbered on from what this writer had before."""
        batch: list[SourceFile] = []
        filled = 0
        for source in sources:
            if source.size >= PACK_BELOW:
                yield self._alone(source)
                continue
            if filled + source.size > PACK_BYTES:
                yield self._together(batch)
                batch, filled = [], 0
            batch.append(source)
            filled += source.size
        if len(batch) == 1:
            yield self._alone(batch[0])
        elif batch:
            yield self._together(batch)

    def _alone(self, source: SourceFile) -> Part:
        self._objects += 1
        return Part(self._objects, [source], packed=False)

    def _together(self, batch: list[SourceFile]) -> Part:
        self._packs += 1
        return Part(self._packs, batch, packed=True)

    def put(self, part: Part, known: Known) -> Put:
        """Store one part; the same part gives the same bytes under the same name, but in a sealed vault."""
        if part.packed:
            return self._put_pack(part.sources, part.number + self.attempt * _PACKS)
        number = f"{part.number:08d}" + (f"-try{self.attempt}" if self.attempt else "")
        if _is_cut(part):
            return self._put_chunks(part.sources[0], number, chunker(self._border_key()), known.chunks())
        return self._put_object(part.sources[0], number, known)

    def _border_key(self) -> bytes:
        # the contents of a plain vault are there to be read, its borders too
        return self.cipher.border_key() if self.cipher is not None else self.vault.encode()

    def _put_chunks(self, source: SourceFile, name: str, cut: Cut, known: Found | None) -> Put:
        sealing = Sealing(self.store, self.vault, self.session, self.cipher)
        names = (name if not number else f"{name}-{number}" for number in count())
        stored, new = ChunkWriter(sealing, source, cut, known).put(names)
        return Put([stored], new)

    def _put_object(self, source: SourceFile, number: str, known: Known) -> Put:
        """One file as it is, or in pieces where its beginning compresses or an earlier version of it lies in pieces."""
        earlier = known.earlier(source.path)
        if earlier is not None:
            return self._put_chunks(source, number, whole_pieces, FewChunks(earlier))
        local = self.store.local_path(object_key(self.session, number)) is not None
        parts = chunks(source, reuse=local and self.cipher is None)
        first = next(parts, b"")
        if len(first) and source.size and looks_compressible(first):
            parts.close()
            return self._put_chunks(source, number, whole_pieces, None)
        name = "" if source.sha256 and self.cipher is None else number
        key = object_key(self.session, name or source.sha256)
        hashing = Hashing()
        plain = hashing.through(chain([first], parts))
        as_stored = self._stored_hashing(key) if self.cipher is not None else None
        sealed = self._seal("object", key, plain)
        info = self.store.write(key, as_stored.through(sealed) if as_stored else sealed)
        sha256 = hashing.require(source)
        stored = StoredFile(
            source.path, source.role, source.size, source.rows, sha256, self.session, name, -1, 0, info.size, source.token,
            info.version or "", as_stored.digest.hexdigest() if as_stored else "",
        )  # fmt: skip
        return Put([stored], source.size)

    def _put_pack(self, batch: Sequence[SourceFile], number: int) -> Put:
        key = pack_key(self.session, number)
        pack = _Pack(self, key)
        # a packed file's name is the pack's length, so that a listing alone shows a truncated or lengthened pack
        info = self.store.write(key, pack.parts(batch))
        name, version, stored = str(info.size), info.version or "", pack.stored_sha256
        files = [
            StoredFile(
                source.path, source.role, source.size, source.rows, span.sha256, self.session, name, number, span.offset,
                span.length, source.token, version, stored, span.piece, span.at, span.compressed,
            )
            for source, span in zip(batch, pack.spans, strict=True)
        ]  # fmt: skip
        return Put(files, sum(source.size for source in batch))

    def _stored_hashing(self, key: str) -> Hashing | None:
        """What hashes an object as it is stored, for a service that can tell its own hash of it."""
        return Hashing() if self.store.local_path(key) is None else None

    def _seal(self, kind: str, key: str, plain: Iterable[bytes]) -> Iterable[bytes]:
        if self.cipher is None:
            return plain
        return self.cipher.seal(context(self.vault, kind, key, self.session), plain)


def _is_cut(part: Part) -> bool:
    """True for a file that is cut by its content."""
    return not part.packed and part.sources[0].size >= CHUNKED_FROM


class _Span(NamedTuple):
    """Where a file lies in a pack."""

    sha256: str
    offset: int
    length: int
    piece: int = 0
    at: int = 0
    compressed: int = 0


class _Pack:
    """The bytes of one pack: groups of files, each compressed where it pays, and sealed where the vault is."""

    def __init__(self, writer: Writer, key: str) -> None:
        self.writer = writer
        self.key = key
        self.spans: list[_Span] = []
        self._local = writer.store.local_path(key) is not None
        self._hashing = None if self._local else Hashing()
        self._offset = 0

    @property
    def stored_sha256(self) -> str:
        """The hash of the pack as it is stored, where others than its owner may ask for it."""
        return self._hashing.digest.hexdigest() if self._hashing is not None else ""

    def parts(self, batch: Sequence[SourceFile]) -> Iterator[bytes]:
        """What is written: a local store, which writes each part at once, is given views of one buffer."""
        buffer = memoryview(bytearray(GROUP_BYTES))
        filled = 0
        group: list[tuple[str, int]] = []
        for source in batch:
            if filled + source.size > GROUP_BYTES:
                yield self._part(buffer[:filled], group)
                filled, group = 0, []
            part = buffer[filled : filled + source.size]
            size = read_into(source, part)
            group.append((require_equal(source, size, hashlib.sha256(part).hexdigest()), size))
            filled += size
        yield self._part(buffer[:filled], group)

    def _part(self, plain: memoryview, group: Sequence[tuple[str, int]]) -> bytes:
        """One group as it is stored."""
        frame, cipher = compressed(plain), self.writer.cipher
        stored: bytes | memoryview = plain if frame is None else frame
        if cipher is not None:
            bound = context(self.writer.vault, "pack", self.key, self.writer.session, self._offset)
            stored = cipher.seal_small(bound, stored)  # type: ignore[arg-type]
        elif frame is None and not self._local:
            stored = bytes(plain)
        if self._hashing is None and frame is not None and not self._offset:
            # compressed bytes are proven by their own hash to who cannot open them
            self._hashing = Hashing()
        if self._hashing is not None:
            self._hashing.digest.update(stored)
        at = 0
        for sha256, size in group:
            if cipher is None and frame is None:
                self.spans.append(_Span(sha256, self._offset + at, size))
            else:
                self.spans.append(_Span(sha256, self._offset, len(stored), len(plain), at, int(frame is not None)))
            at += size
        self._offset += len(stored)
        return stored  # type: ignore[return-value]  # a view stands in for bytes wherever they are only written and hashed
