"""What a chain says of itself where a record is its end."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from orchestrai.vault.format.records import NEVER, ChainNote, ChainRecord

EMPTY = -1
# the number under which a whole dataset is held
WHOLE_DATASET = 0


class Head(NamedTuple):
    """The end of a chain: its newest record, and the newest fence and hold note up to it (0 where there is none)."""

    seq: int = EMPTY
    digest: str = ""
    time: datetime = NEVER
    fence: int = 0
    holds: int = 0


def state_of(record: ChainRecord) -> Head:
    """What a chain says of itself where a record is its end."""
    kind = record.kind if isinstance(record, ChainNote) else ""
    fence, holds = (
        record.seq if kind == name else pointer for name, pointer in (("fence", record.fence), ("hold", record.holds))
    )
    return Head(record.seq, record.digest, record.committed, fence, holds)


def ranges(numbers: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Numbers as ranges, ascending."""
    spans: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if spans and spans[-1][1] == number - 1:
            spans[-1] = (spans[-1][0], number)
        else:
            spans.append((number, number))
    return tuple(spans)
