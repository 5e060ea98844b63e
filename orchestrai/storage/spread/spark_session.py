"""The port to Spark: a session, opened when it is first asked for."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class SparkSession:
    """A session of Spark, as the settings say where it is."""

    open: Callable[[], object]
