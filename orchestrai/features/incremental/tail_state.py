"""The tail of a view between runs: slices of earlier rows on this machine, signed, and the input files they were made of.

It saves work and promises nothing: a state that is gone, was altered or is another view's is no state, and the rows are read again.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from orchestrai.core.canonical import canonical_json
from orchestrai.errors import SignatureInvalid
from orchestrai.features.incremental.tail_slices import MadeSlice, Slice
from orchestrai.ledger.signing import Keyring, Signer

STATE_TYPE = "application/vnd.orchestrai.tail+json"
_INDEX = "index.json"


class Forgotten(Exception):
    """A slice is not what the state says."""


@dataclass(frozen=True)
class InputFile:
    """An input file: its first and last moment in microseconds (None: it has no rows), and how often it is there."""

    low: int | None
    high: int | None
    count: int = 1


@dataclass(frozen=True)
class StoredSlice:
    """A slice on disk; raises Forgotten where a byte differs."""

    folder: Path
    groups_sha256: str
    rows_sha256: str

    @cached_property
    def groups(self) -> pa.Table:
        """As `Slice.groups`."""
        return _read(self.folder, self.groups_sha256)

    @cached_property
    def rows(self) -> pa.Table:
        """As `Slice.rows`."""
        return _read(self.folder, self.rows_sha256)


@dataclass(frozen=True)
class PartitionTail:
    """What is known of one input partition: every row from `begin` on, in slices (one that is not there has no rows)."""

    root: str
    begin: int
    files: Mapping[str, InputFile]
    slices: Mapping[int, Slice]

    @property
    def digests(self) -> Counter[str]:
        """Its files, as often as each is there."""
        return Counter({digest: file.count for digest, file in self.files.items()})


@dataclass(frozen=True)
class TailState:
    """What a view remembers, by input partition."""

    partitions: Mapping[str, PartitionTail] = field(default_factory=dict)


def load_state(folder: Path, key: str, keyring: Keyring) -> TailState:
    """The state in a folder, or an empty one where there is none for this key, signed by a key of ours."""
    try:
        index = json.loads(keyring.open(STATE_TYPE, (folder / _INDEX).read_bytes()))
    except (FileNotFoundError, SignatureInvalid):
        return TailState()
    if index["key"] != key:
        return TailState()
    return TailState({name: _partition(folder, part) for name, part in index["partitions"].items()})


def _partition(folder: Path, part: Mapping[str, Any]) -> PartitionTail:
    files = {digest: InputFile(*values) for digest, values in part["files"].items()}
    slices = {int(number): StoredSlice(folder, *digests) for number, digests in part["slices"].items()}
    return PartitionTail(part["root"], part["begin"], files, slices)


def save_state(folder: Path, key: str, signer: Signer, state: TailState) -> None:
    """Write what is new, then the index in one step, then drop what it no longer names."""
    folder.mkdir(parents=True, exist_ok=True)
    partitions = {}
    named = {_INDEX}
    for name, part in state.partitions.items():
        slices = {str(number): _stored(folder, one) for number, one in part.slices.items()}
        named |= {f"{digest}.arrow" for pair in slices.values() for digest in pair}
        files = {digest: [file.low, file.high, file.count] for digest, file in part.files.items()}
        partitions[name] = {"root": part.root, "begin": part.begin, "files": files, "slices": slices}
    index = signer.sign(STATE_TYPE, canonical_json({"key": key, "partitions": partitions}))
    _replace(folder / _INDEX, [index])
    for path in folder.iterdir():
        if path.name not in named and path.suffix in (".arrow", ".json"):
            path.unlink(missing_ok=True)


def _stored(folder: Path, one: Slice) -> tuple[str, str]:
    if isinstance(one, StoredSlice):
        return one.groups_sha256, one.rows_sha256
    assert isinstance(one, MadeSlice)
    return _write(folder, one.groups), _write(folder, one.rows)


def _write(folder: Path, table: pa.Table) -> str:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    body = sink.getvalue()
    digest = hashlib.sha256(body).hexdigest()
    path = folder / f"{digest}.arrow"
    if not path.exists():
        _replace(path, [body])
    return digest


def _replace(path: Path, parts: Sequence[Any]) -> None:
    staged = path.with_suffix(f".{os.getpid()}.part")
    with staged.open("wb") as sink:
        sink.writelines(parts)
    staged.replace(path)


def _read(folder: Path, digest: str) -> pa.Table:
    try:
        # read, not mapped: who writes to the file later changes nothing of what was hashed
        body = pa.py_buffer((folder / f"{digest}.arrow").read_bytes())
    except OSError as exc:
        raise Forgotten(digest) from exc
    if hashlib.sha256(body).hexdigest() != digest:
        raise Forgotten(digest)
    return pa.ipc.open_file(pa.BufferReader(body)).read_all()
