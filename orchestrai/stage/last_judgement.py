"""What the newest receipts of a table say of its staleness: what was stale when it was last published, and by which inputs.

A run notes in its receipt, beside its inputs, the state in which it leaves the table: the code, the versions of all inputs with their
numbers in the log, and the partitions that stay stale. Whoever judges later starts from there and looks only at what changed since. The
note adds nothing to what the partitions' own records say: without it, or where it cannot be held against the log, each of them is read.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from orchestrai.core.canonical import JsonValue
from orchestrai.core.tree.ordered_keys import keys_within
from orchestrai.errors import IntegrityError
from orchestrai.ledger.dataset import Dataset, dataset_at

FACT = "judged"
Ranges = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class InputState:
    """A dataset as it was read: its entry's number in the log, and its version."""

    seq: int
    version: str


@dataclass(frozen=True)
class Judgement:
    """The state in which a run left a table: `after` is the number of the entry that it began at.

    `others` are the partitions that other code made, by that code; `stale` are further ones whose inputs had changed, or that did not
    count. All others came from `code` and `inputs`. Both are ranges over the partitions of that time.
    """

    code: str
    after: int
    inputs: Mapping[str, InputState]
    others: Mapping[str, Ranges] = field(default_factory=dict)
    stale: Ranges = ()

    def as_fact(self) -> dict[str, JsonValue]:
        """The form in a receipt."""
        body: dict[str, JsonValue] = {
            "code": self.code,
            "after": self.after,
            "inputs": {asset: [state.seq, state.version] for asset, state in sorted(self.inputs.items())},
        }
        if self.others:
            body["others"] = {code: [list(pair) for pair in pairs] for code, pairs in sorted(self.others.items())}
        if self.stale:
            body["stale"] = [list(pair) for pair in self.stale]
        return body

    def made_by(self, partition: str) -> str:
        """The code that made a partition."""
        return next((code for code, pairs in self.others.items() if _within(partition, pairs)), self.code)

    def apart(self, there: Collection[str]) -> Iterator[str]:
        """The partitions, of those that are there, that other code made, or whose inputs had changed by then."""
        for first, last in (*self.stale, *chain.from_iterable(self.others.values())):
            yield from keys_within(there, first, last)

    def was_stale(self, partition: str) -> bool:
        """Whether its inputs had changed by then."""
        return _within(partition, self.stale)


@dataclass(frozen=True)
class Since:
    """The newest judgement of a table, if there is one, and the partitions that were published by others since it was made."""

    judgement: Judgement | None
    unread: frozenset[str]


def ranges(some: Iterable[str], of: Iterable[str]) -> list[tuple[str, str]]:
    """Some of a table's partitions as first and last of neighbours."""
    wanted, pairs, open_ = set(some), list[tuple[str, str]](), False
    for key in sorted(of):
        if key in wanted:
            pairs = [*pairs[:-1], (pairs[-1][0], key)] if open_ else [*pairs, (key, key)]
        open_ = key in wanted
    return pairs


def last_judgement(current: Dataset) -> Since:
    """The newest judgement in a table's log: from the newest entry back to the first whose receipt carries one.

    Costs one entry and one receipt for each publication without a judgement, such as a rollback.
    """
    log, head, unread = current.ledger, current.head, set[str]()
    while True:
        receipt = log.receipt(head.receipt)
        judgement = _read(receipt.facts.get(FACT))
        if judgement is not None and receipt.session == head.session and judgement.after < head.seq:
            # what others published while that run was at work, it did not look at
            for seq in range(judgement.after + 1, head.seq):
                unread.update(log.numbered(current.asset, seq).changed)
            return Since(judgement, frozenset(unread))
        unread.update(head.changed)
        if head.seq <= 1 or unread >= current.partitions.keys():
            return Since(None, frozenset(current.partitions))
        head = log.numbered(current.asset, head.seq - 1)


def changed_since(state: InputState | None, now: Dataset) -> tuple[Mapping[str, str], Mapping[str, str]] | None:
    """An input's partition roots where they differ, then and now; None where the state cannot be held against the log."""
    if state is None or state.seq > now.head.seq:
        return None
    if (state.seq, state.version) == (now.head.seq, now.version):
        return {}, {}
    try:
        head = now.ledger.numbered(now.asset, state.seq)
        if head.version != state.version:
            return None  # the log was made anew since
        return dataset_at(now.ledger, head).roots_unlike(now)
    except IntegrityError:
        return None


def _read(fact: JsonValue) -> Judgement | None:
    if not isinstance(fact, dict):
        return None
    inputs, others, after = fact.get("inputs"), fact.get("others", {}), fact.get("after")
    if not isinstance(inputs, dict) or not isinstance(others, dict) or not isinstance(after, int):
        return None
    states = {asset: InputState(int(str(pair[0])), str(pair[1])) for asset, pair in inputs.items() if isinstance(pair, list)}
    return Judgement(
        str(fact.get("code", "")),
        after,
        states,
        {code: _pairs(pairs) for code, pairs in others.items()},
        _pairs(fact.get("stale")),
    )


def _pairs(body: JsonValue) -> list[tuple[str, str]]:
    return [(str(pair[0]), str(pair[1])) for pair in body if isinstance(pair, list)] if isinstance(body, list) else []


def _within(partition: str, pairs: Ranges) -> bool:
    place = bisect_right(pairs, partition, key=lambda pair: pair[0]) - 1
    return place >= 0 and partition <= pairs[place][1]
