"""One version of an asset, which hands out bytes only after signature, receipt and root were checked, and those very bytes hashed."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path

from orchestrai.core.time.calendar import Grain, recorded_grain
from orchestrai.core.time.partition_key import of_value
from orchestrai.core.tree.ordered_keys import BEHIND, keys_before
from orchestrai.core.tree.paged_tree import PagedTree
from orchestrai.errors import DigestMismatch, IntegrityError, MissingObject, NotReceipted, ObjectNotFound
from orchestrai.ledger.decisions.recalls import Recalls
from orchestrai.ledger.heads import Head
from orchestrai.ledger.log import Admission, Log
from orchestrai.ledger.manifest import (
    DatasetManifest,
    FileEntry,
    PartitionEntry,
    PartitionManifest,
)
from orchestrai.ledger.receipt import Receipt

# so many partitions are looked up one by one; of more the whole list is read
_FEW = 64


@dataclass(frozen=True, slots=True)
class VerifiedFile:
    """The very bytes that were hashed and found equal to the receipted entry, under a path that opens them and no others.

    The path has no telling name: what a file is called says its entry.
    """

    path: Path
    entry: FileEntry


@dataclass(frozen=True)
class Dataset:
    """One version of an asset, opened through its head."""

    ledger: Log
    head: Head
    manifest: DatasetManifest
    recalls: Recalls = field(default_factory=Recalls)

    @property
    def asset(self) -> str:
        """The asset's key."""
        return self.head.asset

    @property
    def version(self) -> str:
        """`sha256:<hex>`."""
        return self.head.version

    @property
    def partitions(self) -> Mapping[str, PartitionEntry]:
        """The partitions by key."""
        return self.manifest.partitions

    @property
    def rows(self) -> int:
        """Rows in all partitions."""
        return self._sum(2, attrgetter("rows"))

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return self._sum(3, attrgetter("size"))

    def _sum(self, figure: int, of: Callable[[PartitionEntry], int]) -> int:
        """A figure of all partitions; a tree of pages has it at hand."""
        partitions = self.partitions
        return (
            partitions.root.sums[figure]
            if isinstance(partitions, PagedTree) and partitions
            else sum(map(of, partitions.values()))
        )

    def roots(self, partitions: Sequence[str] | None = None) -> dict[str, str]:
        """Partition roots, for an InputRef."""
        if partitions is not None and len(partitions) <= _FEW:
            return {key: self.partitions[key].root for key in partitions}
        roots = {key: entry.root for key, entry in self.partitions.items()}
        return {key: roots[key] for key in (sorted(roots) if partitions is None else partitions)}

    def receipt(self, partition: str) -> Receipt:
        """The receipt that admits a partition; raises NotReceipted unless it covers the root with an open gate, unrecalled.

        In a use of the ledger it has to show what its stage demands, too.
        """
        return self._receipt(partition, self.ledger.admission())

    def standing_receipt(self, partition: str) -> Receipt:
        """The same without what a stage demands: for who judges that."""
        return self._receipt(partition, None)

    def _receipt(self, partition: str, admission: Admission | None) -> Receipt:
        entry = self._entry(partition)
        recall = self.recalls.find(self.asset, partition, entry.root, entry.receipt)
        if recall is not None:
            raise NotReceipted(
                f"expected data that counts in {self.asset}@{partition}, found it recalled on {recall.time[:10]} with "
                f"{recall.target} ({recall.reason or 'no reason given'}): materialize it again from clean inputs",
                asset=self.asset,
                partition=partition,
            )
        receipt = self.ledger.receipt(entry.receipt)
        if receipt.asset != self.asset or receipt.partitions.get(partition) != entry.root:
            raise NotReceipted(
                f"expected a receipt for {self.asset}@{partition} at {entry.root}, found one for "
                f"{receipt.asset} at {receipt.partitions.get(partition)}: materialize the partition again"
            )
        closed = receipt.closed_checks(partition)
        if closed:
            raise NotReceipted(f"expected passing checks for {self.asset}@{partition}, found failed: {', '.join(closed)}")
        if admission is not None:
            admission(self, partition, receipt)
        return receipt

    def files(self, partition: str) -> PartitionManifest:
        """The receipted list of a partition's files; no byte of them is read."""
        return self._files(partition, self.ledger.admission())

    def _files(self, partition: str, admission: Admission | None) -> PartitionManifest:
        entry = self._entry(partition)
        self._receipt(partition, admission)
        manifest = self.ledger.partition(entry.manifest)
        if manifest.root != entry.root or manifest.partition != partition:
            raise IntegrityError(
                f"expected the files of {self.asset}@{partition} to give {entry.root}, found {manifest.root}"
            )
        return manifest

    def of_value(self, value: str) -> "Dataset":
        """The version as partitions of a value see it: those of the value, and all where it has no dimension; itself for no value."""
        entries = {key: self.partitions[key] for key in of_value(value, self.partitions)} if value else self.partitions
        return self if entries is self.partitions else self._with(entries)

    def cut(self) -> Grain | None:
        """How it is cut by time, as its newest partition that can be read notes it; None where the keys tell, or there is none."""
        for key in keys_before(self.partitions, BEHIND):
            try:
                return recorded_grain(self.files(key).stats)
            except IntegrityError:
                continue  # recalled or damaged: whoever opens it is told
        return None

    def roots_unlike(self, other: "Dataset") -> tuple[dict[str, str], dict[str, str]]:
        """The partition roots where two versions differ, of this one and of the other; costs the pages that differ."""
        mine, theirs = self.partitions, other.partitions
        if isinstance(mine, PagedTree) and isinstance(theirs, PagedTree):
            mine, theirs = mine.unlike(theirs)
        own, others = ({key: row.root for key, row in rows.items()} for rows in (mine, theirs))
        return (
            {key: root for key, root in own.items() if others.get(key) != root},
            {key: root for key, root in others.items() if own.get(key) != root},
        )

    @contextmanager
    def fetched(
        self, partitions: Sequence[str], *, role: str | None = "data", only: Collection[str] | None = None
    ) -> Iterator[dict[str, list[VerifiedFile]]]:
        """Verified files of several partitions, for the length of a `with` block; raises MissingObject, DigestMismatch.

        Every byte is read once: into a private copy that nobody can change, which is hashed and handed out. `role=None` fetches
        landed originals too; `only` those with one of these SHA-256. A site's ledger demands full evidence first, whoever asks; raises
        NotReceipted.
        """
        admission = self.ledger.admission(of_bytes=True)
        with ExitStack() as stack:
            files: dict[str, list[VerifiedFile]] = {}
            for key in partitions:
                wanted = [entry for entry in self._files(key, admission).files if role is None or entry.role == role]
                files[key] = [stack.enter_context(self._verified(e)) for e in wanted if only is None or e.sha256 in only]
            yield files

    def admitted(self) -> Iterator[tuple[str, Receipt]]:
        """Each partition's receipt, of which is asked what `fetched` asks, and no file is looked at; raises NotReceipted."""
        admission = self.ledger.admission(of_bytes=True)
        return ((key, self._receipt(key, admission)) for key in self.partitions)

    def of_keys(self, keys: Iterable[str]) -> "Dataset":
        """The version as who is given some of its partitions sees it."""
        return self._with({key: self.partitions[key] for key in keys})

    def without(self, keys: Collection[str]) -> "Dataset":
        """The version as who is given all but some of its partitions sees it."""
        return self._with({key: entry for key, entry in self.partitions.items() if key not in keys})

    def _with(self, entries: Mapping[str, PartitionEntry]) -> "Dataset":
        return replace(self, manifest=replace(self.manifest, partitions=entries))

    def require_whole(self, partition: str) -> None:
        """Hash every byte of a partition, landed originals too; raises MissingObject, DigestMismatch."""
        for entry in self._files(partition, self.ledger.admission(of_bytes=True)).files:
            with self._verified(entry):
                pass

    def _entry(self, partition: str) -> PartitionEntry:
        try:
            return self.partitions[partition]
        except KeyError:
            raise NotReceipted(
                f"expected partition {partition} of {self.asset}, found none published: materialize it first",
                asset=self.asset,
                partition=partition,
            ) from None

    def _verified(self, entry: FileEntry) -> AbstractContextManager[VerifiedFile]:
        return verified(self.ledger, entry, "restore the dataset again")


