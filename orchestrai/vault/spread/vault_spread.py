"""What the vault does on executors, and when: the lists are made, signed and committed here, the bytes never come by.

A batch of partitions is one job. What fails there is raised here as it would have been raised by this process, before anything is
committed; then no snapshot names what was written, and a prune takes it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from orchestrai.core.progress import Progress
from orchestrai.storage.base import Store
from orchestrai.storage.spread.executors import Executors, spread_over
from orchestrai.vault.commit.source import SourceFile
from orchestrai.vault.commit.writer import Put
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.spread import check_tasks, content_tasks, copy_tasks
from orchestrai.vault.spread.content_tasks import Piece
from orchestrai.vault.spread.vault_address import VaultAddress, store_address
from orchestrai.vault.vault_store import OpenedVault
from orchestrai.vault.verify.content_check import Looked

if TYPE_CHECKING:
    from orchestrai.vault.commit.contents import StoringSession, Wanted

# what one job does: the lists of so much are in memory at once
BATCH_BYTES = 64 * 1024**3


@dataclass(frozen=True)
class VaultSpread:
    """Executors for a vault in `store`, for work of at least so many bytes; `threshold` 0 is for all that there is.

    A local file is theirs to read only where it lies in the `lake`: a dump or a folder of this machine is stored by this process.
    """

    executors: Executors
    store: Store
    threshold: int = 0
    lake: Store | None = None

    def takes_bytes(self, size: int) -> bool:
        """Whether work on so many bytes is done there: never where the store is this process's alone, or bound by its limits."""
        return size >= max(1, self.threshold) and bool(store_address(self.store))

    # -- storing ---------------------------------------------------------------------------------------------------

    def takes_contents(self, contents: Mapping[str, Sequence[SourceFile]]) -> bool:
        """Whether these are stored there: where they are many bytes, and lie where an executor finds them by itself."""
        sources = [source for files in contents.values() for source in files]
        if not self.takes_bytes(sum(source.size for source in sources)):
            return False
        lies = self.lake.local_path("any") if self.lake is not None and store_address(self.lake) else None
        folders = [lies.parent] if lies is not None else []
        return all(content_tasks.can_be_sent(source, folders) for source in sources)

    def batches(self, contents: Mapping[str, Sequence[SourceFile]]) -> Iterator[Mapping[str, Sequence[SourceFile]]]:
        """Partitions that are stored in one job."""
        batch: dict[str, Sequence[SourceFile]] = {}
        size = 0
        for partition, sources in contents.items():
            bytes_of = sum(source.size for source in sources)
            if batch and size + bytes_of > BATCH_BYTES:
                yield batch
                batch, size = {}, 0
            batch[partition] = sources
            size += bytes_of
        if batch:
            yield batch

    def put_contents(self, session: "StoringSession", batch: Sequence["Wanted"]) -> list[list[StoredFile]]:
        """Store what is missing of some partitions; the stored files of each, in the order in which they are missing.

        Under the names, and in a plain vault with the bytes, that this process would have given them; but a chunk that first comes up in
        another file of the same job is stored again.
        """
        pieces = [
            Piece(place, part, one.known) for place, one in enumerate(batch) for part in session.writer.parts(one.fresh)
        ]
        tasks = list(content_tasks.in_tasks(pieces))
        address = VaultAddress.of(session.vault).as_json()
        self._tell(session.progress, "store", 0, len(tasks))
        answers = spread_over(
            self.executors,
            content_tasks.store,
            [content_tasks.task_of(address, session.id, task, session.others) for task in tasks],
        )
        self._tell(session.progress, "store", len(tasks), len(tasks))
        counts = Counter(piece.place for piece in pieces)
        puts = (put for answer in answers for put in content_tasks.put_of(answer))
        return [self._stored(session, one, list(islice(puts, counts[place]))) for place, one in enumerate(batch)]

    def _stored(self, session: "StoringSession", one: "Wanted", puts: Sequence[Put]) -> list[StoredFile]:
        session.stored_bytes[one.partition] = sum(put.new for put in puts)
        by_path = {file.path: file for put in puts for file in put.files}
        return [by_path[source.path] for source in one.fresh]

    # -- reading ---------------------------------------------------------------------------------------------------

    def looked_at(
        self, vault: OpenedVault, groups: Sequence[Sequence[StoredFile]], progress: Progress | None
    ) -> list[Looked]:
        """Read groups of files back; what came of each, in their order."""
        tasks = list(check_tasks.in_tasks(groups))
        address = VaultAddress.of(vault).as_json()
        self._tell(progress, "read back", 0, len(tasks))
        answers = spread_over(
            self.executors,
            check_tasks.check,
            [check_tasks.task_of(address, [groups[number] for number in task]) for task in tasks],
        )
        self._tell(progress, "read back", len(tasks), len(tasks))
        looked = {
            number: one
            for task, answer in zip(tasks, answers, strict=True)
            for number, one in zip(task, check_tasks.looked_of(answer), strict=True)
        }
        return [looked[number] for number in range(len(groups))]

    def takes_copies(self, size: int, target: Store) -> bool:
        """Whether so many bytes are copied to a store there."""
        return self.takes_bytes(size) and bool(store_address(target))

    def copy_out(
        self, vault: OpenedVault, target: Store, files: Sequence[tuple[StoredFile, str]], progress: Progress | None
    ) -> list[int]:
        """Copy files to a store under keys, every hash checked on the way; how long each lies there compressed, 0 where it does not.

        Raises MissingObject, DigestMismatch.
        """
        kept = [file for file, _ in files]
        tasks = list(copy_tasks.in_tasks(kept))
        address, url = VaultAddress.of(vault).as_json(), store_address(target)
        self._tell(progress, "restore", 0, len(tasks))
        answers = spread_over(
            self.executors,
            copy_tasks.copy,
            [copy_tasks.task_of(address, url, [kept[n] for n in task], [files[n][1] for n in task]) for task in tasks],
        )
        self._tell(progress, "restore", len(tasks), len(tasks))
        lies = {
            number: length
            for task, answer in zip(tasks, answers, strict=True)
            for number, length in zip(task, answer["lies"], strict=True)
        }
        return [lies[number] for number in range(len(files))]

    def _tell(self, progress: Progress | None, what: str, done: int, total: int) -> None:
        if progress is not None:
            progress(f"{what} on {self.executors.name}", done, total)
