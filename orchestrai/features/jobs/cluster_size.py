"""How many workers a Spark job is given, within declared bounds, and how a service is told."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

from pydantic import Field, model_validator

from orchestrai.core.yaml.declaration import Declaration


class WorkerBounds(Declaration):
    """The fewest and the most workers (executors, core nodes) that a job is given; the first one gets the fewest."""

    least: int = Field(ge=1, le=1000)
    most: int = Field(ge=1, le=1000)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.most < self.least:
            raise ValueError(f"most: expected at least {self.least}, found {self.most}")
        return self


def executor_settings(workers: int) -> dict[str, str]:
    """Spark's own settings for so many executors and no more."""
    return {"spark.executor.instances": str(workers), "spark.dynamicAllocation.maxExecutors": str(workers)}


def fleets_of(instances: Mapping[str, Any], workers: int) -> dict[str, Any]:
    """Instances of EMR whose core fleet or group has so many machines; of a fleet those that it takes anyway, spot or not."""
    fleets = [
        {**fleet, ("TargetOnDemandCapacity" if fleet.get("TargetOnDemandCapacity") else "TargetSpotCapacity"): workers}
        if fleet.get("InstanceFleetType") == "CORE"
        else fleet
        for fleet in instances.get("InstanceFleets", ())
    ]
    groups = [
        {**group, "InstanceCount": workers} if group.get("InstanceRole") == "CORE" else group
        for group in instances.get("InstanceGroups", ())
    ]
    sized = dict(instances)
    if fleets:
        sized["InstanceFleets"] = fleets
    if groups:
        sized["InstanceGroups"] = groups
    return sized


def seconds_between(first: object, last: object) -> float:
    """Seconds between two moments as a service tells them; 0 where it does not."""
    moments = []
    for told in (first, last):
        if isinstance(told, datetime):
            moments.append(told)
        elif isinstance(told, str) and told:
            try:
                moments.append(datetime.fromisoformat(told))
            except ValueError:
                return 0.0
    if len(moments) < 2 or (moments[0].tzinfo is None) != (moments[1].tzinfo is None):
        return 0.0
    return max(0.0, (moments[1] - moments[0]).total_seconds())