@contextmanager
def verified(log: Log, entry: FileEntry, remedy: str) -> Iterator[VerifiedFile]:
    """One recorded file, for the length of a `with` block; raises MissingObject, DigestMismatch, either with the remedy.

    The one door to recorded bytes: whoever reads them by another way reads what nobody hashed.
    """
    store = log.store_of(entry)
    with ExitStack() as stack:
        try:
            copy = stack.enter_context(log.sealed.of(store, entry.key, entry.size, packed=entry.packed > 0))
        except ObjectNotFound as exc:
            raise MissingObject(f"expected {entry.key} in {store.url}, found nothing: {remedy}") from exc
        if (copy.sha256, copy.size) != (entry.sha256, entry.size):
            raise DigestMismatch(
                f"expected {entry.key} to be {entry.size} bytes of sha256 {entry.sha256[:12]}, found {copy.size} bytes of "
                f"{copy.sha256[:12]}: {remedy}",
                key=entry.key,
            )
        yield VerifiedFile(copy.path, entry)


def as_recorded(log: Log, files: Sequence[FileEntry]) -> bool:
    """Whether each file is there as recorded: on this disk by its hash, in a store elsewhere by its size.

    What rots elsewhere is found by whoever reads it, and by `orchestrai vault verify`.
    """
    for entry in files:
        store = log.store_of(entry)
        try:
            if store.local_path(entry.key) is None:
                if store.head(entry.key).size != entry.stored_size:
                    return False
            else:
                with verified(log, entry, "make it again"):
                    pass
        except (IntegrityError, MissingObject, ObjectNotFound):
            return False
    return True


def dataset_at(log: Log, head: Head) -> Dataset:
    """The dataset at one head, its manifest checked against the head; raises IntegrityError."""
    manifest = DatasetManifest(head.asset, log.pages(head.asset).tree(head.manifest))
    if manifest.version != head.version:
        raise IntegrityError(f"expected the manifest of {head.asset} at {head.version}, found {manifest.version}")
    return Dataset(log, head, manifest, log.recalls())
