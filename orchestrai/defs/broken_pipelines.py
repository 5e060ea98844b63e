"""Pipelines that cannot be read, as Dagster shows them: a group with one asset whose description is the message, and a red check.

A check is red only once it was evaluated. Nobody runs what is not there, so a sensor that runs by default tells the verdict; the check
can be run by hand too.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg

from orchestrai.pipeline.load import LeftOut

ASSET, CHECK = "pipeline_yaml", "loads"
_UNFIT = re.compile(r"[^A-Za-z0-9_]")


@dataclass(frozen=True)
class BrokenPipelines:
    """What takes the place of the pipelines that are left out."""

    assets: tuple[dg.AssetSpec, ...] = ()
    checks: tuple[dg.AssetChecksDefinition, ...] = ()
    sensors: tuple[dg.SensorDefinition, ...] = ()


def build_broken_pipelines(left_out: Sequence[LeftOut]) -> BrokenPipelines:
    """A group for each pipeline that is left out; nothing where all load."""
    groups: dict[str, LeftOut] = {}
    for pipeline in left_out:
        name = _UNFIT.sub("_", pipeline.folder.resolve().name)
        # two folders may bear one name
        groups[next(name + end for end in ("", *(f"_{n}" for n in range(2, 1000))) if name + end not in groups)] = pipeline
    if not groups:
        return BrokenPipelines()
    return BrokenPipelines(
        tuple(_asset(group, pipeline) for group, pipeline in groups.items()),
        tuple(_check(group, pipeline) for group, pipeline in groups.items()),
        (_sensor(groups),),
    )


def _key(group: str) -> dg.AssetKey:
    return dg.AssetKey([group, ASSET])


def _asset(group: str, pipeline: LeftOut) -> dg.AssetSpec:
    text = f"This pipeline is left out until its declaration is mended (`orchestrai check {pipeline.folder}`):\n\n"
    return dg.AssetSpec(
        _key(group),
        group_name=group,
        description=text + "\n".join(f"    {line}" for line in pipeline.message.splitlines()),
        kinds={"yaml"},
        tags={"orchestrai/stage": "declaration"},
        metadata={"path": dg.MetadataValue.path(str(pipeline.folder / "pipeline.yaml"))},
    )


def _verdict(pipeline: LeftOut) -> dict[str, dg.MetadataValue]:
    return {"mistakes": dg.MetadataValue.int(len(pipeline.mistakes)), "message": dg.MetadataValue.text(pipeline.message)}


def _check(group: str, pipeline: LeftOut) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=_key(group), name=CHECK, description="The declaration can be read.")
    def loads() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False, description=pipeline.mistakes[0].message, metadata=_verdict(pipeline))

    return loads


def _sensor(groups: dict[str, LeftOut]) -> dg.SensorDefinition:
    messages = "\n".join(f"{group}\n{pipeline.message}" for group, pipeline in groups.items())
    digest = hashlib.sha256(messages.encode()).hexdigest()

    @dg.sensor(
        name="pipelines_left_out",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells in red which pipelines are left out because their declarations cannot be read.",
    )
    def tell(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if context.cursor == digest:
            return dg.SkipReason(f"told already: {', '.join(groups)}")
        events = [
            dg.AssetCheckEvaluation(
                asset_key=_key(group),
                check_name=CHECK,
                passed=False,
                severity=dg.AssetCheckSeverity.ERROR,
                description=pipeline.mistakes[0].message,
                metadata=_verdict(pipeline),
            )
            for group, pipeline in groups.items()
        ]
        return dg.SensorResult(asset_events=events, cursor=digest)

    return tell
