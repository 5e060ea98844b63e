"""What the code server of a chaos test loads: a project at a clock that a file sets, whose sensors are on and look every few seconds."""

import os
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg

from orchestrai.core.identity import utc_now
from orchestrai.defs.build import build_definitions
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import load_settings

CLOCK = Path(os.environ["ORCHESTRAI_HOME"]) / "clock"
EVERY_SECONDS = 3


def clock() -> datetime:
    """The time, as far off as the file says."""
    text = CLOCK.read_text() if CLOCK.exists() else ""
    return utc_now() + timedelta(seconds=float(text or 0))


def _hasty(made: dg.Definitions) -> dg.Definitions:
    for sensor in made.sensors or ():
        if isinstance(sensor, dg.SensorDefinition) and not isinstance(sensor, dg.AutomationConditionSensorDefinition):
            # a day of operation is minutes here, and so is what waits for a minute
            sensor._min_interval = EVERY_SECONDS
            sensor._default_status = dg.DefaultSensorStatus.RUNNING
    return made


defs = _hasty(build_definitions(Runtime(load_settings(), clock=clock)))
