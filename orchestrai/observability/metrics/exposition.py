"""Prometheus' text format, version 0.0.4.

Everything is told as it is when asked: nothing is counted or shared, so no client library is needed.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Kind = Literal["gauge", "counter"]


@dataclass(frozen=True)
class Metric:
    """A name that is exported: what it means, its labels in their order."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    kind: Kind = "gauge"


@dataclass
class Figures:
    """The samples of one scrape, by metric; a second value for the same labels replaces the first."""

    samples: dict[Metric, dict[tuple[str, ...], float]] = field(default_factory=dict)

    def put(self, metric: Metric, value: float, *labels: str) -> None:
        """Note a value; raises ValueError where the labels are not those of the metric."""
        if len(labels) != len(metric.labels):
            raise ValueError(f"expected the labels {metric.labels} of {metric.name}, found {labels}")
        self.samples.setdefault(metric, {})[labels] = float(value)

    def add(self, others: "Figures") -> None:
        """Take what was noted elsewhere."""
        for metric, values in others.samples.items():
            self.samples.setdefault(metric, {}).update(values)

    def value(self, metric: Metric, *labels: str) -> float | None:
        """What was noted; None where nothing was."""
        return self.samples.get(metric, {}).get(labels)


def exposition(figures: Figures, order: Iterable[Metric]) -> str:
    """The text of a scrape; a metric without samples is not in it."""
    lines: list[str] = []
    for metric in order:
        values = figures.samples.get(metric)
        if values:
            lines += (f"# HELP {metric.name} {_plain(metric.help)}", f"# TYPE {metric.name} {metric.kind}")
            lines += [_line(metric, labels, value) for labels, value in values.items()]
    return "\n".join(lines) + "\n"


def escaped(value: str) -> str:
    """A label's value between its quotes."""
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _line(metric: Metric, labels: tuple[str, ...], value: float) -> str:
    pairs: Mapping[str, str] = dict(zip(metric.labels, labels, strict=True))
    told = ",".join(f'{name}="{escaped(text)}"' for name, text in pairs.items())
    return f"{metric.name}{{{told}}} {_number(value)}" if told else f"{metric.name} {_number(value)}"


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _plain(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
