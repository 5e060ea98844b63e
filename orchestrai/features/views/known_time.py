"""What of an input had come before a moment: the second clock of sources that do not say when a row became known.

The times are those the vault has noted with the data, so that a rebuild sees what the first computation saw.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrai.core.time.partition_key import segment
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.manifest import FileEntry, arrivals_of


def came_first(dataset: Dataset, partition: str) -> datetime | None:
    """When the first rows of a partition came; None without rows. Raises IntegrityError where it was not noted."""
    manifest = dataset.files(partition)
    return min((moment for entry in _data(dataset, partition) for _, moment in arrivals_of(manifest, entry)), default=None)


def known_files(dataset: Dataset, partition: str, files: Sequence[Path], before: datetime, folder: Path) -> list[Path]:
    """The verified data files of a partition with only the rows that came before a moment.

    A file with rows of both kinds is cut, its copy goes to `folder`. Raises IntegrityError where arrivals were not noted.
    """
    manifest = dataset.files(partition)
    paths = []
    for path, entry in zip(files, _data(dataset, partition), strict=True):
        runs = arrivals_of(manifest, entry)
        if all(moment < before for _, moment in runs):
            paths.append(path)
        elif any(moment < before for _, moment in runs):
            folder.mkdir(parents=True, exist_ok=True)
            cut = folder / f"{segment(partition)}-{path.name}"
            _cut(path, [(rows, moment < before) for rows, moment in runs], cut)
            paths.append(cut)
    return paths


def _data(dataset: Dataset, partition: str) -> list[FileEntry]:
    return [entry for entry in dataset.files(partition).files if entry.role == "data"]


def _cut(path: Path, runs: Sequence[tuple[int, bool]], target: Path) -> None:
    """Write the rows of the runs that stay, in their order."""
    file = pq.ParquetFile(path)
    left = list(reversed(runs))
    with pq.ParquetWriter(target, file.schema_arrow) as writer:
        for batch in file.iter_batches():
            pieces = []
            start = 0
            while start < batch.num_rows:
                rows, stays = left.pop()
                taken = min(rows, batch.num_rows - start)
                if stays:
                    pieces.append(batch.slice(start, taken))
                start += taken
                if rows > taken:
                    left.append((rows - taken, stays))
            if pieces:
                writer.write_table(pa.Table.from_batches(pieces, file.schema_arrow))
