"""Contents stored by executors: which files share an object is decided here, by whom they are stored is not."""

import json
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from orchestrai.core.canonical import canonical_json
from orchestrai.ledger.signing import Keyring
from orchestrai.project.project_place import SENT
from orchestrai.storage.base import Store
from orchestrai.storage.url import open_store
from orchestrai.vault.catalog import Catalog
from orchestrai.vault.commit.known_content import Known
from orchestrai.vault.commit.source import SourceFile, StoredAt
from orchestrai.vault.commit.writer import Part, Put, Writer
from orchestrai.vault.format.lists import ColumnCodec, StoredFile, StoredPartition
from orchestrai.vault.pieces.chunker import CHUNKED_FROM
from orchestrai.vault.spread.vault_address import held_at, store_address

CODEC = ColumnCodec()
# what an executor is given at a time: little enough to share out, much enough to be worth a task
TASK_BYTES = 128 * 1024 * 1024


class Piece(NamedTuple):
    """A part to be stored, of which partition of a batch it is, and what is known there."""

    place: int
    part: Part
    known: Known

    @property
    def size(self) -> int:
        """Its plain bytes."""
        return sum(source.size for source in self.part.sources)


def in_tasks(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Pieces that one executor does, one after another."""
    task: list[Piece] = []
    size = 0
    for piece in pieces:
        if task and size + piece.size > TASK_BYTES:
            yield task
            task, size = [], 0
        task.append(piece)
        size += piece.size
    if task:
        yield task


def task_of(vault: Mapping[str, Any], session: str, pieces: Sequence[Piece], others: Known) -> dict[str, Any]:
    """What `store` is told: where bytes lie, under which numbers they go, and the lists whose chunks may be referred to."""
    cut = any(_is_cut(piece) for piece in pieces)
    return {
        "vault": vault,
        "session": session,
        "pieces": [_piece(piece) for piece in pieces],
        "others": others.entries if cut else [],
    }


def put_of(answer: Mapping[str, Any]) -> list[Put]:
    """What became of the pieces of a task, in their order."""
    return [Put(CODEC.decode_files(b64decode(files)), new) for files, new in answer["stored"]]


def can_be_sent(source: SourceFile, folders: Sequence[Path]) -> bool:
    """Whether an executor may find the file by itself: in a store, or in one of these folders, which it has too."""
    content = source.content
    if isinstance(content, StoredAt):
        return bool(store_address(content.store))
    return not isinstance(content, bytes) and any(Path(content).is_relative_to(folder) for folder in folders)


def store(task: Mapping[str, Any], attempt: int) -> dict[str, Any]:
    """On an executor: store pieces; what a lost try of the same wrote is written again, or in a sealed vault beside it."""
    held = held_at(task["vault"])
    writer = Writer(held.store, held.vault, task["session"], held.cipher, workers=0, attempt=attempt)
    stored = []
    for number, sources, packed, earlier, lists in task["pieces"]:
        known = Known()
        if lists is not None:
            known = _known(canonical_json([task["vault"], lists, task["others"]]))
        elif earlier:
            known.add(CODEC.decode_files(b64decode(earlier)))
        files, new = writer.put(Part(number, [_source(one) for one in sources], packed), known)
        stored.append([b64encode(CODEC.encode_files(files)).decode(), new])
    # only what survives a power loss may be committed, and the driver's own sync is not of this machine
    held.store.sync()
    return {"stored": stored}


def _is_cut(piece: Piece) -> bool:
    return not piece.part.packed and piece.part.sources[0].size >= CHUNKED_FROM


def _piece(piece: Piece) -> list[Any]:
    part, known = piece.part, piece.known
    earlier = None if part.packed else known.earlier(part.sources[0].path)
    return [
        part.number,
        [_sent(source) for source in part.sources],
        part.packed,
        b64encode(CODEC.encode_files([earlier])).decode() if earlier is not None and not _is_cut(piece) else "",
        known.entries if _is_cut(piece) else None,
    ]


def _sent(source: SourceFile) -> list[Any]:
    content = source.content
    if isinstance(content, StoredAt):
        where = [store_address(content.store), content.key, content.packed]
    else:
        where = [os.fsdecode(content)]
    return [source.path, source.size, where, source.sha256, source.rows, source.role, source.token]


def _source(sent: Sequence[Any]) -> SourceFile:
    path, size, where, *rest = sent
    content = where[0] if len(where) == 1 else StoredAt(_opened(where[0]), where[1], where[2])
    return SourceFile(path, size, content, *rest)


@lru_cache(maxsize=4)
def _store_for(url: str, connections: str) -> Store:
    return open_store(url)


def _opened(url: str) -> Store:
    return _store_for(url, os.environ.get(SENT, ""))


@lru_cache(maxsize=2)
def _known(text: bytes) -> Known:
    """What is known of a partition, and beside it, read from the lists that the driver has found; an index once for all pieces."""
    address, lists, others = json.loads(text)
    known, beside = Known(), Known()
    for content, rows in ((known, lists), (beside, others)):
        for row in rows:
            content.add(_files(canonical_json([address, row])))
    known.beside(beside)
    known.chunks()
    return known


@lru_cache(maxsize=256)
def _files(text: bytes) -> list[StoredFile]:
    address, row = json.loads(text)
    held = held_at(address)
    # lists are proven by the hash that came with them, which the driver has from a signed record
    catalog = Catalog(held.store, Keyring({}), lambda: held.vault, CODEC, lambda: held.cipher)
    return catalog.files(StoredPartition(*row))
