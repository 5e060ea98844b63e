"""Who signs in tests: the very producers of the product, since a receipt that it never makes proves nothing."""

from orchestrai.core.code_identity import Producer
from orchestrai.features.run import PRODUCER as FEATURES

_MODULES = {
    "raw_events": "orchestrai.ingest.run",
    "dead_letters": "orchestrai.ingest.run",
    "snapshot": "orchestrai.vault.run",
    "restored": "orchestrai.restore.run",
    "drill": "orchestrai.restore.drill",
    "training_set": "orchestrai.features.training_set",
    "candidate": "orchestrai.models.training",
    "evaluation": "orchestrai.models.evaluation",
    "champion": "orchestrai.models.promotion",
    "deployment": "orchestrai.models.registry.deployment",
    "predictions": "orchestrai.models.inference",
    "warehouse": "orchestrai.warehouse.run",
    "catalog": "orchestrai.pipeline.pipeline_catalog",
    "feature_backup": "orchestrai.pipeline.backup_run",
    "model_backup": "orchestrai.pipeline.backup_run",
}


def producer(stage: str) -> Producer:
    """Who makes what a stage publishes."""
    return FEATURES if stage == "features" else Producer(stage, _MODULES[stage])
