"""What a user writes in pipeline.yaml: datasets, feature views and models.

Each stage owns the shape of its own part (source, backup, feature view, model); here they are put together.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticKnownError

from orchestrai.backup.airgap.spec import PulledVaultSpec
from orchestrai.backup.spec import WEEKLY, CheckedManagedBackup, DatabaseSpec, WeeklyBackup
from orchestrai.core.time.calendar import DividedGrain, Grain, GrainName, grain_in, zone_name
from orchestrai.core.time.duration_cron import Cron, Duration
from orchestrai.core.time.partition_key import Dimension, check_value
from orchestrai.core.yaml.declaration import SHARED, Declaration, FormerNames, field_reader, require_moved
from orchestrai.errors import ConfigError
from orchestrai.features.spec import FeatureViewSpec, IncompleteRows, LabelSpec, SpineSpec
from orchestrai.ingest.discovery.opening import Span
from orchestrai.ingest.spec import SourceSpec
from orchestrai.models.spec import ModelSpec
from orchestrai.pipeline.costs.budget_spec import BudgetSpec
from orchestrai.pipeline.costs.run_spec import ResourcesSpec, RunsSpec
from orchestrai.stage.retry_policy import RetryPolicy
from orchestrai.vault.spec import BackupSpec
from orchestrai.warehouse.spec import LoadSpec
from orchestrai.warehouse.tables.share_spec import ShareSpec

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$", description="lower case, digits and underscores")]


class DimensionSpec(Declaration):
    """What partitions are of beside a time: each time and value is gated, backed up and restored alone.

    The name of an object tells its value: by a folder `region=eu/`, or as `path`, a shell pattern of the whole name, says, such as
    `{region}/orders_*.csv`. A row whose `column` tells another value is set aside like one of another day.
    """

    name: Annotated[Name, Field(description="region, tenant: lower case, digits and underscores")]
    values: Annotated[tuple[str, ...], Field(min_length=1, description="every value that there may be")]
    column: Annotated[str, Field(description="the column of the contract that tells the value too")] = ""
    path: Annotated[str, Field(description="shell pattern of an object's name with the dimension in braces")] = ""
    complete: Annotated[
        Literal["warn", "error"], Field(description="what it is when some values of a time have arrived and others have not")
    ] = "warn"

    @property
    def dimension(self) -> Dimension:
        """What keys are made and read by."""
        return Dimension(self.name, self.values, self.column, self.path)

    @field_validator("values")
    @classmethod
    def _distinct_values(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            field_reader(check_value)(one)
        if len({one.casefold() for one in value}) < len(value):
            raise ValueError(f"expected values that differ in more than case, found {', '.join(value)}")
        return value

    @model_validator(mode="after")
    def _path_has_it_once(self) -> "DimensionSpec":
        if self.path and self.path.count(self.dimension.mark) != 1:
            raise ValueError(f"path: expected {self.dimension.mark} once, found {self.path!r}")
        return self


class PartitionSpec(Declaration):
    """How a dataset is cut by time, at the midnights of `timezone` and by the contract's event time, and by the values of a `dimension`.

    `by: name` says that the name of an object, or the partition an API was asked for, alone decides; `by: arrival` that the time at
    which an object or record came does. No row is then held against the partition that it lies in.
    """

    unit: Annotated[GrainName, Field(alias="grain")] = "day"
    timezone: Annotated[
        str, AfterValidator(field_reader(zone_name)), Field(description="IANA zone whose midnights begin days")
    ] = "UTC"
    by: Literal["event_time", "name", "arrival"] = "event_time"
    start: date | datetime | None = None
    end: date | datetime | None = None
    dimension: DimensionSpec | None = None

    @property
    def grain(self) -> Grain:
        """The grain with its zone and dimension: what turns keys into spans of time."""
        grain = grain_in(self.unit, self.timezone)
        return grain if self.dimension is None else DividedGrain(grain, self.dimension.dimension)

    @property
    def span(self) -> Span:
        """From when to when partitions are declared; a date is its midnight in UTC."""
        return Span(self.grain, _moment(self.start) if self.start else None, _moment(self.end) if self.end else None)

    @model_validator(mode="after")
    def _has_start(self) -> "PartitionSpec":
        try:
            grain_in(self.unit, self.timezone)
        except ConfigError as exc:
            raise ValueError(f"timezone: {exc.message}") from exc
        if self.unit == "all" and self.dimension is not None:
            raise ValueError("dimension: expected a grain of time beside it, found the grain all")
        if self.unit != "all" and self.start is None:
            raise ValueError("start: expected a date, for example 2024-01-01, found none")
        if self.start is not None and self.end is not None and _moment(self.end) <= _moment(self.start):
            raise ValueError(f"end: expected a time after start, {self.start}, found {self.end}")
        return self


def _moment(day: date | datetime) -> datetime:
    moment = day if isinstance(day, datetime) else datetime.combine(day, time())
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class DatasetSpec(Declaration):
    """One dataset: landing -> raw_events -> snapshot -> restored, with its checks, sensor, schedule and drill."""

    name: Name
    renamed_from: FormerNames = ()
    description: str = ""
    source: SourceSpec
    contract: str
    partitions: PartitionSpec
    backup: BackupSpec
    ingest_schedule: Annotated[Cron | None, Field(description="cron of the daily ingest")] = None
    halt_training_after: Annotated[
        Duration | None, Field(description="training halts when the newest restored partition ended longer ago than this")
    ] = None
    halt_training_behind: Annotated[
        Duration | None,
        Field(
            description="training halts when another dataset of the model goes on for longer than this after the newest restored"
        ),
    ] = None
    sensor: bool = True
    runs: RunsSpec = RunsSpec()
    resources: Annotated[ResourcesSpec | None, Field(description="what its runs are given on Kubernetes")] = None
    retries: RetryPolicy = RetryPolicy()

    @model_validator(mode="before")
    @classmethod
    def _shared_elsewhere(cls, value: Any) -> Any:
        return require_moved(value, {"share": SHARED})


class DatasetRef(Declaration):
    """A dataset another pipeline declares: `- ref: churn/orders`."""

    ref: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*/[a-z][a-z0-9_]*$")]


class PipelineViewSpec(FeatureViewSpec):
    """A feature view with how its table is kept."""

    backup: WeeklyBackup = WEEKLY


class PipelineModelSpec(ModelSpec):
    """A model with the label it learns, how its versions are kept, and how often its steps are tried.

    The label is SQL over its inputs (`label`), or comes with rows of one's own (`spine`).
    """

    label: LabelSpec | None = None
    spine: SpineSpec | None = None
    incomplete: IncompleteRows = IncompleteRows()
    backup: WeeklyBackup = WEEKLY
    retrain: Cron | None = None
    champion_max_age: Annotated[
        Duration | None, Field(description="people are told of a champion that was promoted longer ago than this")
    ] = None
    resources: Annotated[ResourcesSpec | None, Field(description="what the run that trains it is given on Kubernetes")] = (
        None
    )
    retries: RetryPolicy = RetryPolicy()

    @model_validator(mode="after")
    def _one_label(self) -> "PipelineModelSpec":
        if (self.label is None) == (self.spine is None):
            found = "none" if self.label is None else "both"
            raise ValueError(
                f"label: expected either label: {{sql, horizon}} or spine: {{from, label, horizon}}, found {found}"
            )
        return self

    @property
    def horizon(self) -> timedelta:
        """How far after its moment a label looks."""
        return next(one.horizon for one in (self.label, self.spine) if one is not None)


def _kind_of_dataset(value: Any) -> str:
    """Declared or borrowed, so that a mistake is told of the one that was meant."""
    borrowed = "ref" in value if isinstance(value, Mapping) else isinstance(value, DatasetRef)
    return "DatasetRef" if borrowed else "DatasetSpec"


AnyDataset = Annotated[
    Annotated[DatasetSpec, Tag("DatasetSpec")] | Annotated[DatasetRef, Tag("DatasetRef")], Discriminator(_kind_of_dataset)
]


def _some(datasets: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
    """At least one, but in the home of another account, which only pulls."""
    # of a pull that is declared wrongly nothing is known here
    if not datasets and not info.data.get("pulled_vaults", "wrong"):
        raise PydanticKnownError("too_short", {"field_type": "Tuple", "min_length": 1, "actual_length": 0})
    return datasets


class PipelineSpec(Declaration):
    """One pipeline.yaml."""

    # before the datasets, of which there may be none where there is one of these
    pulled_vaults: tuple[PulledVaultSpec, ...] = ()
    pipeline: Name
    description: str = ""
    owner: Annotated[str, Field(pattern=r"^(team:[\w-]+|[^@\s]+@[^@\s]+)$")] = "team:data"
    datasets: Annotated[tuple[AnyDataset, ...], AfterValidator(_some)]
    features: tuple[PipelineViewSpec, ...] = ()
    models: tuple[PipelineModelSpec, ...] = ()
    load: tuple[LoadSpec, ...] = ()
    share: tuple[ShareSpec, ...] = ()
    databases: tuple[DatabaseSpec, ...] = ()
    managed_backups: tuple[CheckedManagedBackup, ...] = ()
    budget: Annotated[BudgetSpec | None, Field(description="what its runs may cost in a day or a month")] = None

    @model_validator(mode="before")
    @classmethod
    def _pulls_alone(cls, value: Any) -> Any:
        return {"datasets": [], **value} if isinstance(value, Mapping) and value.get("pulled_vaults") else value
