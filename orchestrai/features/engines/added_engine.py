"""An engine of another package, by the port that ours are behind."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pyarrow as pa

from orchestrai.core import plugins
from orchestrai.features.engines.engine import Engine, Query, Reads
from orchestrai.features.spec import check_engine
from orchestrai.features.views.portable_types import canonical
from orchestrai.features.views.view import FeatureView


class AddedEngine:
    """The engine of a plug-in: its name says whose and which version, so that features of another version are stale.

    Its entry point names what takes nothing and gives an `Engine`. Its batches are cast to the view's exact types.
    """

    def __init__(self, name: str) -> None:
        plugin = self._plugin = plugins.required("engines", check_engine(name))
        self._engine = plugins.make(plugin, Engine)  # type: ignore[type-abstract]

    @property
    def name(self) -> str:
        """As the plug-in says, with its distribution and version."""
        return f"{self._engine.name} by {self._plugin.origin}"

    def resident(self, view: FeatureView, reads: Reads) -> AbstractContextManager[None]:
        """As `Engine.resident`."""
        return self._engine.resident(view, reads)

    @contextmanager
    def run(self, query: Query) -> Iterator[Iterator[pa.RecordBatch]]:
        """As `Engine.run`."""
        with self._engine.run(query) as batches:
            yield (canonical(batch, query.view.schema) for batch in batches)
