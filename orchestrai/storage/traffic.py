"""What this process asked of stores: calls and bytes by the kind of store, counted where they happen."""

import threading
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Traffic:
    """Calls and bytes of one kind of store; a look-up counts as a read, a page of a listing as a list."""

    reads: int = 0
    writes: int = 0
    lists: int = 0
    bytes_read: int = 0
    bytes_written: int = 0

    def plus(self, other: "Traffic", sign: int = 1) -> "Traffic":
        """The sum of both, or with `sign` -1 what this has more."""
        return Traffic(*(getattr(self, f.name) + sign * getattr(other, f.name) for f in fields(self)))

    def as_json(self) -> dict[str, int]:
        """By name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


_LOCK = threading.Lock()
_TALLY: dict[str, list[int]] = {}


def count(kind: str, reads: int = 0, writes: int = 0, lists: int = 0, came: int = 0, went: int = 0) -> None:
    """Note calls and bytes (`came` in, `went` out) of a kind of store, such as `file` or `s3`."""
    with _LOCK:
        row = _TALLY.setdefault(kind, [0, 0, 0, 0, 0])
        row[0] += reads
        row[1] += writes
        row[2] += lists
        row[3] += came
        row[4] += went


def counted() -> dict[str, Traffic]:
    """All that this process has asked so far, by kind of store; threads of it together."""
    with _LOCK:
        return {kind: Traffic(*row) for kind, row in _TALLY.items()}


def since(before: dict[str, Traffic]) -> dict[str, Traffic]:
    """What was asked since an earlier count."""
    after = {kind: traffic.plus(before.get(kind, Traffic()), -1) for kind, traffic in counted().items()}
    return {kind: traffic for kind, traffic in after.items() if traffic != Traffic()}
