"""An engine of another package: DuckDB over one thread, under a name of its own."""

from collections.abc import Iterator
from contextlib import AbstractContextManager

import pyarrow as pa

from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.engines.engine import Query, Reads
from orchestrai.features.views.view import FeatureView


class SingleEngine:
    """Implements `orchestrai.features.engines.engine.Engine`."""

    def __init__(self) -> None:
        self._inner = DuckDbEngine(threads=1)

    @property
    def name(self) -> str:
        return f"acme-single over {self._inner.name}"

    def resident(self, view: FeatureView, reads: Reads) -> AbstractContextManager[None]:
        return self._inner.resident(view, reads)

    def run(self, query: Query) -> AbstractContextManager[Iterator[pa.RecordBatch]]:
        return self._inner.run(query)
