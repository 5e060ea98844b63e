"""The stages by name: what each is, which are gates, and which checks each carries."""

from typing import Literal

from orchestrai.contracts.checks import CheckInfo

Stage = Literal[
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
    "feature_backup",
    "model_backup",
    "cold_copy",
    "dump",
    "recovery_point",
    "restore_test",
    "retention",
    "prune",
]

GATES: tuple[Stage, ...] = ("raw_events", "restored")

DESCRIPTIONS: dict[Stage, str] = {
    "landing": "Where data comes from: objects, a stream, a database or an API; orchestrai only reads here.",
    "raw_events": "Typed, contract-checked Parquet, one row per event, the original objects kept beside it. "
    "A partition that breaks its contract is never published.",
    "dead_letters": "Rows and objects that were refused, with reason and source offset; they can be replayed.",
    "snapshot": "The partition as committed to the vault: write-once, chained, signed. Its version equals the raw events'.",
    "restored": "Files written from vault bytes only, every hash checked on the way. Its version equals the snapshot's; "
    "everything downstream reads this and nothing else.",
    "drill": "The newest snapshot and a random one restored whole to scratch, every byte proven, and how long that took (RTO) and how "
    "much would be lost (RPO).",
    "features": "One row per entity and moment, computed from restored data, never from the future.",
    "training_set": "Labels joined to features as they were known at each moment.",
    "candidate": "The model just trained, with golden rows and what it learned from.",
    "evaluation": "The candidate scored on a later period it never saw, beside the champion and a plain baseline.",
    "champion": "The model that serves. It moves only when the evaluation earns it.",
    "deployment": "Where the champion is registered and served besides the lake: every declared registry and endpoint follows it.",
    "predictions": "Scores of the champion for the newest features.",
    "catalog": "What the pipeline holds: versions, snapshots, rows and bytes of every dataset, as backed up.",
    "warehouse": "The rows in a warehouse table, counted there; a table beside it names the version they are of.",
    "feature_backup": "The feature table in the vault: a snapshot of every partition, incremental, chained, signed. Its version equals "
    "the table's.",
    "model_backup": "Every version of the model in the vault, with its receipts, and which of them serves.",
    "cold_copy": "The vault's snapshots of this once more, in a cold tier and locked; tier and lock as the store itself told.",
    "dump": "A consistent dump of the database, with the rows of each table, in the vault.",
    "recovery_point": "A recovery point that AWS Backup made and copied, read back from the service.",
    "restore_test": "The newest recovery point restored to a new resource, looked at, and removed again.",
    "retention": "Which snapshots the declared `keep` lets go and which stay, and why; those that go are forgotten, by signed tombstones. "
    "Their bytes go by orchestrai/vault/prune.",
    "prune": "The bytes that no snapshot needs any more: one run marks them, a later one deletes them. What a lock holds stays "
    "until it ends.",
}

VERSION_CHECK = CheckInfo("same_version", True, "The version equals that of the stage before, byte for byte.")
DRILL_CHECKS = (
    CheckInfo("proof", True, "Every byte and row of the drilled snapshots was restored and proven."),
    CheckInfo("rto", False, "The slowest restore took no longer than declared."),
    CheckInfo("rpo", False, "No more would be lost than declared."),
)
RETENTION_CHECKS = (
    CheckInfo("model_inputs", False, "What serving and waiting models learned from is in a snapshot that stays."),
)
WAREHOUSE_CHECKS = (CheckInfo("row_count", True, "The table holds as many rows of each partition as the version has."),)
TRAINING_CHECKS = (
    CheckInfo("not_empty", True, "At least one label whose horizon is complete."),
    CheckInfo("inputs_current", True, "Every dataset it learns from has data as new as declared (halt_training_after)."),
)
CANDIDATE_CHECKS = (CheckInfo("identifier_features", False, "No feature looks like an identifier."),)
EVALUATION_CHECKS = (
    CheckInfo("promotion", False, "Whether the candidate would be promoted."),
    CheckInfo("leak_alarm", False, "A metric too good to be true means that the label leaked into the features."),
    CheckInfo("feature_drift", False, "Features against the champion's training set."),
    CheckInfo(
        "champion_unseen", False, "The champion was trained before the held-out rows began, so the comparison is fair."
    ),
)
PREDICTION_CHECKS = (CheckInfo("feature_drift", False, "What is scored against what the champion learned from."),)
BASELINE_CHECK = CheckInfo("beats_baseline", False, "The model beats the plain baseline.")
CHAMPION_CHECKS = (
    CheckInfo("promotion", True, "The candidate meets the declared rule and beats the champion."),
    CheckInfo("evaluation_current", True, "The evaluation is of exactly this candidate and training set."),
    CheckInfo("golden_rows", True, "The model scores its golden rows as it did at training."),
)
DEPLOYMENT_CHECKS = (CheckInfo("registered", True, "Every declared registry and endpoint holds the champion."),)
