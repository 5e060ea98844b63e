"""A partition key of two parts, and the dimension beside time that the second part is a value of.

`2026-01-02|eu`: the time first, then the value; a key of time alone has no second part. Nothing else splits or joins keys.
Dagster writes the keys of two dimensions in the same way, in the order of the dimensions' names: defs/assets.py sees to that order.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from orchestrai.core.tree.ordered_keys import keys_before
from orchestrai.errors import ConfigError

# the key of the one partition that is everything
WHOLE = "all"
_BAR = "|"
# as a segment of a store's key: a bar is no name everywhere, and readers take `=` for a column
_JOINT = "_"
_VALUE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", re.ASCII)
T = TypeVar("T")


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """One partition: the key of its time, and its value where the dataset has a dimension; keys sort by time, then by value."""

    time: str
    value: str = ""

    def __str__(self) -> str:
        return f"{self.time}{_BAR}{self.value}" if self.value else self.time

    def between(self, first: "Key", last: "Key") -> bool:
        """Whether it lies from one to the other, in time and in value; where one of them has no value any counts."""
        return first.time <= self.time <= last.time and first.value <= self.value <= (last.value or self.value)

    @classmethod
    def of(cls, text: str) -> "Key":
        """The parts of a key as it is written; raises ConfigError where one of two is no part."""
        time, bar, value = text.partition(_BAR)
        if bar:
            if not time:
                raise ConfigError(f"expected a key such as 2026-01-02{_BAR}eu, found {text!r}, which tells no time")
            check_value(value)
        return cls(time, value)


@dataclass(frozen=True, slots=True)
class Dimension:
    """What partitions are of beside a time: one of the declared `values`; none stand for any, as where only manifests are known.

    `column` is the one of the rows that tells it. The name of an object tells it where `path`, a shell pattern of the whole name, has
    the dimension in braces, `{region}/orders_*.csv` for one; without one a folder `region=eu/` does.
    """

    name: str
    values: tuple[str, ...] = ()
    column: str = ""
    path: str = ""

    def require(self, value: str) -> str:
        """The value itself, once it is a declared one; raises ConfigError."""
        if not value or (self.values and value not in self.values):
            raise ConfigError(f"expected {self.expected}, found {value or 'none'}: name one of these, or declare it too")
        return value

    def place(self, value: str) -> int:
        """Where a value stands among the declared ones; raises ConfigError for another."""
        self.require(value)
        return self.values.index(value)

    @property
    def expected(self) -> str:
        """What a value must be, for people."""
        return f"{self.name} {', '.join(self.values)}" if self.values else f"a value of {self.name}"

    def told_by(self, name: str) -> str:
        """The declared value that an object's name tells; raises ConfigError for another one, and where it tells none or two."""
        readings = self._readings(name)
        if len(readings) != 1:
            which = f"that reads as {' or '.join(sorted(readings))}" if readings else "that tells none"
            raise ConfigError(f"expected a name that tells {self.expected}, found {name!r}, {which}")
        (value,) = readings
        if value not in self.values:
            raise ConfigError(f"expected {self.expected}, found {value!r} in {name!r}")
        return value

    def _readings(self, name: str) -> set[str]:
        """Every value that the path may mean: a name that can be read as two is read as none."""
        if not self.path:
            return {match[1] for match in re.finditer(rf"(?:^|/){re.escape(self.name)}=([^/]*)(?=/)", name)}
        before, _, after = self.path.partition(self.mark)
        # stars and value each as short and as long as can be
        readings = ((star, lazy) for star in (".*", ".*?") for lazy in ("", "?"))
        matches = (
            re.fullmatch(f"{_pattern(before, star)}([^/]+{lazy}){_pattern(after, star)}", name) for star, lazy in readings
        )
        return {match[1] for match in matches if match}

    @property
    def mark(self) -> str:
        """How a path names the dimension."""
        return f"{{{self.name}}}"


def _pattern(text: str, star: str) -> str:
    """A shell pattern as a regular expression; a star stands for folders too."""
    return "".join({"*": star, "?": "."}.get(character, re.escape(character)) for character in text)


def check_value(value: str) -> str:
    """The value itself when it can be part of a key, of a name in any store and of a label; raises ConfigError."""
    if not _VALUE.fullmatch(value):
        raise ConfigError(
            f"expected a value of letters, digits, dots, dashes and underscores, at most 63 and with a letter or digit at either end, "
            f"found {value!r}"
        )
    return value


def time_part(key: str) -> str:
    """The key of a partition's time."""
    return Key.of(key).time


def value_part(key: str) -> str:
    """A partition's value; empty for a key of time alone."""
    return Key.of(key).value


def with_value(time: str, value: str) -> str:
    """The key of a time and a value, of time alone where that is empty."""
    return str(Key(time, value))


def segment(key: str) -> str:
    """A key as one segment of a store's or a file's name; a key of time alone is its own."""
    return key.replace(_BAR, _JOINT)


def same_value(key: str, keys: Iterable[str]) -> list[str]:
    """Those of some keys that have the value of this one: partitions are held against their like only."""
    value = value_part(key)
    return [other for other in keys if value_part(other) == value] if value else list(keys)


def alike_before(keys: Collection[str], key: str) -> Iterator[str]:
    """Those of some keys that lie before this one and have its value, the last first."""
    value = value_part(key)
    return (other for other in keys_before(keys, key) if not value or value_part(other) == value)


def of_value(value: str, keys: Iterable[str]) -> list[str]:
    """Those of some keys that a partition of a value may read: its own, and all of what has no dimension."""
    return [key for key in keys if value_part(key) in ("", value)] if value else list(keys)


def by_value(keys: Iterable[str]) -> dict[str, list[str]]:
    """Some keys by their value, each list in order of time."""
    groups: dict[str, list[str]] = {}
    for key in sorted(keys):
        groups.setdefault(value_part(key), []).append(key)
    return groups


def entries_alike(key: str, entries: Mapping[str, T]) -> Mapping[str, T]:
    """What is known of the partitions that have the value of this one."""
    return {other: entries[other] for other in same_value(key, entries)} if value_part(key) else entries


def values_of(keys: Collection[str]) -> list[str]:
    """The values that some partitions have, sorted; none for keys of time alone."""
    return sorted({value for key in keys if (value := value_part(key))})
