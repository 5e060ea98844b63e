"""Labels of feature rows: computed from what happened at or after each row's moment, and from nothing before."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrai.core.time.calendar import window
from orchestrai.core.time.duration_cron import format_duration
from orchestrai.core.time.partition_key import by_value
from orchestrai.core.verdict import Verdict
from orchestrai.errors import FeatureViewError
from orchestrai.features.completeness.horizons import Horizons, read_tables
from orchestrai.features.engines.engine import Engine, Query, Source, Spine
from orchestrai.features.feature_table import KeyWatch, write_files
from orchestrai.features.incremental.partition_spans import ALWAYS
from orchestrai.features.ports import LabelledDataset, Learner
from orchestrai.features.spec import LabelSpec, parse_moment
from orchestrai.features.views.portable_types import UTC_MICROS, readable
from orchestrai.features.views.view import AS_OF, FeatureView, load_label
from orchestrai.features.views.view_inputs import Files, Inputs, Span, time_bounds
from orchestrai.ledger.ledger import Ledger
from orchestrai.stage.outcomes import Partitioned

FeatureFiles = Mapping[str, Sequence[Path]]


def bind_label(
    ledger: Ledger,
    spec: LabelSpec,
    inputs: Mapping[str, str],
    folder: Path,
    primary: FeatureView,
    declared: Mapping[str, pa.Schema] | None = None,
) -> FeatureView:
    """Load the label against the declared schemas of its inputs, else those stored last, and the keys of the primary view."""
    schemas = dict(declared or {})
    for name, asset in inputs.items():
        if name in schemas:
            continue
        dataset = ledger.open(asset)
        newest = max(dataset.partitions)
        with dataset.fetched([newest]) as files:
            schemas[name] = readable(pq.read_schema(files[newest][0].path))
    return declared_label(spec, schemas, folder, primary)


def declared_label(spec: LabelSpec, inputs: Mapping[str, pa.Schema], folder: Path, primary: FeatureView) -> FeatureView:
    """Load the label against schemas of its inputs and the keys of the primary view; raises FeatureViewError, asks for no data."""
    fields = [primary.schema.field(name) for name in primary.entity]
    spine = pa.schema([*fields, pa.field(AS_OF, UTC_MICROS)])
    label = load_label(spec, folder, inputs, primary.entity, primary.time, spine)
    others = [name for name in read_tables(label) if name != primary.first_table]
    if primary.kind == "row" and others:
        raise FeatureViewError(
            f"{label.name}: expected the label of {primary.name} to read {primary.first_table}, whose events its rows are of, found "
            f"{', '.join(others)}: events of another table lie at moments of their own, which no row has; label it from "
            f"{primary.first_table}, or put a view with as_of first, whose label may read any input"
        )
    return label


def data_end(view: FeatureView, opened: Inputs, files: Files, declared: Mapping[str, Partitioned] | None = None) -> datetime:
    """Where the data of the label's inputs ends, the first of them that does: labels need their whole horizon before it.

    Inputs are the tables that its SQL names. The first ends with its last event; another, in which little may happen, with its newest
    partition where the datasets `declared` by asset say that it is whole, else with its last event too. A table without a clock, or
    one that is read as a whole, has no end: it says what holds.
    """
    ends = []
    for number, name in enumerate(read_tables(view) or [view.first_table]):
        table, dataset = view.tables[name], opened.datasets[name]
        if table.event_time is None or table.whole:
            continue
        like = (declared or {}).get(dataset.asset) if number else None
        spans = opened.spans[name].values()
        if like is not None and not like.positioned and spans and ALWAYS not in spans:
            ends.append(max(end for _, end in spans))
            continue
        last = _last_event(opened.spans[name], files[name], table.event_time)
        if last is None:
            raise FeatureViewError(f"{view.name}: expected rows in {name}, found none: materialize {dataset.asset}")
        ends.append(last)
    return min(ends, default=datetime.max.replace(tzinfo=UTC))


def _last_event(spans: Mapping[str, Span], files: Mapping[str, Sequence[Path]], column: str) -> datetime | None:
    """The newest moment in the files of a table: no partition that ended before it holds a later one; None without rows."""
    last: datetime | None = None
    for key in sorted((key for key in files if key in spans), key=lambda key: spans[key][1], reverse=True):
        if last is not None and spans[key][1] <= last:
            break
        bounds = time_bounds(files[key], column)
        last = max(filter(None, (last, bounds and bounds[1])), default=None)
    return last


@dataclass(frozen=True)
class LabelRun:
    """Everything a label needs to run over the primary view's rows."""

    view: FeatureView
    spec: LabelSpec
    opened: Inputs
    files: Files
    engine: Engine
    scratch: Path
    horizons: Horizons

    def of_value(self, value: str) -> "LabelRun":
        """The same over the partitions that a value may read."""
        return replace(self, opened=self.opened.of_value(value), scratch=self.scratch / value)

    def within(self, horizons: Horizons) -> "LabelRun":
        """The same with these horizons."""
        return replace(self, horizons=horizons)

    def moments(self, features: FeatureFiles, limit: datetime, rows: Mapping[str, int]) -> list[Path]:
        """Labels of an as-of view: one file per moment up to `limit`, which sees [as_of, as_of + horizon) only.

        A moment whose horizon lacks something has none; `rows` are those of its features.
        """
        seen: dict[str, Mapping[str, Source]] = {}
        for key in sorted(features):
            as_of = parse_moment(key)
            if as_of > limit:
                continue
            if self.horizons.lacking(as_of):
                self.horizons.left_out += rows[key]
                continue
            seen[key] = self._sources(as_of, as_of + self.spec.horizon)
        written: list[Path] = []
        reads = {name: [sources[name].files for sources in seen.values()] for name in self.view.tables}
        with self.engine.resident(self.view, reads):
            for key, sources in seen.items():
                written += self._run(sources, Spine(files=features[key]), self.scratch / f"label-{len(written):05d}")
        return written

    def rows(self, limit: datetime, since: datetime | None = None) -> list[Path]:
        """Labels of a row-level view, all at once, for rows from `since` on and before `limit` whose horizon lacks nothing."""
        keep = (since or datetime(1, 1, 1, tzinfo=UTC), limit)
        return self._run(self._sources(since, None), None, self.scratch / "label", keep)

    def _sources(self, since: datetime | None, until: datetime | None) -> dict[str, Source]:
        return {
            name: Source(
                table,
                [path for key in self.opened.needed(name, since, until) for path in self.files[name][key]],
                since=since,
                until=until,
            )
            for name, table in self.view.tables.items()
        }

    def _run(
        self,
        sources: Mapping[str, Source],
        spine: Spine | None,
        folder: Path,
        keep: tuple[datetime, datetime] | None = None,
    ) -> list[Path]:
        watch = KeyWatch(self.view.key, self.view.entity)
        with self.engine.run(Query(self.view, sources, spine, keep)) as batches:
            watched = watch.watch(batches)
            # the labels of a moment were left out before
            whole = watched if spine is not None else self.horizons.complete(watched, self.view.time)
            written = write_files(whole, self.view.schema, folder)
        failed = [verdict.message for verdict in watch.verdicts(self.view.name) if not verdict.passed]
        if failed:
            raise FeatureViewError(f"{self.view.name}: {failed[0]}")
        return [part.path for part in written]


