"""Restore: snapshot -> restored dataset, from vault bytes alone."""

from typing import TYPE_CHECKING

from orchestrai.lazy import lazily

if TYPE_CHECKING:
    from orchestrai.restore.cold import Warmth, require_warm, survey, wait_until_warm, warm_up
    from orchestrai.restore.drill import DrillReport, DrillRun, drill
    from orchestrai.restore.folder import restore_folder
    from orchestrai.restore.folder_plan import FolderPlan, plan_folder
    from orchestrai.restore.plan import RestorePlan, plan_restore
    from orchestrai.restore.restoring import restore

__all__ = [
    "DrillReport",
    "DrillRun",
    "FolderPlan",
    "RestorePlan",
    "Warmth",
    "drill",
    "plan_folder",
    "plan_restore",
    "require_warm",
    "restore",
    "restore_folder",
    "survey",
    "wait_until_warm",
    "warm_up",
]

lazily(
    __name__,
    {
        "drill": ("DrillReport", "DrillRun", "drill"),
        "cold": ("Warmth", "require_warm", "survey", "wait_until_warm", "warm_up"),
        "folder": ("restore_folder",),
        "folder_plan": ("FolderPlan", "plan_folder"),
        "plan": ("RestorePlan", "plan_restore"),
        "restoring": ("restore",),
    },
)
