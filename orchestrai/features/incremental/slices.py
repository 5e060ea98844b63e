"""Files by event time inside a partition, and what of them new rows leave as it is.

A row-level view looks back only, so the features before the earliest new row stay what they are.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from orchestrai.features.feature_table import Written, write_files
from orchestrai.features.incremental.partition_spans import back
from orchestrai.features.plan import Task, reached, recorded
from orchestrai.features.spec import FeatureViewSpec
from orchestrai.features.views.view import FeatureView
from orchestrai.features.views.view_inputs import Inputs, time_bounds
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.manifest import FileEntry

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)


@dataclass(frozen=True)
class Growth:
    """A published partition whose own input only gained files: how often each digest is new, and how far its tail reached."""

    added: Counter[str]
    reach: str | None


@dataclass(frozen=True)
class Mend:
    """The rest of a partition to compute, and the files of it that stay."""

    task: Task
    kept: Sequence[FileEntry]
    reach: str | None


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


def growth(view: FeatureView, task: Task, current: Dataset | None, opened: Inputs, code: str) -> Growth | None:
    """The new files of the partition's own input, where nothing else changed since it was computed; None otherwise.

    A file that was replaced or taken away may have held any row.
    """
    primary = next(iter(view.tables))
    stats = recorded(current, task.key)
    held, before, reach = stats.get("files"), stats.get("inputs"), stats.get("tail_from")
    if slices_of(view) is None or view.tables[primary].event_time != view.time or task.keep is None:
        return None
    if stats.get("code") != code or not isinstance(held, list) or not isinstance(before, dict):
        return None
    needed, asset = reached(task, opened, reach), opened.datasets[primary].asset
    if needed is None or _without(opened.roots(needed), asset, task.key) != _without(before, asset, task.key):
        return None
    now, then = Counter(digests(opened, primary, task.key)), Counter(str(digest) for digest in held)
    return None if then - now else Growth(now - then, reach if isinstance(reach, str) else None)


def mend(
    view: FeatureView, task: Task, grown: Growth, current: Dataset, opened: Inputs, files: Sequence[Path]
) -> Mend | None:
    """What the new rows leave to do, by the times in their verified `files`; None when that is all of the partition."""
    every, primary = slices_of(view), next(iter(view.tables))
    assert every is not None and task.keep is not None
    bounds = time_bounds(files, view.time)
    if bounds is None:
        return None
    cut = bounds[0] - (bounds[0] - _EPOCH) % every
    if cut <= task.keep[0] or cut >= task.keep[1]:
        return None
    since = {**task.since, primary: back(cut, view.lookback.time) or cut}
    partitions = {**task.partitions, primary: opened.needed(primary, since[primary], task.keep[1])}
    entries = [entry for entry in current.files(task.key).files if entry.rows and entry.path < _stem(cut)]
    return Mend(replace(task, since=since, partitions=partitions, keep=(cut, task.keep[1])), entries, grown.reach)


def digests(opened: Inputs, table: str, partition: str) -> list[str]:
    """The SHA-256 of each data file of an input partition, sorted."""
    return sorted(entry.sha256 for entry in opened.datasets[table].files(partition).files if entry.role == "data")


def _without(roots: Mapping[str, object], asset: str, partition: str) -> Mapping[str, object]:
    mine = roots.get(asset)
    return {**roots, asset: {key: root for key, root in mine.items() if key != partition} if isinstance(mine, dict) else {}}


def _stem(start: datetime) -> str:
    return f"part-{start:%Y%m%dT%H%M}"


def _pieces(batch: pa.RecordBatch, time: str, micros: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    import numpy as np

    if not batch.num_rows:
        return
    numbers: NDArray[np.int64] = np.asarray(batch.column(time).cast(pa.int64()).fill_null(0)) // micros
    starts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), batch.num_rows]
    for start, end in pairwise(starts):
        yield int(numbers[start]), batch.slice(start, end - start)
