"""A table brought to the versions of its source: each that it lacks as a snapshot, and those taken out that may not stay.

The table itself says which version it holds, so a run that died anywhere leaves nothing to mend: the next one goes on from there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from orchestrai.errors import ConcurrentCommit, IntegrityError, NotReceipted
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.warehouse.tables.shared_table import Gone, SharedTable, Snapshot
from orchestrai.warehouse.tables.table_version import TableVersion, change_to, recalled_of

# another writer commits what this one would: after it there is little left to do
ATTEMPTS = 20
# of a table that lags further behind the oldest versions are passed over
MOST_VERSIONS = 100

Kept = Callable[[Mapping[int, datetime]], set[int]]


@dataclass(frozen=True)
class Followed:
    """What a run did to a table: the version that it holds, its rows, how many snapshots came and went, how many versions got none."""

    version: TableVersion
    rows: int
    committed: int = 0
    expired: int = 0
    passed_over: int = 0


def follow(ledger: Ledger, source: str, table: SharedTable, kept: Kept) -> Followed:
    """Bring a table to the current version of its source, with a snapshot for each version since the one that it holds.

    A new table begins with the current version. Partitions that are recalled are left out, and no snapshot that names one stays; neither
    does one that `kept` lets go. Idempotent; of several at once one commits each version and the others go on after it. Raises
    NotReceipted, IntegrityError, ConfigError, StorageError, ConcurrentCommit.
    """
    done = Followed(TableVersion.of(ledger.open(source)), 0)
    for attempt in range(ATTEMPTS):
        run = _Run(ledger, source, table, kept)
        try:
            run.go()
        except ConcurrentCommit:
            if attempt + 1 == ATTEMPTS:
                raise
            done = run.added_to(done)
            ledger.forget()
            continue
        return run.added_to(done)
    raise AssertionError("unreachable")


class _Run:
    """One attempt."""

    def __init__(self, ledger: Ledger, source: str, table: SharedTable, kept: Kept) -> None:
        self.ledger, self.source, self.table, self.kept = ledger, source, table, kept
        self.committed = self.expired = self.passed_over = 0
        self.current = ledger.open(source)

    def added_to(self, before: Followed) -> Followed:
        """What was done with what an attempt before did."""
        version = TableVersion.of(self.current)
        left_out = sum(self.current.partitions[key].rows for key in version.left_out)
        return Followed(
            version,
            self.current.rows - left_out,
            before.committed + self.committed,
            before.expired + self.expired,
            max(before.passed_over, self.passed_over),
        )

    def go(self) -> None:
        snapshots = self.table.open()
        held = snapshots[-1].version if snapshots else None
        for dataset in self._due(held):
            held = self._commit(dataset, held)
        self._expire(self.table.history())

    def _due(self, held: TableVersion | None) -> Sequence[Dataset]:
        """The versions that the table lacks, oldest first; the current one also where only what counts of it is another."""
        if TableVersion.of(self.current).same_content(held):
            return []
        last = self.current.head.seq
        if held is None or held.number >= last:
            return [self.current]
        first = max(held.number + 1, last - MOST_VERSIONS + 1)
        self.passed_over = first - held.number - 1
        between = [self.ledger.numbered(self.source, number) for number in range(first, last)]
        # of an entry that does not count the one before it stands
        heads = {head.seq: head for head in between if held.number < head.seq < last}
        return [*(self.ledger.dataset(heads[number]) for number in sorted(heads)), self.current]

    def _commit(self, dataset: Dataset, held: TableVersion | None) -> TableVersion | None:
        wanted = TableVersion.of(dataset)
        if wanted.same_content(held):
            return held
        try:
            change = change_to(self.ledger, dataset, held, self._held(held))
        except NotReceipted:
            # an older version may lack today's evidence: the table goes on with the next one that has it
            if dataset is self.current:
                raise
            self.passed_over += 1
            return held
        rows = self.table.commit(change)
        self.committed += 1
        if rows != change.rows:
            raise IntegrityError(
                f"expected {change.rows} rows of {self.source} in {self.table.shown}, found {rows} after the commit: drop the table and "
                "run it again"
            )
        return wanted

    def _held(self, held: TableVersion | None) -> Dataset | None:
        """The version that the table holds; None where the ledger knows it not, so that all of the table is compared."""
        if held is None:
            return None
        try:
            head = self.ledger.numbered(self.source, held.number)
        except IntegrityError:
            return None
        return self.ledger.dataset(head) if head.digest == held.digest else None

    def _expire(self, snapshots: Sequence[Snapshot]) -> None:
        """All but the current one, which was made of what counts."""
        older = [(one.number, one.version) for one in snapshots[:-1] if one.version is not None]
        recalled = frozenset(number for number, version in older if self._names_recalled(version))
        newest = snapshots[-1].version
        times = {version.number: version.published for _, version in older}
        if newest is not None:
            times[newest.number] = newest.published
        kept = self.kept(times)
        unkept = frozenset(number for number, version in older if version.number not in kept) - recalled
        gone = Gone(recalled, unkept)
        if gone:
            self.expired += self.table.expire(gone)

    def _names_recalled(self, version: TableVersion) -> bool:
        if not self.current.recalls.records:
            return False
        dataset = self._held(version)
        return dataset is not None and bool(recalled_of(dataset, dataset.recalls) - version.left_out)
