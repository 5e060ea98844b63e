"""Restore: snapshot -> restored dataset, from vault bytes alone."""

from typing import TYPE_CHECKING

from orchestrai.lazy import lazily

if TYPE_CHECKING:
    from orchestrai.restore.drill import DrillReport, DrillRun, drill
    from orchestrai.restore.folder import restore_folder
    from orchestrai.restore.plan import RestorePlan, plan_restore
    from orchestrai.restore.restoring import restore

__all__ = ["DrillReport", "DrillRun", "RestorePlan", "drill", "plan_restore", "restore", "restore_folder"]

lazily(
    __name__,
    {
        "drill": ("DrillReport", "DrillRun", "drill"),
        "folder": ("restore_folder",),
        "plan": ("RestorePlan", "plan_restore"),
        "restoring": ("restore",),
    },
)
