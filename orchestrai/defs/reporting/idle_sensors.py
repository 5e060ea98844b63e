"""What looks after landings and times and is off: whoever lost Dagster's database lost with it which of them a person had turned on."""

from collections.abc import Mapping
from dataclasses import dataclass

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorStatus

MODULE = "orchestrai.definitions"


@dataclass(frozen=True)
class Idle:
    """A sensor or schedule that is off, and what starts it, in a shell whose DAGSTER_HOME is the instance's."""

    kind: str
    name: str

    @property
    def command(self) -> str:
        """What a person types."""
        return f"dagster {self.kind} start {self.name} -m {MODULE}"


def idle(definitions: dg.Definitions, instance: dg.DagsterInstance) -> list[Idle]:
    """The sensors and schedules that do not run, by name; none of an instance in memory, which keeps no states."""
    if instance.schedule_storage is None:
        return []
    states = {state.instigator_name: state.status for state in instance.all_instigator_state()}
    sensors = {one.name: one.default_status for one in definitions.sensors or () if isinstance(one, dg.SensorDefinition)}
    schedules = {
        one.name: one.default_status for one in definitions.schedules or () if isinstance(one, dg.ScheduleDefinition)
    }
    return [*_off("sensor", sensors, states), *_off("schedule", schedules, states)]


def _off(
    kind: str,
    defaults: Mapping[str, dg.DefaultSensorStatus] | Mapping[str, dg.DefaultScheduleStatus],
    states: Mapping[str, InstigatorStatus],
) -> list[Idle]:
    found = []
    for name, default in sorted(defaults.items()):
        status = states.get(name, InstigatorStatus.DECLARED_IN_CODE)
        declared = status is InstigatorStatus.DECLARED_IN_CODE and default.value == "RUNNING"
        if status is not InstigatorStatus.RUNNING and not declared:
            found.append(Idle(kind, name))
    return found
