"""A sorted map with entries put over it, read from a key back: whoever needs the newest few before a key reads no others."""

from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import takewhile
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

T = TypeVar("T")
# behind every key
BEHIND = chr(0x10FFFF)


@runtime_checkable
class StepsBack(Protocol):
    """What can be read from a key back, without a look at what comes after."""

    def before(self, key: str) -> Iterator[str]:
        """The keys before one, the last first."""
        ...


def keys_before(keys: Collection[str], key: str) -> Iterator[str]:
    """The keys before one, the last first; costs what is asked for, where they can be read back, and else a sort of all."""
    if isinstance(keys, StepsBack):
        return keys.before(key)
    return iter(sorted((one for one in keys if one < key), reverse=True))


def keys_within(keys: Collection[str], first: str, last: str) -> Iterator[str]:
    """The keys from `first` to `last`, both included, the last first."""
    return takewhile(lambda key: key >= first, keys_before(keys, f"{last}\0"))


class Overlay(Mapping[str, T], Generic[T]):
    """What `of` makes of the entries of a base, with others put over it."""

    def __init__(self, base: Mapping[str, Any] | None, of: Callable[[Any], T]) -> None:
        self._base: Mapping[str, Any] = {} if base is None else base
        self._of = of
        self._over: dict[str, T] = {}
        self._keys: list[str] = []

    def put(self, key: str, value: T) -> None:
        """Put an entry over what is there."""
        if key not in self._over:
            insort(self._keys, key)
        self._over[key] = value

    def before(self, key: str) -> Iterator[str]:
        """The keys before one, the last first."""
        own = bisect_left(self._keys, key)
        for below in keys_before(self._base, key):
            while own and self._keys[own - 1] > below:
                own -= 1
                yield self._keys[own]
            if own and self._keys[own - 1] == below:
                own -= 1
            yield below
        yield from reversed(self._keys[:own])

    def __getitem__(self, key: str) -> T:
        return self._over[key] if key in self._over else self._of(self._base[key])

    def __contains__(self, key: object) -> bool:
        return key in self._over or key in self._base

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._base, *self._over}))

    def __len__(self) -> int:
        return len({*self._base, *self._over})
