"""The words by which stages name each other's assets, and kinds of what they work on.

A stage may name another's asset, never its code. A stage that no other names needs no word here.
"""

from typing import Literal

StageName = Literal[
    "landing",
    "raw_events",
    "dead_letters",
    "snapshot",
    "restored",
    "drill",
    "features",
    "training_set",
    "candidate",
    "evaluation",
    "champion",
    "deployment",
    "predictions",
    "catalog",
    "warehouse",
    "table",
    "feature_backup",
    "model_backup",
    "cold_copy",
    "dump",
    "base",
    "wal",
    "recovery_point",
    "restore_test",
    "retention",
    "prune",
    "heal",
    "pull",
    "costs",
]

SubjectKind = Literal[
    "dataset",
    "view",
    "model",
    "load",
    "share",
    "database",
    "managed",
    "instance",
    "definitions",
    "pipeline",
    "vault",
    "pulled_vault",
]

# the same bytes all along, in this order
VERBATIM: tuple[StageName, ...] = ("raw_events", "snapshot", "restored")
