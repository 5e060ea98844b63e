"""Who launched a run: named by the proxy in front of Dagster, whose header becomes a tag that nobody else can set."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext
from dagster._core.storage.tags import SCHEDULE_NAME_TAG, SENSOR_NAME_TAG
from dagster._serdes import ConfigurableClassData

from orchestrai.core.actor import Actor
from orchestrai.settings import Settings
from orchestrai.storage.cloud.known_person import known_person

USER_TAG = "orchestrai/user"
HEADER = "X-Forwarded-User"


class NamedRunCoordinator(QueuedRunCoordinator):
    """Dagster's queue, which notes for each run whom the proxy let in; a tag of that name that came with the run is not believed.

    For dagster.yaml, where every request comes through a proxy that sets the header itself.
    """

    def __init__(self, user_header: str = HEADER, inst_data: ConfigurableClassData | None = None, **settings: Any) -> None:
        super().__init__(inst_data=inst_data, **settings)
        self.user_header = user_header

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """The queue's own settings, and the name of the header."""
        settings: Any = super().config_type()
        return {**settings, "user_header": dg.Field(str, is_required=False, default_value=HEADER)}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> "NamedRunCoordinator":
        """As Dagster makes it of dagster.yaml."""
        return cls(inst_data=inst_data, **config_value)

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        """Queue a run under the name that the proxy gave, or under none."""
        named = context.get_request_header(self.user_header) or ""
        run = context.dagster_run
        if named or USER_TAG in run.tags:
            self._instance.add_run_tags(run.run_id, {USER_TAG: named})
        return super().submit_run(context)


def actor_of(run: dg.DagsterRun, instance: dg.DagsterInstance, settings: Settings | None = None) -> Actor:
    """Who runs a run: the person of the proxy, a schedule, a sensor, else whom this machine knows; a mere tag is a claim."""
    tags = run.tags
    tagged = tags.get(USER_TAG, "")
    if tagged and isinstance(instance.run_coordinator, NamedRunCoordinator) and _passed_the_queue(instance, run):
        return Actor(tagged, "proxy", "dagster")
    claimed = tagged or tags.get("user", "")
    if SCHEDULE_NAME_TAG in tags:
        return Actor(tags[SCHEDULE_NAME_TAG], "schedule", "dagster", claimed)
    if SENSOR_NAME_TAG in tags:
        return Actor(tags[SENSOR_NAME_TAG], "sensor", "dagster", claimed)
    name, known_by = known_person(settings or Settings())
    return Actor(name or "unknown", known_by, "dagster", claimed)


def _passed_the_queue(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether the coordinator saw a run: one that a command executes itself did not pass it, and wears the tags that it was given."""
    return bool(instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_ENQUEUED))
