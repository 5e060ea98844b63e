"""Files by event time inside a partition, and what of them new rows leave as it is.

A row-level view looks back only, so the features before the earliest new row stay what they are.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from orchestrai.features.inputs import Inputs, time_bounds
from orchestrai.features.plan import Task, reached, recorded
from orchestrai.features.spans import back
from orchestrai.features.spec import FeatureViewSpec
from orchestrai.features.table import Written, write_files
from orchestrai.features.view import FeatureView
from orchestrai.ledger.ledger import Dataset
from orchestrai.ledger.manifest import FileEntry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)


@dataclass(frozen=True)
class Mend:
    """The rest of a partition to compute, and the files of it that stay."""

    task: Task
    kept: Sequence[FileEntry]


def slices_of(view: FeatureView) -> timedelta | None:
    """The declared `files_every`."""
    return view.spec.files_every if isinstance(view.spec, FeatureViewSpec) else None


def write_slices(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, folder: Path, *, time: str, every: timedelta
) -> list[Written]:
    """Write batches sorted by slice as part-20260131T1305-00000.parquet and so on; one empty file without rows."""
    pieces = (piece for batch in batches for piece in _pieces(batch, time, every // _MICRO))
    written: list[Written] = []
    for number, group in groupby(pieces, key=lambda piece: piece[0]):
        written += write_files((batch for _, batch in group), schema, folder, _stem(_EPOCH + number * every))
    return written or write_files([], schema, folder)


def mend(view: FeatureView, task: Task, current: Dataset | None, opened: Inputs, code: str) -> Mend | None:
    """What new files in the partition's own input leave to do; None when all of it must be computed.

    Files may only have been added: a file that was replaced or taken away may have held any row.
    """
    every, primary = slices_of(view), next(iter(view.tables))
    table, dataset = view.tables[primary], opened.datasets[primary]
    stats = recorded(current, task.key)
    held = stats.get("files")
    if every is None or current is None or task.keep is None or stats.get("code") != code or not isinstance(held, list):
        return None
    needed = reached(task, opened, stats.get("tail_from"))
    if table.event_time != view.time or needed is None or task.key not in needed[primary]:
        return None
    now, before = opened.roots(needed), stats.get("inputs")
    if not isinstance(before, dict) or _without(now, dataset.asset, task.key) != _without(before, dataset.asset, task.key):
        return None
    added = Counter(digests(opened, primary, task.key))
    gone = Counter(str(digest) for digest in held)
    if gone - added:
        return None
    added -= gone
    with opened.fetched({primary: [task.key]}) as files:
        entries = [entry for entry in dataset.files(task.key).files if entry.role == "data"]
        paths = [path for path, entry in zip(files[primary][task.key], entries, strict=True) if added[entry.sha256]]
        bounds = time_bounds(paths, view.time)
    if bounds is None:
        return None
    cut = bounds[0] - (bounds[0] - _EPOCH) % every
    if cut <= task.keep[0] or cut >= task.keep[1]:
        return None
    since = {**task.since, primary: back(cut, view.lookback.time) or cut}
    partitions = {**task.partitions, primary: opened.needed(primary, since[primary], task.keep[1])}
    kept = [entry for entry in current.files(task.key).files if entry.rows and entry.path < _stem(cut)]
    return Mend(replace(task, since=since, partitions=partitions, keep=(cut, task.keep[1])), kept)


def digests(opened: Inputs, table: str, partition: str) -> list[str]:
    """The SHA-256 of each data file of an input partition, sorted."""
    return sorted(entry.sha256 for entry in opened.datasets[table].files(partition).files if entry.role == "data")


def _without(roots: dict[str, dict[str, str]], asset: str, partition: str) -> dict[str, dict[str, str]]:
    return {name: {key: root for key, root in part.items() if (name, key) != (asset, partition)} for name, part in roots.items()}


def _stem(start: datetime) -> str:
    return f"part-{start:%Y%m%dT%H%M}"


def _pieces(batch: pa.RecordBatch, time: str, micros: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    import numpy as np

    if not batch.num_rows:
        return
    numbers: NDArray[np.int64] = np.asarray(batch.column(time).cast(pa.int64()).fill_null(0)) // micros
    starts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), batch.num_rows]
    for start, end in zip(starts, starts[1:], strict=False):
        yield int(numbers[start]), batch.slice(start, end - start)
