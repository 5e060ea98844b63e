"""Curves of an evaluation as PNG; equal inputs give equal bytes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from orchestrai.contracts.population_stability import DRIFTED
from orchestrai.core.picture import png
from orchestrai.models.metrics import Scored, calibration_bins
from orchestrai.models.spec import Task


def draw(
    task: Task,
    curves: Mapping[str, Sequence[Scored]],
    importance: Mapping[str, float],
    moved: Mapping[str, float] | None = None,
) -> dict[str, bytes]:
    """The plots of a task by name; `curves` maps "candidate", "champion", "baseline" to their scored parts, `moved` features to PSI."""
    plots = {"importance": _png(lambda axes: _importance(axes, importance))}
    if moved:
        plots |= draw_drift(moved)
    if task == "regression":
        plots["predicted"] = _png(lambda axes: _predicted(axes, curves["candidate"]))
        return plots
    plots["roc"] = _png(lambda axes: _roc(axes, curves))
    plots["precision_recall"] = _png(lambda axes: _precision_recall(axes, curves))
    if task == "classification":
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


def _predicted(axes: Any, parts: Sequence[Scored]) -> None:
    label, score = _pooled(parts)
    shown = np.linspace(0, len(label) - 1, min(2000, len(label))).astype(np.intp)
    axes.scatter(label[shown], score[shown], s=6, alpha=0.4)
    axes.set(xlabel="label", ylabel="prediction", title="Predictions on held-out rows")
