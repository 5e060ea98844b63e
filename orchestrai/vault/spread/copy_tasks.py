"""Kept files copied out by executors, each hashed on the way, from the vault's store to another."""

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

from orchestrai.storage.base import Store
from orchestrai.storage.local import LocalStore
from orchestrai.storage.url import open_store
from orchestrai.storage.zstd_stream import write_compressed
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.pieces.pack_reader import read_packed
from orchestrai.vault.reader import clone_file, stream_file
from orchestrai.vault.spread.content_tasks import CODEC, TASK_BYTES
from orchestrai.vault.spread.vault_address import held_at

# gives an empty file the bytes of a kept one by sharing blocks, where that can be
Clone = Callable[[StoredFile, int], bool]


def put_out(store: Store, key: str, file: StoredFile, data: Iterable[bytes], clone: Clone) -> int:
    """Write one kept file under a key; originals of what landed lie compressed, and their length there is returned, else 0."""
    lies_whole = file.pack < 0 and not file.objects
    if lies_whole and isinstance(store, LocalStore) and store.write_clone(key, lambda target: clone(file, target)):
        return 0
    if file.role == "landed":
        return write_compressed(store, key, data)
    store.write(key, data)
    return 0


def in_tasks(files: Sequence[StoredFile]) -> Iterator[list[int]]:
    """The numbers of files that one executor copies; those of one pack are copied by one, who reads it once."""

    def place(number: int) -> tuple[str, int]:
        return files[number].session, files[number].pack

    packed = sorted((number for number in range(len(files)) if files[number].pack >= 0), key=place)
    whole = [list(group) for _, group in groupby(packed, key=place)]
    whole += [[number] for number in range(len(files)) if files[number].pack < 0]
    task: list[int] = []
    size = 0
    for numbers in whole:
        bytes_of = sum(files[number].size for number in numbers)
        if task and size + bytes_of > TASK_BYTES:
            yield task
            task, size = [], 0
        task += numbers
        size += bytes_of
    if task:
        yield task


def task_of(vault: Mapping[str, Any], target: str, files: Sequence[StoredFile], keys: Sequence[str]) -> dict[str, Any]:
    """What `copy` is told: the files, and the keys under which they go."""
    return {"vault": vault, "target": target, "files": b64encode(CODEC.encode_files(files)).decode(), "keys": [*keys]}


def copy(task: Mapping[str, Any], attempt: int) -> dict[str, Any]:
    """On an executor: copy files; what a lost try wrote is written again. Raises MissingObject, DigestMismatch."""
    held, target = held_at(task["vault"]), open_store(task["target"])
    files = CODEC.decode_files(b64decode(task["files"]))
    # partitions may hold equal rows: each file is known by itself
    key_of = {id(file): key for file, key in zip(files, task["keys"], strict=True)}
    lies: dict[str, int] = {}

    def clone(file: StoredFile, descriptor: int) -> bool:
        return clone_file(held.store, held.cipher, file, descriptor)

    def put(file: StoredFile, data: Iterable[bytes]) -> None:
        lies[key_of[id(file)]] = put_out(target, key_of[id(file)], file, data, clone)

    # a store on this disk writes each chunk at once; another may gather them
    reuse = target.local_path("probe") is not None
    packed = sorted((file for file in files if file.pack >= 0), key=attrgetter("session", "pack", "offset", "path"))
    for _, group in groupby(packed, key=attrgetter("session", "pack")):
        for file, data in read_packed(*held, list(group), reuse=reuse):
            put(file, [data])
    for file in files:
        if file.pack < 0:
            put(file, stream_file(*held, file, reuse=reuse))
    target.sync()
    return {"lies": [lies[key] for key in task["keys"]]}
