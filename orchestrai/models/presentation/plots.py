"""Curves of an evaluation as PNG; equal inputs give equal bytes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from orchestrai.contracts.population_stability import DRIFTED
from orchestrai.core.picture import png
from orchestrai.models.baselines.contest import Contest
from orchestrai.models.baselines.naive import steps_of
from orchestrai.models.metrics.binary import calibration_bins
from orchestrai.models.metrics.multiclass import MulticlassJudge
from orchestrai.models.metrics.scored import Scored
from orchestrai.models.spec import Forecast, ModelSpec
from orchestrai.models.task import VALUES

SHOWN_CLASSES = 12


def draw(
    spec: ModelSpec,
    contest: Contest,
    importance: Mapping[str, float],
    moved: Mapping[str, float] | None = None,
) -> dict[str, bytes]:
    """The plots of a task by name; `moved` are features with their PSI."""
    plots = {"importance": _png(lambda axes: _importance(axes, importance))}
    if moved:
        plots |= draw_drift(moved)
    if spec.task in VALUES:
        plots["predicted"] = _png(lambda axes: _predicted(axes, contest.pooled()))
        plots["residuals"] = _png(lambda axes: _residuals(axes, contest.pooled()))
        forecast = spec.forecast
        if forecast is not None:
            plots["forecast"] = _png(lambda axes: _forecast(axes, spec, forecast, contest))
        return plots
    if spec.task == "multiclass":
        plots["confusion"] = _png(lambda axes: _confusion(axes, contest))
        return plots
    curves = {name: parts for name, parts in contest.parts.items() if name != "naive"}
    plots["roc"] = _png(lambda axes: _roc(axes, curves))
    plots["precision_recall"] = _png(lambda axes: _precision_recall(axes, curves))
    if spec.task == "binary":
        plots["calibration"] = _png(lambda axes: _calibration(axes, curves))
    return plots


def draw_drift(moved: Mapping[str, float]) -> dict[str, bytes]:
    """How far each feature moved, beside the limit; nothing where there is no feature."""
    return {"drift": _png(lambda axes: _drift(axes, moved))} if moved else {}


def _drift(axes: Any, moved: Mapping[str, float]) -> None:
    ranked = sorted(moved.items(), key=lambda pair: (pair[1], pair[0]))[-15:]
    colours = ["tab:red" if psi > DRIFTED else "tab:blue" for _, psi in ranked]
    axes.barh([name for name, _ in ranked], [psi for _, psi in ranked], color=colours)
    axes.axvline(DRIFTED, color="0.4", linestyle=":", linewidth=1)
    axes.set(xlabel=f"population stability index (limit {DRIFTED})", title="Drift since the champion's training set")


def _png(paint: Callable[[Any], None]) -> bytes:
    def painted(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.grid(alpha=0.25)
        paint(axes)

    return png(painted, (5.2, 4.0), 90)


def _pooled(parts: Sequence[Scored]) -> tuple[Any, Any]:
    return np.concatenate([part.label for part in parts]), np.concatenate([part.score for part in parts])


def _roc(axes: Any, curves: Mapping[str, Sequence[Scored]]) -> None:
    from sklearn.metrics import roc_auc_score, roc_curve

    for name, parts in curves.items():
        label, score = _pooled(parts)
        false, true, _ = roc_curve(label, score)
        axes.plot(false, true, label=f"{name} (AUC {roc_auc_score(label, score):.4f})")
    axes.plot([0, 1], [0, 1], color="0.6", linestyle=":", linewidth=1)
    axes.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC on held-out rows")
    axes.legend(loc="lower right")


def _precision_recall(axes: Any, curves: Mapping[str, Sequence[Scored]]) -> None:
    from sklearn.metrics import precision_recall_curve

    for name, parts in curves.items():
        precision, recall, _ = precision_recall_curve(*_pooled(parts))
        axes.plot(recall, precision, label=name)
    axes.set(xlabel="recall", ylabel="precision", ylim=(0, 1.02), title="Precision and recall on held-out rows")
    axes.legend(loc="upper right")


def _calibration(axes: Any, curves: Mapping[str, Sequence[Scored]]) -> None:
    for name, parts in curves.items():
        label, score = _pooled(parts)
        bins = calibration_bins(Scored(label, score, np.zeros(len(label), dtype=np.intp)))
        axes.plot([b[0] for b in bins], [b[1] for b in bins], marker="o", markersize=4, label=name)
    axes.plot([0, 1], [0, 1], color="0.6", linestyle=":", linewidth=1)
    axes.set(xlabel="mean predicted probability", ylabel="share of positives", title="Calibration on held-out rows")
    axes.legend(loc="upper left")


def _importance(axes: Any, importance: Mapping[str, float]) -> None:
    ranked = sorted(importance.items(), key=lambda pair: (pair[1], pair[0]))[-15:]
    axes.barh([name for name, _ in ranked], [share for _, share in ranked])
    axes.set(xlabel="share of importance", title="What the candidate looks at")


def _spread(part: Scored) -> Any:
    """Places of at most 2000 rows, spread evenly."""
    return np.linspace(0, len(part.label) - 1, min(2000, len(part.label))).astype(np.intp)


def _predicted(axes: Any, part: Scored) -> None:
    shown = part.take(_spread(part))
    axes.scatter(shown.label, shown.score, s=6, alpha=0.4)
    ends = [float(min(shown.label.min(), shown.score.min())), float(max(shown.label.max(), shown.score.max()))]
    axes.plot(ends, ends, color="0.6", linestyle=":", linewidth=1)
    axes.set(xlabel="label", ylabel="prediction", title="Predictions on held-out rows")


def _residuals(axes: Any, part: Scored) -> None:
    shown = part.take(_spread(part))
    axes.scatter(shown.score, shown.label - shown.score, s=6, alpha=0.4)
    axes.axhline(0, color="0.4", linestyle=":", linewidth=1)
    axes.set(xlabel="prediction", ylabel="label less prediction", title="Residuals on held-out rows")


def _forecast(axes: Any, spec: ModelSpec, forecast: Forecast, contest: Contest) -> None:
    rows = contest.tested
    ahead = round(forecast.ahead.total_seconds() * 1_000_000)
    ends, place = np.unique(rows.event_time + steps_of(forecast, spec, rows) * ahead, return_inverse=True)
    times, counts = ends.astype("datetime64[us]"), np.bincount(place)
    lines = {"actual": contest.pooled().label}
    lines |= {name: contest.pooled(name).score for name in ("candidate", "champion", "naive") if name in contest.parts}
    for name, values in lines.items():
        style = {"actual": "-", "naive": ":"}.get(name, "--")
        axes.plot(times, np.bincount(place, values) / counts, label=name, linestyle=style, linewidth=1.2)
    axes.tick_params(axis="x", labelrotation=30)
    axes.set(xlabel="time at which the value ends", ylabel="mean over series", title="Forecast against actual")
    axes.legend(loc="best")


def _confusion(axes: Any, contest: Contest) -> None:
    counts, names = MulticlassJudge(contest.pooled()).confusion(), contest.tested.classes
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.grid(visible=False)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(names) <= SHOWN_CLASSES:
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
        axes.set_yticks(range(len(names)), names)
        for row, column in np.ndindex(*counts.shape):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", color=colour, fontsize=8)
    axes.set(xlabel="taken for", ylabel="true class", title="Confusion on held-out rows")
