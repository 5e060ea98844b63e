"""The text of a scrape, put together from the ledger, the last survey, and whatever else is asked."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from orchestrai.errors import OrchestraiError
from orchestrai.observability.alerts.alert_log import AlertLog
from orchestrai.observability.metrics import metric_names as names
from orchestrai.observability.metrics.alert_figures import AlertFigures
from orchestrai.observability.metrics.exposition import Figures, exposition
from orchestrai.observability.metrics.published_figures import PublishedFigures, declared
from orchestrai.observability.metrics.survey import survey
from orchestrai.pipeline.runtime import Runtime


class Source(Protocol):
    """Something that notes figures of its own; an error of ours is a figure."""

    name: str

    def tell(self, figures: Figures) -> None:
        """Note what it says now; raises OrchestraiError."""
        ...


class Exporter:
    """Tells the figures of a project; safe to ask from several threads, which answer one after another."""

    def __init__(
        self, runtime: Runtime, sources: Sequence[Source] = (), cpu: Callable[[], float] = time.thread_time
    ) -> None:
        self._runtime = runtime
        self._cpu = cpu
        self._published = PublishedFigures(runtime.ledger, runtime.project.nodes)
        self._sources: tuple[Source, ...] = (self._published, AlertFigures(AlertLog(runtime.ledger)), *sources)
        self._surveyed = Figures()
        self._one = threading.Lock()

    def survey(self) -> None:
        """Look at landings, RPO, gates and staleness; scrapes go on meanwhile with what was found before."""
        self._surveyed = survey(self._runtime, self._cpu)

    def scrape(self) -> str:
        """The text; raises nothing for what cannot be read."""
        with self._one:
            figures, began = Figures(), self._cpu()
            project = self._runtime.project
            declared(figures, project.nodes)
            for left in project.left_out:
                figures.put(names.LEFT_OUT, 1, left.name)
            for source in self._sources:
                try:
                    source.tell(figures)
                except OrchestraiError as error:
                    figures.put(names.PROBLEM, 1, f"{source.name}: {type(error).__name__}")
            figures.add(self._surveyed)
            figures.put(names.SCRAPE_CPU, self._cpu() - began)
            return exposition(figures, names.METRICS)
