"""What a user declares about a dataset's backups."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from orchestrai.core.cron import check_cron
from orchestrai.core.time import parse_duration
from orchestrai.errors import ConfigError
from orchestrai.storage.url import check_url


def _is_duration(text: str) -> str:
    try:
        parse_duration(text)
    except ConfigError as exc:
        raise ValueError(exc.message) from exc
    return text


def _is_cron(text: str) -> str:
    try:
        return check_cron(text)
    except ConfigError as exc:
        raise ValueError(exc.message) from exc


def _is_store(url: str) -> str:
    try:
        check_url(url)
    except ConfigError as exc:
        raise ValueError(exc.message) from exc
    return url


DurationText = Annotated[str, AfterValidator(_is_duration)]
CronText = Annotated[str, AfterValidator(_is_cron)]
StoreUrl = Annotated[str, AfterValidator(_is_store)]
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


class ColdSpec(BaseModel):
    """A second copy in a cold tier; `url` empty means none. `tier` is the store's own name of a storage class."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: StoreUrl = ""
    tier: Annotated[str, Field(pattern=r"^([A-Za-z_]{2,40})?$")] = ""
    lock: DurationText | None = None


class BackupSpec(BaseModel):
    """How a dataset is backed up; durations are a number and a unit (s, m, h, d, w)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    every: CronText | None = None
    keep: KeepSpec = KeepSpec()
    lock: DurationText | None = None
    replica: StoreUrl | None = None
    rpo: DurationText = "26h"
    rto: DurationText = "1h"
    encrypt: bool = False
    encryption: KeyUrl = ""
    cold: ColdSpec = ColdSpec()

    @property
    def key_url(self) -> str:
        """What wraps the data key: empty for a vault that is not sealed."""
        return self.encryption or ("file" if self.encrypt else "")
