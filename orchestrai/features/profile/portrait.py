"""A feature table looked at as a person would: null rates, ranges, drift from a reference, and pictures of what moved."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from orchestrai.core.picture import png
from orchestrai.core.verdict import Verdict
from orchestrai.features.profile.statistics import ColumnStats, Drift, drift, feature_stats, numbers_of

if TYPE_CHECKING:
    import numpy as np

MOST_PICTURES = 6


@dataclass(frozen=True)
class Portrait:
    """What features look like: statistics and drift by column, the verdict on drift, and plots (PNG) by name."""

    rows: int
    columns: dict[str, ColumnStats]
    drifts: Sequence[Drift]
    verdict: Verdict
    plots: dict[str, bytes]

    def as_markdown(self) -> str:
        """One line per feature, those that moved most first."""
        moved = {item.column: item for item in self.drifts}
        order = [*moved, *(name for name in self.columns if name not in moved)]
        lines = ["| feature | nulls | low | high | PSI | KS |", "|---|---|---|---|---|---|"]
        for name in order:
            stats, item = self.columns[name], moved.get(name)
            psi, ks = ("", "") if item is None else (f"{item.psi:.3f}", "" if item.ks is None else f"{item.ks:.3f}")
            lines.append(f"| {name} | {stats.null_rate:.1%} | {_short(stats.low)} | {_short(stats.high)} | {psi} | {ks} |")
        return "\n".join(lines)


def portrait(files: Sequence[Path], reference: Sequence[Path], columns: Sequence[str], most: float, since: str) -> Portrait:
    """Look at `columns` of feature files beside a reference (none: nothing drifted); equal files give equal bytes.

    The verdict `drift` is a warning where some PSI is above `most`. `since` names the reference.
    """
    stats = feature_stats(files, columns)
    known = set(pq.read_schema(reference[0]).names) if reference else set()
    shared = [name for name in columns if name in known]
    drifts = drift(reference, files, shared) if shared else []
    moved = [item for item in drifts if item.psi > most]
    named = ", ".join(f"{item.column} {item.psi:.2f}" for item in moved[:8])
    message = f"expected a PSI of at most {most} since {since}, found {named}: retrain, or look for a change at the source"
    verdict = Verdict(
        "drift",
        not moved,
        message if moved else f"no feature moved since {since}" if drifts else since,
        severity="warn",
        details={item.column: round(item.psi, 4) for item in drifts},
    )
    shown = [item.column for item in drifts] or list(columns)
    numeric = [name for name in shown if stats[name].edges][:MOST_PICTURES]
    plots = {"distributions": _png(lambda figure: _distributions(figure, files, reference, numeric))} if numeric else {}
    plots["null_rates"] = _png(lambda figure: _null_rates(figure, stats))
    return Portrait(next((item.rows for item in stats.values()), 0), stats, drifts, verdict, plots)


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else "" if value is None else str(value)[:24]


def _png(paint: Callable[[Any], None]) -> bytes:
    return png(paint, (6.4, 4.0), 80)


def _distributions(figure: Any, files: Sequence[Path], reference: Sequence[Path], names: Sequence[str]) -> None:
    import numpy as np

    wide = min(3, len(names))
    axes = figure.subplots(-(-len(names) // wide), wide, squeeze=False).ravel()
    for place, name in enumerate(names):
        now = numbers_of(files, name)
        before = numbers_of(reference, name) if reference else now[:0]
        both = np.concatenate([now, before])
        low, high = np.quantile(both, [0.005, 0.995])
        edges = np.linspace(low, high if high > low else low + 1, 25)
        for values, label in ((before, "champion's training set"), (now, "now")):
            if len(values):
                axes[place].stairs(_shares(values, edges), edges, fill=label == "now", alpha=0.6, label=label)
        axes[place].set_title(name, fontsize=8)
        axes[place].tick_params(labelsize=6)
    for left in axes[len(names) :]:
        left.set_visible(False)
    if reference:
        axes[0].legend(fontsize=6)


def _shares(values: "np.ndarray[Any, Any]", edges: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    import numpy as np

    counts, _ = np.histogram(values, edges)
    return counts / len(values)


def _null_rates(figure: Any, stats: dict[str, ColumnStats]) -> None:
    worst = sorted(stats, key=lambda name: (-stats[name].null_rate, name))[:20][::-1]
    axes = figure.add_subplot()
    axes.barh(worst, [stats[name].null_rate for name in worst])
    axes.set(xlim=(0, 1), title="share of nulls")
    axes.tick_params(labelsize=7)
