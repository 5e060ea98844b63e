"""Is a file in chunks what its row says? Each stored chunk is read once, however many files and snapshots share it."""

import hashlib
from typing import TYPE_CHECKING

from orchestrai.errors import DigestMismatch, IntegrityError
from orchestrai.vault.format.chunk_table import chunks_of
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.pieces.chunk_reader import proven_chunks, stream_chunks
from orchestrai.vault.reader import chunk_source

if TYPE_CHECKING:
    from orchestrai.vault.verify.content_check import Held

# by object, where the chunks begin that were read
SeenChunks = dict[str, set[int]]


def read_chunks(held: "Held", file: StoredFile, seen: SeenChunks) -> str:
    """What is wrong with a file in chunks, or nothing; what was read is added to `seen`.

    A file of which half or more was not read yet is read whole and hashed as it is; of another the chunks that are new, each held
    against its own hash, which the signed list names.
    """
    new = [chunk for chunk in chunks_of(file.table) if chunk.offset not in seen.get(file.objects[chunk.place].key, ())]
    whole = 2 * sum(chunk.size for chunk in new) >= file.size
    try:
        if sum(chunk.size for chunk in chunks_of(file.table)) != file.size:
            raise DigestMismatch(
                f"expected the chunks of {file.path} to be {file.size} bytes, found others: verify the vault"
            )
        rows = file if whole else file._replace(table=b"".join(chunk.pack() for chunk in new))
        _read(held, rows, whole)
    except IntegrityError as exc:
        return exc.message
    for chunk in new:
        seen.setdefault(file.objects[chunk.place].key, set()).add(chunk.offset)
    return ""


def _read(held: "Held", file: StoredFile, whole: bool) -> None:
    """Read the chunks in a file's table; raises MissingObject, DigestMismatch."""
    digest = hashlib.sha256()
    with chunk_source(*held, file) as source:
        if not whole:
            for _ in proven_chunks(source, file):
                pass
            return
        for _, data in stream_chunks(source, file):
            digest.update(data)
    if digest.hexdigest() != file.sha256:
        raise DigestMismatch(
            f"expected {file.path} in {file.key} to hash to {file.sha256[:12]}, found {digest.hexdigest()[:12]}: "
            "run `orchestrai vault heal --apply`",
            key=file.key,
        )
