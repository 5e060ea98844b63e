"""Who signs in tests: the very producers of the product, since a receipt that it never makes proves nothing."""

from orchestrai.core.code_identity import Producer
from orchestrai.ingest.run import LETTERS, PRODUCER
from orchestrai.pipeline.stage_registry import STAGES

# of objects; streams and tables have their own
_OF_OBJECTS = {"raw_events": PRODUCER, "dead_letters": LETTERS}


def producer(stage: str) -> Producer:
    """Who makes what a stage publishes."""
    known = {found.name: found.producer for found in STAGES if isinstance(found.producer, Producer)}
    return (known | _OF_OBJECTS)[stage]
