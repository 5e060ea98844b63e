"""Puts file contents into the vault: one object for a large file, packs for small ones."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence

from orchestrai.core.parallel import in_order
from orchestrai.storage.base import Store
from orchestrai.storage.disk.posix import BUFFER_BYTES, page_buffer
from orchestrai.vault.commit.source import Hashing, SourceFile, chunks, read_into, read_whole, require_equal
from orchestrai.vault.format.layout import object_key, pack_key
from orchestrai.vault.format.lists import StoredFile, text
from orchestrai.vault.keys.encryption import Cipher

PACK_BELOW = 256 * 1024
PACK_BYTES = 16 * 1024 * 1024
# sealed pieces that are worth one write
_JOINED = 64


def context(vault: str, kind: str, key: str, session: str, offset: int = 0) -> bytes:
    """What encryption binds bytes to."""
    # canonical_json of the five, spelt out: it is asked for once for each sealed file
    return f"[{text(vault)},{text(kind)},{text(key)},{text(session)},{offset}]".encode()


class Writer:
    """Stores the contents of one session; `workers` 0 works in the calling thread."""

    def __init__(self, store: Store, vault: str, session: str, cipher: Cipher | None = None, workers: int = 2) -> None:
        self.store = store
        self.vault = vault
        self.session = session
        self.cipher = cipher
        self.workers = workers
        self.written = 0
        self._packs = 0
        self._objects = 0

    def put_all(self, sources: Sequence[SourceFile], done: Callable[[int, int], None] | None = None) -> list[StoredFile]:
        """Store every file; small ones share packs in the order given."""
        tasks = list(self._tasks(sources))
        stored: list[StoredFile] = []
        for number, files in enumerate(in_order(tasks, self.workers), 1):
            stored += files
            self.written += sum(file.length for file in files)
            if done:
                done(number, len(tasks))
        return stored

    def _tasks(self, sources: Sequence[SourceFile]) -> Iterator[Callable[[], list[StoredFile]]]:
        batch: list[SourceFile] = []
        filled = 0
        for source in sources:
            if source.size >= PACK_BELOW:
                yield self._object_task(source)
                continue
            if filled + source.size > PACK_BYTES:
                yield self._pack_task(batch)
                batch, filled = [], 0
            batch.append(source)
            filled += source.size
        if len(batch) == 1:
            yield self._object_task(batch[0])
        elif batch:
            yield self._pack_task(batch)

    def _object_task(self, source: SourceFile) -> Callable[[], list[StoredFile]]:
        self._objects += 1
        name = "" if source.sha256 and self.cipher is None else f"{self._objects:08d}"
        return lambda: [self._put_object(source, name)]

    def _pack_task(self, batch: list[SourceFile]) -> Callable[[], list[StoredFile]]:
        self._packs += 1
        number = self._packs
        return lambda: self._put_pack(batch, number)

    def _put_object(self, source: SourceFile, name: str) -> StoredFile:
        key = object_key(self.session, name or source.sha256)
        hashing = Hashing()
        plain = hashing.through(chunks(source, reuse=self.store.local_path(key) is not None and self.cipher is None))
        as_stored = self._stored_hashing(key) if self.cipher is not None else None
        sealed = self._seal("object", key, plain)
        info = self.store.write(key, as_stored.through(sealed) if as_stored else sealed)
        sha256 = hashing.require(source)
        return StoredFile(
            source.path, source.role, source.size, source.rows, sha256, self.session, name, -1, 0, info.size, source.token,
            info.version or "", as_stored.digest.hexdigest() if as_stored else "",
        )  # fmt: skip

    def _put_pack(self, batch: Sequence[SourceFile], number: int) -> list[StoredFile]:
        key = pack_key(self.session, number)
        spans: list[tuple[str, int, int]] = []
        parts = self._plain_parts(batch, key, spans) if self.cipher is None else self._sealed_parts(batch, key, spans)
        # a packed file's name is the pack's length, so that a listing alone shows a truncated or lengthened pack
        as_stored = self._stored_hashing(key)
        info = self.store.write(key, as_stored.through(parts) if as_stored else parts)
        name, version, stored = str(info.size), info.version or "", as_stored.digest.hexdigest() if as_stored else ""
        return [
            StoredFile(
                source.path, source.role, source.size, source.rows, sha256,
                self.session, name, number, offset, length, source.token, version, stored,
            )
            for source, (sha256, offset, length) in zip(batch, spans, strict=True)
        ]  # fmt: skip

    def _plain_parts(self, batch: Sequence[SourceFile], key: str, spans: list[tuple[str, int, int]]) -> Iterator[bytes]:
        """The files end to end; (hash, offset, length) of each goes to `spans`.

        A local store, which writes each chunk at once, is given views of one buffer that is small enough for the processor's cache.
        """
        local = self.store.local_path(key) is not None
        filled = offset = 0
        with page_buffer() as buffer:
            for source in batch:
                if filled + source.size > BUFFER_BYTES:
                    yield buffer[:filled] if local else bytes(buffer[:filled])  # type: ignore[misc]
                    filled = 0
                part = buffer[filled : filled + source.size]
                size = read_into(source, part)
                spans.append((require_equal(source, size, hashlib.sha256(part).hexdigest()), offset, size))
                filled += size
                offset += size
            yield buffer[:filled] if local else bytes(buffer[:filled])  # type: ignore[misc]

    def _sealed_parts(self, batch: Sequence[SourceFile], key: str, spans: list[tuple[str, int, int]]) -> Iterator[bytes]:
        """Each file sealed by itself, end to end; (hash, offset, length) of each goes to `spans`."""
        assert self.cipher is not None
        offset = 0
        pending: list[bytes] = []
        for source in batch:
            data = read_whole(source)
            sha256 = require_equal(source, len(data), hashlib.sha256(data).hexdigest())
            pending.append(self.cipher.seal_small(context(self.vault, "pack", key, self.session, offset), data))
            length = len(pending[-1])
            spans.append((sha256, offset, length))
            offset += length
            if len(pending) >= _JOINED:
                yield b"".join(pending)
                pending = []
        yield b"".join(pending)

    def _stored_hashing(self, key: str) -> Hashing | None:
        """What hashes an object as it is stored, for a service that can tell its own hash of it."""
        return Hashing() if self.store.local_path(key) is None else None

    def _seal(self, kind: str, key: str, plain: Iterable[bytes]) -> Iterable[bytes]:
        if self.cipher is None:
            return plain
        return self.cipher.seal(context(self.vault, kind, key, self.session), plain)
