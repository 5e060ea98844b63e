"""What a user writes in pipeline.yaml: datasets, feature views and models.

Each stage owns the shape of its own part (source, backup, feature view, model); here they are put together.
"""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from orchestrai.backup.spec import WEEKLY, CheckedManagedBackup, DatabaseSpec, WeeklyBackup
from orchestrai.backup.subjects import HOUSE
from orchestrai.core.calendar import Grain
from orchestrai.features.spec import FeatureViewSpec, LabelSpec
from orchestrai.ingest.spec import Duration, SourceSpec
from orchestrai.models.spec import ModelSpec
from orchestrai.pipeline.retry_policy import RetryPolicy
from orchestrai.vault.spec import BackupSpec
from orchestrai.warehouse.spec import LoadSpec

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$", description="lower case, digits and underscores")]


class Declared(BaseModel):
    """Base of all declarations: immutable, and an unknown field is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class PartitionSpec(Declared):
    """How a dataset is cut by time (UTC)."""

    grain: Grain = "day"
    start: date | datetime | None = None
    end: date | datetime | None = None

    @model_validator(mode="after")
    def _has_start(self) -> "PartitionSpec":
        if self.grain != "all" and self.start is None:
            raise ValueError("expected a start date, for example 2024-01-01")
        return self


class DatasetSpec(Declared):
    """One dataset: landing -> raw_events -> snapshot -> restored, with its checks, sensor, schedule and drill."""

    name: Name
    description: str = ""
    source: SourceSpec
    contract: str
    partitions: PartitionSpec
    backup: BackupSpec
    ingest_schedule: Annotated[str | None, Field(description="cron of the daily ingest")] = None
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
    retries: RetryPolicy = RetryPolicy()
    share: Annotated[
        tuple[Literal["delta", "iceberg"], ...], Field(description="register the restored files as tables for other tools")
    ] = ()


class DatasetRef(Declared):
    """A dataset another pipeline declares: `- ref: churn/orders`."""

    ref: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*/[a-z][a-z0-9_]*$")]


class PipelineViewSpec(FeatureViewSpec):
    """A feature view with how its table is kept."""

    backup: WeeklyBackup = WEEKLY


class PipelineModelSpec(ModelSpec):
    """A model with the label it learns, how its versions are kept, and how often its steps are tried."""

    label: LabelSpec
    backup: WeeklyBackup = WEEKLY
    retries: RetryPolicy = RetryPolicy()


class PipelineSpec(Declared):
    """One pipeline.yaml."""

    pipeline: Name
    description: str = ""
    owner: Annotated[str, Field(pattern=r"^(team:[\w-]+|[^@\s]+@[^@\s]+)$")] = "team:data"
    datasets: Annotated[tuple[DatasetSpec | DatasetRef, ...], Field(min_length=1)]
    features: tuple[PipelineViewSpec, ...] = ()
    models: tuple[PipelineModelSpec, ...] = ()
    load: tuple[LoadSpec, ...] = ()
    databases: tuple[DatabaseSpec, ...] = ()
    managed_backups: tuple[CheckedManagedBackup, ...] = ()

    @model_validator(mode="after")
    def _names_resolve(self) -> "PipelineSpec":
        own = [dataset.name for dataset in self.datasets if isinstance(dataset, DatasetSpec)]
        refs = [dataset.ref.split("/")[1] for dataset in self.datasets if isinstance(dataset, DatasetRef)]
        names = [*own, *refs, *(view.name for view in self.features), *(model.name for model in self.models)]
        names += [load.name for load in self.load]
        names += [*(database.name for database in self.databases), *(managed.name for managed in self.managed_backups)]
        if self.pipeline == HOUSE:
            raise ValueError(f"pipeline: expected another name, found {HOUSE!r}, which is the group of what keeps the house")
        triggers = {*own, *(model.name for model in self.models)}
        for managed in self.managed_backups:
            if managed.after is not None and managed.after not in triggers:
                raise ValueError(
                    f"managed_backups.{managed.name}.after: expected one of {sorted(triggers)}, found {managed.after!r}"
                )
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"expected distinct names, found {', '.join(twice)} more than once")
        views = {view.name for view in self.features}
        for model in self.models:
            missing = sorted(set(model.features) - views)
            if missing:
                raise ValueError(f"models.{model.name}.features: expected one of {sorted(views)}, found {missing[0]!r}")
        return self
