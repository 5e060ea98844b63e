"""What is checked of each thing that is kept beside events."""

from orchestrai.core.verdict import CheckInfo

DUMP_CHECKS = (CheckInfo("dump", True, "The dump holds tables and as many rows as declared."),)
REGISTRY_CHECKS = (CheckInfo("registry", True, "The version that serves is among those kept."),)
COLD_CHECKS = (
    CheckInfo("verified", True, "The cold copy, as a vault of its own, holds what its signed commits say."),
    CheckInfo("tier", False, "The store says that every content is in the declared tier."),
    CheckInfo("lock", False, "The store says that everything is locked for as long as declared."),
)
POINT_CHECKS = (
    CheckInfo("recovery_point", True, "The service describes the recovery point as complete and of this resource."),
    CheckInfo("copy", False, "The copy in the other region was read back."),
)
TEST_CHECKS = (
    CheckInfo("restore_test", False, "The restored resource is there and answers."),
    CheckInfo("cleanup", False, "The restored resource was removed again."),
)
HEAL_CHECKS = (
    CheckInfo("copies", False, "Nothing is wrong in the vault or a replica, or all of it was mended."),
    CheckInfo("lost", False, "Everything that a snapshot needs is right in at least one copy."),
    CheckInfo("apart", False, "No copy has other signed records than the vault, or newer ones."),
)
RETENTION_CHECKS = (
    CheckInfo("model_inputs", False, "What serving and waiting models learned from is in a snapshot that stays."),
)
