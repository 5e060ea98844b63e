"""Statistics of feature files, and how far they drifted from those a model was trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrai.contracts.population_stability import population_stability_index
from orchestrai.core.canonical import JsonValue

if TYPE_CHECKING:
    import numpy as np

BINS = 10
MAX_CATEGORIES = 20


@dataclass(frozen=True)
class ColumnStats:
    """A column's nulls, range, mean, and the shares of its values by bin: deciles of numbers, or the commonest values."""

    rows: int
    nulls: int
    low: JsonValue = None
    high: JsonValue = None
    mean: float | None = None
    edges: Sequence[float] = ()
    shares: Sequence[float] = ()
    categories: Mapping[str, float] = field(default_factory=dict)

    @property
    def null_rate(self) -> float:
        """Nulls over rows; 0 for no rows."""
        return self.nulls / self.rows if self.rows else 0.0

    def as_json(self) -> dict[str, JsonValue]:
        """The form for metadata and receipts."""
        return {
            "rows": self.rows, "nulls": self.nulls, "null_rate": round(self.null_rate, 6), "low": self.low, "high": self.high,
            "mean": self.mean, "edges": list(self.edges), "shares": list(self.shares), "categories": dict(self.categories),
        }  # fmt: skip


FeatureStats = Mapping[str, ColumnStats]


@dataclass(frozen=True)
class Drift:
    """How far one feature moved: population stability index (0.1 slight, 0.25 large) and Kolmogorov-Smirnov distance."""

    column: str
    psi: float
    ks: float | None = None


def feature_stats(path: Path | Sequence[Path], columns: Sequence[str] | None = None) -> dict[str, ColumnStats]:
    """Statistics by column of a Parquet file, a folder of them, or several, one column in memory at a time."""
    files = _files(path)
    names = columns if columns is not None else pq.read_schema(files[0]).names
    return {name: _column_stats(_read(files, name)) for name in names}


def drift(
    reference: Path | Sequence[Path], current: Path | Sequence[Path], columns: Sequence[str] | None = None
) -> list[Drift]:
    """PSI and KS of `current` against `reference` (a champion's training set), by shared column; worst first."""
    ours, theirs = _files(reference), _files(current)
    shared = [name for name in pq.read_schema(ours[0]).names if name in pq.read_schema(theirs[0]).names]
    drifts = []
    for name in columns if columns is not None else shared:
        before, after = _read(ours, name), _read(theirs, name)
        was = _column_stats(before)
        psi = _psi(was, after)
        drifts.append(Drift(name, psi, _ks(_numbers(before), _numbers(after)) if _numeric(before.type) else None))
    return sorted(drifts, key=lambda item: (-item.psi, item.column))


def numbers_of(files: Sequence[Path], name: str) -> "np.ndarray[Any, Any]":
    """The values of a numeric column, nulls left out."""
    return _numbers(_read(files, name))


def _files(path: Path | Sequence[Path]) -> list[Path]:
    if isinstance(path, Path):
        return sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    return list(path)


def _read(files: Sequence[Path], name: str) -> pa.ChunkedArray:
    return pa.chunked_array([chunk for file in files for chunk in pq.read_table(file, columns=[name]).column(0).chunks])


def _numeric(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind) or pa.types.is_decimal(kind)
    )


def _numbers(values: pa.ChunkedArray) -> "np.ndarray[Any, Any]":
    import numpy as np

    non_null = values.drop_null()
    return np.asarray(pc.cast(non_null, pa.float64()) if len(non_null) else [], dtype=float)


def _column_stats(values: pa.ChunkedArray) -> ColumnStats:
    import numpy as np

    rows, nulls = len(values), values.null_count
    if _numeric(values.type):
        numbers = _numbers(values)
        if not len(numbers):
            return ColumnStats(rows, nulls)
        edges = np.unique(np.quantile(numbers, np.linspace(0, 1, BINS + 1)))
        return ColumnStats(
            rows, nulls, float(numbers.min()), float(numbers.max()), float(numbers.mean()),
            edges=[float(edge) for edge in edges], shares=_shares(numbers, edges),
        )  # fmt: skip
    bounds = pc.min_max(values)
    low, high = (None if bounds[side].as_py() is None else str(bounds[side].as_py()) for side in ("min", "max"))
    if not pa.types.is_string(values.type):
        return ColumnStats(rows, nulls, low, high)
    counts = pc.value_counts(values.drop_null()).to_pylist() if rows > nulls else []
    commonest = sorted(counts, key=lambda item: (-item["counts"], item["values"]))[:MAX_CATEGORIES]
    return ColumnStats(rows, nulls, low, high, categories={item["values"]: item["counts"] / rows for item in commonest})


def _shares(numbers: "np.ndarray[Any, Any]", edges: "np.ndarray[Any, Any]") -> list[float]:
    import numpy as np

    counts = np.bincount(np.searchsorted(edges[1:-1], numbers, side="right"), minlength=max(1, len(edges) - 1))
    return [float(count) / len(numbers) for count in counts]


def _psi(was: ColumnStats, after: pa.ChunkedArray) -> float:
    """PSI over the reference's deciles or commonest values, nulls a bin of their own."""
    import numpy as np

    rows = len(after)
    if not rows or not was.rows:
        return 0.0
    if was.edges:
        numbers = _numbers(after)
        now = _shares(numbers, np.asarray(was.edges)) if len(numbers) else [0.0] * len(was.shares)
        before, current = list(was.shares), now
    else:
        counts = {item["values"]: item["counts"] / rows for item in pc.value_counts(after.drop_null()).to_pylist()}
        before = list(was.categories.values())
        current = [counts.get(name, 0.0) for name in was.categories]
    filled, present = 1 - was.null_rate, 1 - after.null_count / rows
    scale = (filled, present) if was.edges else (1.0, 1.0)
    return population_stability_index(
        [*(share * scale[0] for share in before), was.null_rate],
        [*(share * scale[1] for share in current), after.null_count / rows],
    )


def _ks(before: "np.ndarray[Any, Any]", after: "np.ndarray[Any, Any]") -> float | None:
    """The largest distance between the two empirical distributions."""
    import numpy as np

    if not len(before) or not len(after):
        return None
    points = np.sort(np.concatenate([before, after]))
    p = np.searchsorted(np.sort(before), points, side="right") / len(before)
    q = np.searchsorted(np.sort(after), points, side="right") / len(after)
    return float(np.max(np.abs(p - q)))
