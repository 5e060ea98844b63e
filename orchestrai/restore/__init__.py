"""Restore: snapshot -> restored dataset, from vault bytes alone."""

from orchestrai.restore.drill import DrillReport, DrillRun, drill
from orchestrai.restore.folder import restore_folder
from orchestrai.restore.plan import RestorePlan, plan_restore
from orchestrai.restore.restoring import restore

__all__ = ["DrillReport", "DrillRun", "RestorePlan", "drill", "plan_restore", "restore", "restore_folder"]
