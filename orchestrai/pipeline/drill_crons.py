"""When drills and restore tests run, so that the schedule and whoever tells of one that did not run mean the same."""

from typing import Any

from orchestrai.backup.managed.run import RESTORE_TEST
from orchestrai.stage.stage import AssetNode

# of what comes as events, and of all that is kept beside them
WEEKLY_DRILL = "30 3 * * 0"
WEEKLY_DRILLS = "30 4 * * 0"


def drill_cron(node: AssetNode[Any]) -> str | None:
    """The cron expression (UTC) of a trial; None for what is none."""
    if node.stage.role != "trial":
        return None
    if node.stage is RESTORE_TEST:
        return str(node.subject.spec.test.every)
    return WEEKLY_DRILL if node.subject.kind == "dataset" else WEEKLY_DRILLS
