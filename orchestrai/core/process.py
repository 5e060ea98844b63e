"""A process that runs one command and ends: what it need not do."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_command() -> Iterator[None]:
    """Collect cycles of garbage rarely while the block runs, and not again on the way out of the process.

    Loading modules and reading long lists makes many objects and next to no garbage; looking through them took a sixth of a short
    command's time.
    """
    gc.set_threshold(100_000, 20, 20)
    try:
        yield
    finally:
        # DuckDB's binding counts what is left at the end and complains of it on stderr
        if "duckdb" not in sys.modules:
            gc.freeze()
