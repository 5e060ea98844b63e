"""Models that learn only from data that was backed up, restored and proven equal."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrai.defs.embedding.host_definitions import pipeline_definitions

__all__ = ["pipeline_definitions"]


def __getattr__(name: str) -> Any:
    # Dagster takes seconds to import, and most commands never need it
    if name == "pipeline_definitions":
        from orchestrai.defs.embedding.host_definitions import pipeline_definitions

        return pipeline_definitions
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
