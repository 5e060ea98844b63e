"""What a run has to copy, in order, and what it met on the way."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from orchestrai.errors import ObjectNotFound
from orchestrai.storage.base import Store
from orchestrai.vault.verify.verification import Finding

# so many objects of one folder are looked up one by one; beyond it a listing of that folder costs less
_LOOKED_UP = 8


class Lacking(NamedTuple):
    """An object to copy where it is not there: of this version where one is named, and of this size where that is known.

    `compared` says that one which is there must have the same bytes: nothing else would find that it has not.
    """

    key: str
    version: str = ""
    size: int | None = None
    compared: bool = False


@dataclass(frozen=True)
class CopyPlan:
    """What is to be copied in this order, what of it is there already with which size, and what is wrong.

    `sessions` wrote what is read back later, by the hashes that their commits name. `gone` are the numbers whose tombstones the replica has
    then, `logs` the entries it has of each of the ledger's logs.
    """

    todo: Sequence[Lacking]
    there: Mapping[str, int]
    sessions: frozenset[str] = frozenset()
    findings: Sequence[Finding] = ()
    gone: Mapping[str, set[int]] = field(default_factory=dict)
    logs: Mapping[str, int] = field(default_factory=dict)


def sizes_there(store: Store, keys: Iterable[str]) -> dict[str, int]:
    """The sizes of those objects that are there, a folder at a time."""
    folders: dict[str, list[str]] = {}
    for key in keys:
        folders.setdefault(key.rpartition("/")[0], []).append(key)
    return {key: size for folder, own in folders.items() for key, size in _sizes(store, folder, own)}


def _sizes(store: Store, folder: str, keys: Sequence[str]) -> Iterator[tuple[str, int]]:
    if len(keys) > _LOOKED_UP:
        wanted = set(keys)
        # what comes before the first is not listed: a folder of a log, or of records by their hashes, is long
        for info in store.list(f"{folder}/", start_after=min(keys)[:-1]):
            if info.key in wanted:
                yield info.key, info.size
        return
    for key in keys:
        try:
            yield key, store.head(key).size
        except ObjectNotFound:
            continue
