"""Logs of numbered records, `<prefix><name>/<number>.json`: which there are, and what came behind what is known of each.

A long log costs what is new in it. A log that is nested below another's name, under one of so many zeros that it sorts among its known
numbers, is told by a listing of all alone.
"""

import os
from collections.abc import Iterator, Mapping

from orchestrai.storage.base import ObjectInfo, Store
from orchestrai.storage.disk.record_folders import record_folders
from orchestrai.vault.format.layout import numbered

Numbered = tuple[str, int, ObjectInfo]


def behind(store: Store, prefix: str, known: Mapping[str, int]) -> Iterator[Numbered]:
    """The records of every log, of one that is known those behind its known number; by log and number."""
    folder = _folder(store, prefix)
    if folder is None:
        yield from _jumped(store, prefix, known)
        return
    for name in sorted(record_folders(folder, known)):
        after = record_key(prefix, name, known[name]) if name in known else None
        for info in store.list(f"{prefix}{name}/", start_after=after):
            place = numbered(prefix, info.key)
            # what lies deeper is a log of its own
            if place is not None and place[0] == name:
                yield *place, info


def log_names(store: Store, prefix: str, known: Mapping[str, int]) -> list[str]:
    """The names of all logs, sorted. Of those that are `known` some may be gone: whoever looks for their end sees it."""
    folder = _folder(store, prefix)
    if folder is None:
        return sorted({*known, *(name for name, _, _ in _jumped(store, prefix, known))})
    names = (name for name in record_folders(folder, known) if name in known or _is_log(store, prefix, name))
    return sorted({*known, *names})


def record_key(prefix: str, name: str, number: int) -> str:
    """Where a record lies."""
    return f"{prefix}{name}/{number:012d}.json"


def _is_log(store: Store, prefix: str, name: str) -> bool:
    return any(numbered(prefix, info.key) for info in store.list(f"{prefix}{name}/"))


def _folder(store: Store, prefix: str) -> str | None:
    """The directory of all logs, in a store on this machine's disk."""
    path = store.local_path(f"{prefix}x")
    return None if path is None else os.path.dirname(path)


def _jumped(store: Store, prefix: str, known: Mapping[str, int]) -> Iterator[Numbered]:
    """By listings, each of which begins behind what is known of a log."""
    passed: set[str] = set()
    after: str | None = None
    while True:
        for info in store.list(prefix, start_after=after):
            place = numbered(prefix, info.key)
            if place is None:
                continue
            name, number = place
            if name in known and number <= known[name] and name not in passed:
                passed.add(name)
                after = record_key(prefix, name, known[name])
                break
            yield name, number, info
        else:
            return
