"""The text of a scrape, put together from the ledger, the last survey, and whatever else is asked."""

import threading
import time
from collections.abc import Callable, Sequence

from orchestrai.errors import OrchestraiError
from orchestrai.observability.exposition import Figures, exposition
from orchestrai.pipeline.metrics import catalogue as names
from orchestrai.pipeline.metrics.published_figures import PublishedFigures, declared
from orchestrai.pipeline.metrics.survey import survey
from orchestrai.pipeline.runtime import Runtime

# notes figures of its own; an error of ours is a figure
Source = Callable[[Figures], None]


class Exporter:
    """Tells the figures of a project; safe to ask from several threads, which answer one after another."""

    def __init__(
        self, runtime: Runtime, sources: Sequence[Source] = (), cpu: Callable[[], float] = time.thread_time
    ) -> None:
        self._runtime = runtime
        self._sources = sources
        self._cpu = cpu
        self._published = PublishedFigures(runtime.ledger, runtime.project.nodes)
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
            for name, source in (("ledger", self._published.tell), *((s.__name__, s) for s in self._sources)):
                try:
                    source(figures)
                except OrchestraiError as error:
                    figures.put(names.PROBLEM, 1, f"{name}: {type(error).__name__}")
            figures.add(self._surveyed)
            figures.put(names.SCRAPE_CPU, self._cpu() - began)
            return exposition(figures, names.METRICS)
