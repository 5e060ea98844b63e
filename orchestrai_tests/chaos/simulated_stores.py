"""Stores of a simulated day: at one clock, down or forgetful for a while, and a process that dies in the midst of what it asks of them."""

import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

from orchestrai.errors import TransientStorageError
from orchestrai.storage.base import ObjectInfo
from orchestrai.storage.memory import MemoryStore
from orchestrai_tests.storage.faults import Died

T = TypeVar("T")
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Fate:
    """How the process that works dies: in the `at`-th call of a store from now (0 for never), of those that write below `where`.

    A torn write leaves half of the bytes, as a store without atomic writes does.
    """

    at: int = 0
    how: Literal["before", "after", "torn"] = "before"
    where: str = ""
    dead: bool = False

    def meets(self, operation: str, key: str) -> bool:
        """Whether this call is the one."""
        if self.dead:
            raise Died
        if not self.at or (self.where and not (operation == "write" and key.startswith(self.where))):
            return False
        self.at -= 1
        return self.at == 0

    def die(self) -> None:
        """Nobody is left to clean up."""
        self.dead = True
        raise Died


@dataclass
class SimulatedStore(MemoryStore):
    """A store that answers 503 until `down_until`, and until `forgets_until` loses every third answer after it did what was asked."""

    fate: Fate = field(default_factory=Fate)
    chance: random.Random = field(default_factory=random.Random)
    down_until: datetime = LONG_AGO
    forgets_until: datetime = LONG_AGO
    refused: int = 0
    _ordered: "list[str]" = field(default_factory=list, repr=False)

    def _ask(self, operation: str, key: str, call: Callable[[], T], torn: Callable[[], T] | None = None) -> T:
        dies = self.fate.meets(operation, key)
        if dies and self.fate.how == "before":
            self.fate.die()
        if self.clock() < self.down_until:
            self._refuse(operation)
        answer = torn() if torn is not None and dies and self.fate.how == "torn" else call()
        if dies:
            self.fate.die()
        if self.clock() < self.forgets_until and self.chance.random() < 1 / 3:
            self._refuse(operation)
        return answer

    def _refuse(self, operation: str) -> None:
        self.refused += 1
        raise TransientStorageError(
            f"expected {self.url} to answer a {operation}, found 503: try again later", store=self.url
        )

    def head(self, key: str, *, version: str | None = None) -> ObjectInfo:
        return self._ask("head", key, lambda: MemoryStore.head(self, key, version=version))

    def read(
        self,
        key: str,
        *,
        version: str | None = None,
        if_match: str | None = None,
        start: int = 0,
        length: int | None = None,
    ) -> bytes:
        return self._ask(
            "read",
            key,
            lambda: MemoryStore.read(self, key, version=version, if_match=if_match, start=start, length=length),
        )

    def stream(self, key: str, *, version: str | None = None, if_match: str | None = None) -> Iterator[bytes]:
        return self._ask("stream", key, lambda: MemoryStore.stream(self, key, version=version, if_match=if_match))

    def write(self, key: str, data: bytes | Iterable[bytes], *, create: bool = False) -> ObjectInfo:
        whole = data if isinstance(data, bytes) else b"".join(data)

        def put(part: bytes) -> ObjectInfo:
            return MemoryStore.write(self, key, part, create=create)

        return self._ask("write", key, lambda: put(whole), lambda: put(whole[: len(whole) // 2]))

    def write_file(self, key: str, path: Path, *, create: bool = False) -> ObjectInfo:
        return self.write(key, path.read_bytes(), create=create)

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        return iter(self._ask("list", prefix, lambda: self._listed(prefix, start_after)))

    def _listed(self, prefix: str, start_after: str | None) -> tuple[ObjectInfo, ...]:
        # thousands of listings a day: the keys, which are ASCII here, are held in order
        if len(self._ordered) != len(self._objects):
            self._ordered = sorted(self._objects)
        begin = bisect_left(self._ordered, prefix)
        if start_after is not None:
            begin = max(begin, bisect_right(self._ordered, start_after))
        found = []
        for key in islice(self._ordered, begin, None):
            if not key.startswith(prefix):
                break
            found.append(self._objects[key][0])
        return tuple(found)

    def delete(self, key: str, *, version: str | None = None) -> None:
        def gone() -> None:
            MemoryStore.delete(self, key, version=version)
            self._ordered.clear()

        self._ask("delete", key, gone)

    def put(self, key: str, data: bytes) -> None:
        """An object of a producer, whatever befalls those who read."""
        MemoryStore.write(self, key, data)
