"""The labelled rows of one value of a dimension, of all where there is none: labels and features of that value's partitions alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from orchestrai.core.time.partition_key import values_of
from orchestrai.errors import FeatureViewError
from orchestrai.features.completeness.horizons import Horizons, read_tables
from orchestrai.features.completeness.lacking import DatasetState, dataset_state
from orchestrai.features.engines.spark_engine import SparkEngine
from orchestrai.features.incremental.partition_spans import ALWAYS
from orchestrai.features.labels import FeatureFiles, LabelRun, data_end
from orchestrai.features.point_in_time_join import LabelFiles, ViewFiles, joined
from orchestrai.features.spec import IncompleteRows, LabelSpec
from orchestrai.features.views.moment_partitions import feature_spans
from orchestrai.features.views.view import FeatureView
from orchestrai.features.views.view_inputs import Inputs
from orchestrai.ledger.dataset import Dataset
from orchestrai.stage.outcomes import Partitioned

if TYPE_CHECKING:
    from orchestrai.features.completeness.row_marks import TrainingWindows

FeatureTables = Sequence[tuple[FeatureView, FeatureFiles]]


@dataclass(frozen=True)
class Learning:
    """What a training set is made from, of whatever value: features with their files and tables, the label, what was declared of it all.

    Rows of events are made from `since` on.
    """

    features: Sequence[tuple[FeatureView, str]]
    datasets: Sequence[Dataset]
    tables: FeatureTables
    run: LabelRun
    declared: Mapping[str, Partitioned]
    incomplete: IncompleteRows
    as_of_limit: datetime | None = None
    since: datetime | None = None

    def values(self) -> list[str]:
        """The values to learn from: those of the first view that the label's first input has too; one empty where there is no dimension.

        Raises FeatureViewError where they have none in common.
        """
        read = next(iter(self.run.opened.datasets.values()))
        own, known = values_of(self.datasets[0].partitions), values_of(read.partitions)
        values = [value for value in own if not known or value in known]
        if own and not values:
            raise FeatureViewError(
                f"{self.run.view.name}: expected partitions of {', '.join(own)} in {read.asset}, found those of {', '.join(known)}: "
                "restore them first"
            )
        return values or [""]

    def of(self, value: str) -> "LabelledRows":
        """The rows of a value, their labels computed; raises FeatureViewError."""
        from orchestrai.features.completeness.row_marks import training_windows

        datasets = [dataset.of_value(value) for dataset in self.datasets]
        tables = [
            (view, {key: files[key] for key in dataset.partitions})
            for (view, files), dataset in zip(self.tables, datasets, strict=True)
        ]
        run, primary, spec = self.run.of_value(value), self.features[0][0], self.run.spec
        end = data_end(run.view, run.opened, run.files, self.declared)
        limit = min(end, self.as_of_limit or end) - spec.horizon
        until = _reaches(primary, datasets[0], spec, limit)
        run = run.within(Horizons(spec.horizon, _label_states(run.view, run.opened, self.declared, until, self.since)))
        if primary.kind == "entity":
            labels = run.moments(tables[0][1], limit, {key: entry.rows for key, entry in datasets[0].partitions.items()})
        else:
            labels = run.rows(limit + timedelta(microseconds=1), self.since)
        windows = training_windows(self.features, datasets, self.declared, self.incomplete.windows)
        return LabelledRows(value, end, limit, labels, tables, run, windows)


@dataclass(frozen=True)
class LabelledRows:
    """The labels of a value up to `limit`, with the features to join them to, and what was left out or marked of its rows."""

    value: str
    end: datetime
    limit: datetime
    labels: Sequence[Path]
    tables: FeatureTables
    run: LabelRun
    windows: "TrainingWindows"

    @property
    def horizons(self) -> Horizons:
        """What horizons lacked."""
        return self.run.horizons

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The rows, sorted by entity and time."""
        if not self.labels:
            return
        views = [ViewFiles(view, [path for key in sorted(files) for path in files[key]]) for view, files in self.tables]
        label = self.run.view
        labels, engine = LabelFiles(label.entity, label.time, self.labels), self.run.engine
        if isinstance(engine, SparkEngine):
            from orchestrai.features.engines.spark_join import joined_on_spark

            rows = joined_on_spark(engine, views, labels, self.windows.back)
        else:
            rows = joined(views, labels, back=self.windows.back)
        with rows as batches:
            for batch in self.windows.chosen(batches, len(schema)):
                yield batch.cast(schema)


def _reaches(primary: FeatureView, features: Dataset, label: LabelSpec, limit: datetime) -> datetime | None:
    """The end of the last horizon that may be looked at."""
    if not features.partitions:
        return None
    newest = max(feature_spans(primary, features, None).values())[1]
    return min(newest, limit) + label.horizon if newest != ALWAYS[1] else limit + label.horizon


def _label_states(
    view: FeatureView,
    opened: Inputs,
    declared: Mapping[str, Partitioned],
    until: datetime | None,
    since: datetime | None,
) -> list[DatasetState]:
    """What each dataset that the label reads lacks from the first row that is made up to the end of the last horizon."""
    datasets = [opened.datasets[name] for name in read_tables(view)]
    return [dataset_state(dataset, declared.get(dataset.asset), until, since) for dataset in datasets]