def inputs_current(ledger: Ledger, model: Learner, now: datetime) -> Verdict:
    """Whether every dataset that a model learns from has restored data as new as it declares.

    `halt_training_after` counts from `now`; `halt_training_behind` from the newest restored partition of the model's other datasets,
    so that it holds for data of any age.
    """
    datasets = {dataset.prefix: dataset for dataset in model.label_inputs.values()}
    late = [message for dataset in datasets.values() if (message := _late(ledger, dataset, now))]
    late += [message for dataset in datasets.values() if (message := _behind(ledger, dataset, datasets.values()))]
    if late:
        return Verdict("inputs_current", False, "; ".join(late))
    return Verdict("inputs_current", True, "all inputs are as new as declared")


def _late(ledger: Ledger, dataset: LabelledDataset, now: datetime) -> str:
    if dataset.halt_training_after is None:
        return ""
    asset, grain = dataset.asset("restored"), dataset.grain
    limit = now - dataset.halt_training_after
    restored = ledger.find(asset)
    due = f"expected data of {dataset.prefix} since {limit:%Y-%m-%d %H:%M}"
    if restored is None or not restored.partitions:
        return f"{due}, found none restored: look at its ingest"
    # of a dimension each value has a newest one, and the oldest of these says how old the data is
    newest = min(keys[-1] for keys in by_value(restored.partitions).values())
    ended = datetime.fromisoformat(restored.head.time) if grain == "all" else window(newest, grain)[1]
    return f"{due}, found {newest} the newest restored: look at its ingest, then train again" if ended < limit else ""


def _behind(ledger: Ledger, dataset: LabelledDataset, all_datasets: Iterable[LabelledDataset]) -> str:
    """Its newest partition ended longer before another's newest began; one that is not cut by time goes on with none."""
    if dataset.halt_training_behind is None:
        return ""
    newest = {other.prefix: _newest(ledger, other) for other in all_datasets if other.prefix != dataset.prefix}
    others = [(span[0], name) for name, span in newest.items() if span]
    if not others:
        return ""
    begun, other = max(others)
    span = _newest(ledger, dataset)
    if span is not None and span[1] >= begun - dataset.halt_training_behind:
        return ""
    last = f"{span[1]:%Y-%m-%d %H:%M} the end of the newest restored" if span else "none restored"
    return (
        f"expected data of {dataset.prefix} at most {format_duration(dataset.halt_training_behind)} behind {other}, which goes on to "
        f"{begun:%Y-%m-%d %H:%M}, found {last}: look at its ingest, then train again"
    )


def _newest(ledger: Ledger, dataset: LabelledDataset) -> tuple[datetime, datetime] | None:
    """The span of the newest restored partition, of a dimension of that value whose newest is the oldest."""
    grain, restored = dataset.grain, ledger.find(dataset.asset("restored"))
    if restored is None or not restored.partitions or grain == "all":
        return None
    return window(min(keys[-1] for keys in by_value(restored.partitions).values()), grain)
