"""Puts file contents into the vault: one object for a large file, packs for small ones."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from orchestrai.ledger.manifest import canonical_json
from orchestrai.storage.base import Store
from orchestrai.vault.encryption import Cipher
from orchestrai.vault.layout import object_key, pack_key
from orchestrai.vault.rows import StoredFile
from orchestrai.vault.source import Hashing, SourceFile, chunks, read_into, read_whole, require_equal

PACK_BELOW = 256 * 1024
PACK_BYTES = 16 * 1024 * 1024
_PIECE = 1024 * 1024


def context(vault: str, kind: str, key: str, session: str, offset: int = 0) -> bytes:
    """What encryption binds bytes to."""
    return canonical_json([vault, kind, key, session, offset])


@dataclass
class Writer:
    """Stores the contents of one session; `workers` 0 works in the calling thread."""

    store: Store
    vault: str
    session: str
    cipher: Cipher | None = None
    workers: int = 2
    written: int = 0
    _packs: int = 0
    _objects: int = 0
    _buffers: list[bytearray] = field(default_factory=list)

    def put_all(self, sources: Sequence[SourceFile], done: Callable[[int, int], None] | None = None) -> list[StoredFile]:
        """Store every file; small ones share packs in the order given."""
        tasks = list(self._tasks(sources))
        stored: list[StoredFile] = []
        for number, found in enumerate(self._run(tasks), 1):
            stored += found
            self.written += sum(file.length for file in found)
            if done:
                done(number, len(tasks))
        return stored

    def _run(self, tasks: Sequence[Callable[[], list[StoredFile]]]) -> Iterator[list[StoredFile]]:
        if self.workers < 2 or len(tasks) < 2:
            yield from (task() for task in tasks)
            return
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(self.workers) as pool:
            futures = [pool.submit(task) for task in tasks]
            try:
                for future in futures:
                    yield future.result()
            finally:
                for future in futures:
                    future.cancel()

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
        info = self.store.write(key, self._seal("object", key, plain))
        sha256 = hashing.require(source)
        return StoredFile(
            source.path, source.role, source.size, source.rows, sha256, self.session, name, -1, 0, info.size, source.token
        )

    def _put_pack(self, batch: Sequence[SourceFile], number: int) -> list[StoredFile]:
        key = pack_key(self.session, number)
        pack, ends, hashes = (self._sealed_pack if self.cipher else self._plain_pack)(batch, key)
        try:
            if self.store.local_path(key) is not None:
                self.store.write(key, [pack])  # type: ignore[list-item]  # a view stands in for bytes where it is written at once
            else:
                self.store.write(key, (bytes(pack[at : at + _PIECE]) for at in range(0, len(pack), _PIECE)))
        finally:
            if isinstance(pack.obj, bytearray):
                self._buffers.append(pack.obj)
        # a packed file's name is the pack's length, so that a listing alone shows a truncated or lengthened pack
        name, starts = str(len(pack)), [0, *ends]
        return [
            StoredFile(
                source.path, source.role, source.size, source.rows, sha256,
                self.session, name, number, start, end - start, source.token,
            )
            for source, sha256, start, end in zip(batch, hashes, starts, ends, strict=False)
        ]  # fmt: skip

    def _plain_pack(self, batch: Sequence[SourceFile], key: str) -> tuple[memoryview, list[int], list[str]]:
        """The files end to end in a buffer that is used again, where each ends, and their hashes."""
        wanted = sum(source.size for source in batch)
        buffer = self._buffers.pop() if self._buffers else bytearray()
        if len(buffer) < wanted:
            buffer = bytearray(wanted)
        view, end = memoryview(buffer), 0
        ends, hashes = [], []
        for source in batch:
            part = view[end : end + source.size]
            size = read_into(source, part)
            hashes.append(require_equal(source, size, hashlib.sha256(part).hexdigest()))
            end += size
            ends.append(end)
        return view[:end], ends, hashes

    def _sealed_pack(self, batch: Sequence[SourceFile], key: str) -> tuple[memoryview, list[int], list[str]]:
        assert self.cipher is not None
        sealed, ends, hashes = bytearray(), [], []
        for source in batch:
            data = read_whole(source)
            hashes.append(require_equal(source, len(data), hashlib.sha256(data).hexdigest()))
            where = context(self.vault, "pack", key, self.session, len(sealed))
            for part in self.cipher.seal(where, [data]):
                sealed += part
            ends.append(len(sealed))
        return memoryview(bytes(sealed)), ends, hashes

    def _seal(self, kind: str, key: str, plain: Iterable[bytes]) -> Iterable[bytes]:
        if self.cipher is None:
            return plain
        return self.cipher.seal(context(self.vault, kind, key, self.session), plain)
