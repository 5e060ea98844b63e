"""The rows of a training set as files, made from nothing or behind those that stand, with what a receipt tells of them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import chain
from pathlib import Path

import pyarrow as pa

from orchestrai.core.canonical import JsonValue
from orchestrai.core.verdict import Verdict
from orchestrai.features.completeness.horizons import Horizons, horizons_verdict
from orchestrai.features.completeness.incomplete_windows import windows_verdict
from orchestrai.features.completeness.lacking import Lacks, Reason, merged, reasons
from orchestrai.features.engines.engine import Engine
from orchestrai.features.feature_table import KeyWatch, Written, write_files
from orchestrai.features.labelling.labelled_rows import LabelledRows, Learning
from orchestrai.features.labelling.standing_rows import Sources, StandingRows, everything
from orchestrai.features.labels import FeatureFiles, LabelRun
from orchestrai.features.point_in_time_join import EVENT_TIME
from orchestrai.features.spec import IncompleteRows
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.stage.outcomes import Partitioned


@dataclass(frozen=True)
class RowsTask:
    """What rows are made of, and how: the columns they have, the engine of the label, and what was declared of datasets and of lacks."""

    ledger: Ledger
    sources: Sources
    schema: pa.Schema
    engine: Engine
    declared: Mapping[str, Partitioned]
    incomplete: IncompleteRows
    as_of_limit: datetime | None = None

    def made(self, standing: StandingRows | None, scratch: Path) -> "TrainingRows":
        """The rows, written below a folder; raises FeatureViewError, MissingObject, DigestMismatch, NotReceipted."""
        folder, entity = scratch / ("all" if standing is None else "some"), self.sources.features[0][0].entity
        with ExitStack() as stack:
            learning = self._learning(standing, folder / "labels", stack)
            parts = [learning.of(value) for value in learning.values()]
            rows: Iterator[pa.RecordBatch] = chain.from_iterable(part.batches(self.schema) for part in parts)
            if standing is not None:
                rows = standing.with_new(rows, self.schema, max(part.limit for part in parts), folder / "new")
            watch = KeyWatch((*entity, EVENT_TIME), entity)
            written = write_files(watch.watch(rows), self.schema, folder / "rows")
        return TrainingRows(self, parts, watch, written, standing)

    def _learning(self, standing: StandingRows | None, scratch: Path, stack: ExitStack) -> Learning:
        sources, since = self.sources, standing.since if standing is not None else None
        wanted = standing.wanted if standing is not None else everything(sources)
        datasets = [dataset.of_keys(keys) for (_, dataset), keys in zip(sources.features, wanted.features, strict=True)]
        tables = [(view, _files(dataset, stack)) for (view, _), dataset in zip(sources.features, datasets, strict=True)]
        files = stack.enter_context(sources.opened.fetched(wanted.labels))
        spec = sources.spec
        run = LabelRun(sources.label, spec, sources.opened, files, self.engine, scratch, Horizons(spec.horizon, ()))
        features = [(view, dataset.asset) for view, dataset in sources.features]
        return Learning(features, datasets, tables, run, self.declared, self.incomplete, self.as_of_limit, since)


@dataclass(frozen=True)
class TrainingRows:
    """Rows that were written, and what was seen of them meanwhile."""

    task: RowsTask
    parts: Sequence[LabelledRows]
    watch: KeyWatch
    written: Sequence[Written]
    standing: StandingRows | None = None

    @cached_property
    def _lacked(self) -> tuple[Lacks, Lacks]:
        """What horizons lacked, and what windows did."""
        return merged(part.horizons.lacks for part in self.parts), merged(part.windows.lacks for part in self.parts)

    @cached_property
    def _told(self) -> dict[str, Reason]:
        return reasons(self.task.ledger, self.task.declared, merged(self._lacked))

    @property
    def _unknown(self) -> int:
        return sum(part.windows.unknown for part in self.parts)

    @property
    def lacking(self) -> bool:
        """Whether anything was lacking in what was looked at, also where it marks none of these rows, or nobody can tell."""
        return bool(self._told) or self._unknown > 0 or not all(part.windows.clean for part in self.parts)

    @property
    def _seen(self) -> int:
        """The rows that came by; where some stood nothing was left out."""
        return self.watch.rows if self.standing is not None else sum(part.windows.rows for part in self.parts)

    def verdicts(self) -> list[Verdict]:
        """Keys, that there are rows, and how many were left out or marked because something was lacking."""
        marked, left_out = (
            sum(part.windows.marked for part in self.parts),
            sum(part.horizons.left_out for part in self.parts),
        )
        most, (horizons, windows) = self.task.incomplete.at_most, self._lacked
        return [
            *self.watch.verdicts(self.task.sources.label.name),
            self._not_empty(),
            horizons_verdict(self._seen, left_out, _only(self._told, horizons), most),
            windows_verdict(self._seen, marked, _only(self._told, windows), most),
        ]

    def facts(self) -> dict[str, JsonValue]:
        """What a receipt tells of the rows."""
        entity = self.task.sources.features[0][0].entity
        facts: dict[str, JsonValue] = {
            "rows": self.watch.rows,
            "data_end": max(part.end for part in self.parts).isoformat(),
            "last_moment": max(part.limit for part in self.parts).isoformat(),
            "features": len(self.task.schema) - len(entity) - 2,
            "engine": self.task.engine.name,
        }
        if self._told:
            left_out = sum(part.horizons.left_out for part in self.parts)
            facts["incomplete"] = {
                "horizons_left_out": left_out,
                "windows": sum(part.windows.marked for part in self.parts),
                "windows_were": "left out" if self.task.incomplete.windows == "drop" else "kept",
                "of_rows": self._seen + left_out,
                "lacking": {place: str(reason) for place, reason in self._told.items()},
            }
        if self._unknown:
            facts["windows_not_noted"] = self._unknown
        if any(part.value for part in self.parts):
            facts["values"] = {part.value: part.windows.rows for part in self.parts}
        if self.standing is not None:
            before = self.standing.since.isoformat()
            facts["rows_stood"] = {"before": before, "of": self.standing.current.version}
        return facts

    def _not_empty(self) -> Verdict:
        end, horizon = max(part.end for part in self.parts), self.task.sources.spec.horizon
        message = f"expected labelled rows, found none: no moment has its horizon of {horizon} complete by {end.isoformat()}"
        return Verdict("not_empty", self.watch.rows > 0, "" if self.watch.rows else message)


def _files(dataset: Dataset, stack: ExitStack) -> FeatureFiles:
    partitions = stack.enter_context(dataset.fetched(sorted(dataset.partitions)))
    return {key: [file.path for file in files] for key, files in partitions.items()}


def _only(told: Mapping[str, Reason], lacks: Lacks) -> dict[str, Reason]:
    places = {f"{asset}@{key}" for asset, keys in lacks.items() for key in keys}
    return {place: reason for place, reason in told.items() if place in places}
