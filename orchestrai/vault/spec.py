"""What a user declares about a dataset's backups."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from orchestrai.contracts.duration import parse_duration
from orchestrai.errors import ConfigError

_CRON_FIELDS = 5


def _is_duration(text: str) -> str:
    try:
        parse_duration(text)
    except ConfigError as exc:
        raise ValueError(exc.message) from exc
    return text


def _is_cron(text: str) -> str:
    if not text.startswith("@") and len(text.split()) != _CRON_FIELDS:
        raise ValueError(f'expected a cron expression of five fields such as "0 2 * * *", found {text!r}')
    return text


DurationText = Annotated[str, AfterValidator(_is_duration)]
Count = Annotated[int, Field(ge=0)]


class KeepSpec(BaseModel):
    """Which snapshots retention keeps; each rule keeps the newest of its bucket, and a snapshot any rule keeps is kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    last: Count = 0
    hourly: Count = 0
    daily: Count = 0
    weekly: Count = 0
    monthly: Count = 0
    yearly: Count = 0
    within: DurationText | None = None
    tagged: tuple[str, ...] = ()

    @property
    def keeps_all(self) -> bool:
        """True when no rule was given: then nothing is ever forgotten."""
        return self == KeepSpec()


class BackupSpec(BaseModel):
    """How a dataset is backed up; durations are a number and a unit (s, m, h, d, w)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    every: Annotated[str, AfterValidator(_is_cron)] | None = None
    keep: KeepSpec = KeepSpec()
    lock: DurationText | None = None
    replica: str | None = None
    rpo: DurationText = "26h"
    rto: DurationText = "1h"
    encrypt: bool = False
