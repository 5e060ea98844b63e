"""What a user declares about a dataset's backups."""

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from orchestrai.core.time.duration_cron import Cron, Duration, format_duration
from orchestrai.core.yaml.declaration import Declaration
from orchestrai.errors import ConfigError
from orchestrai.storage.url import check_url


def _is_store(url: str) -> str:
    try:
        check_url(url)
    except ConfigError as exc:
        raise ValueError(exc.message) from exc
    return url


def _several(value: Any) -> Any:
    """One URL alone, or a list of them; of what is empty, as a variable that is not set, nothing."""
    given = [value] if isinstance(value, str) else ([] if value is None else value)
    if not isinstance(given, list | tuple) or not all(isinstance(url, str) for url in given if url):
        return given
    return tuple(dict.fromkeys(url for url in given if url))


def _are_stores(urls: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_is_store(url) for url in urls)


StoreUrl = Annotated[str, AfterValidator(_is_store)]
StoreUrls = Annotated[tuple[str, ...], BeforeValidator(_several), AfterValidator(_are_stores)]
Count = Annotated[int, Field(ge=0)]
# file, or the URL of a key of a key service: see vault.key_services
KeyUrl = Annotated[str, Field(pattern=r"^(file|(awskms|azurekv|gcpkms)://\S+)?$")]


class KeepSpec(Declaration):
    """Which snapshots retention keeps; each rule keeps the newest of its bucket, and a snapshot any rule keeps is kept."""

    last: Count = 0
    hourly: Count = 0
    daily: Count = 0
    weekly: Count = 0
    monthly: Count = 0
    yearly: Count = 0
    within: Duration | None = None
    tagged: tuple[str, ...] = ()

    @property
    def keeps_all(self) -> bool:
        """True when no rule was given: then nothing is ever forgotten."""
        return self == KeepSpec()

    def describe(self) -> str:
        """The policy in words, for signed records: `daily 7, weekly 5`."""
        rules = [
            f"{name} {value}" for name, value in self.model_dump(exclude_defaults=True, exclude={"tagged", "within"}).items()
        ]
        rules += [f"within {format_duration(self.within)}"] if self.within is not None else []
        return ", ".join([*rules, *(f"tagged {tag}" for tag in self.tagged)]) or "everything"


def _retention(value: Any) -> Any:
    """A cron alone, or false for never by itself."""
    if value is False:
        return {"every": None}
    return {"every": value} if isinstance(value, str) else value


class RetentionSpec(Declaration):
    """When `keep` is applied. Without `every` only a person applies it; without `apply` it is shown what would go, and nothing goes."""

    every: Cron | None = "0 8 * * 0"
    apply: bool = True


class ColdSpec(Declaration):
    """A second copy in a cold tier; `url` empty means none. `tier` is the store's own name of a storage class."""

    url: StoreUrl = ""
    tier: Annotated[str, Field(pattern=r"^([A-Za-z_]{2,40})?$")] = ""
    lock: Duration | None = None


class BackupSpec(Declaration):
    """How a dataset is backed up; durations are a number and a unit (s, m, h, d, w)."""

    every: Cron | None = None
    keep: KeepSpec = KeepSpec()
    retention: Annotated[RetentionSpec, BeforeValidator(_retention)] = RetentionSpec()
    lock: Duration | None = None
    replica: StoreUrls = ()
    heal: Literal["plan", "apply"] = "apply"
    rpo: Duration = timedelta(hours=26)
    rto: Duration = timedelta(hours=1)
    encrypt: bool = False
    encryption: KeyUrl = ""
    cold: ColdSpec = ColdSpec()

    @property
    def key_url(self) -> str:
        """What wraps the data key: empty for a vault that is not sealed."""
        return self.encryption or ("file" if self.encrypt else "")
