"""What a user writes in pipeline.yaml: datasets, feature views and models.

Each stage owns the shape of its own part (source, backup, feature view, model); here they are put together.
"""

from datetime import date, datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from orchestrai.contracts.calendar import Grain
from orchestrai.features import FeatureViewSpec, LabelSpec
from orchestrai.ingest import SourceSpec
from orchestrai.models import ModelSpec
from orchestrai.vault import BackupSpec

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
    sensor: bool = True


class DatasetRef(Declared):
    """A dataset another pipeline declares: `- ref: churn/orders`."""

    ref: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*/[a-z][a-z0-9_]*$")]


class PipelineModelSpec(ModelSpec):
    """A model with the label it learns."""

    label: LabelSpec


class PipelineSpec(Declared):
    """One pipeline.yaml."""

    pipeline: Name
    description: str = ""
    owner: Annotated[str, Field(pattern=r"^(team:[\w-]+|[^@\s]+@[^@\s]+)$")] = "team:data"
    datasets: Annotated[tuple[DatasetSpec | DatasetRef, ...], Field(min_length=1)]
    features: tuple[FeatureViewSpec, ...] = ()
    models: tuple[PipelineModelSpec, ...] = ()

    @model_validator(mode="after")
    def _names_resolve(self) -> "PipelineSpec":
        own = [dataset.name for dataset in self.datasets if isinstance(dataset, DatasetSpec)]
        refs = [dataset.ref.split("/")[1] for dataset in self.datasets if isinstance(dataset, DatasetRef)]
        names = [*own, *refs, *(view.name for view in self.features), *(model.name for model in self.models)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"expected distinct names, found {', '.join(twice)} more than once")
        views = {view.name for view in self.features}
        for model in self.models:
            missing = sorted(set(model.features) - views)
            if missing:
                raise ValueError(f"models.{model.name}.features: expected one of {sorted(views)}, found {missing[0]!r}")
        return self
