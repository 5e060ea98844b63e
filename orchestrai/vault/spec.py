"""What a user declares about a dataset's backups."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from orchestrai.core.time import parse_duration
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
CronText = Annotated[str, AfterValidator(_is_cron)]
Count = Annotated[int, Field(ge=0)]
# file, or the URL of a key of a key service: see vault.key_services
KeyUrl = Annotated[str, Field(pattern=r"^(file|(awskms|azurekv|gcpkms)://\S+)?$")]


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

    def describe(self) -> str:
        """The policy in words, for signed records: `daily 7, weekly 5`."""
        rules = [f"{name} {value}" for name, value in self.model_dump(exclude_defaults=True, exclude={"tagged"}).items()]
        return ", ".join([*rules, *(f"tagged {tag}" for tag in self.tagged)]) or "everything"


def _retention(value: Any) -> Any:
    """A cron alone, or false for never by itself."""
    if value is False:
        return {"every": None}
    return {"every": value} if isinstance(value, str) else value


class RetentionSpec(BaseModel):
    """When `keep` is applied. Without `every` only a person applies it; without `apply` it is shown what would go, and nothing goes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    every: CronText | None = "0 8 * * 0"
    apply: bool = True


class ColdSpec(BaseModel):
    """A second copy in a cold tier; `url` empty means none. `tier` is the store's own name of a storage class."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = ""
    tier: Annotated[str, Field(pattern=r"^([A-Za-z_]{2,40})?$")] = ""
    lock: DurationText | None = None


class BackupSpec(BaseModel):
    """How a dataset is backed up; durations are a number and a unit (s, m, h, d, w)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    every: CronText | None = None
    keep: KeepSpec = KeepSpec()
    retention: Annotated[RetentionSpec, BeforeValidator(_retention)] = RetentionSpec()
    lock: DurationText | None = None
    replica: str | None = None
    rpo: DurationText = "26h"
    rto: DurationText = "1h"
    encrypt: bool = False
    encryption: KeyUrl = ""
    cold: ColdSpec = ColdSpec()

    @property
    def key_url(self) -> str:
        """What wraps the data key: empty for a vault that is not sealed."""
        return self.encryption or ("file" if self.encrypt else "")
