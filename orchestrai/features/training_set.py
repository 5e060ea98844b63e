"""Training sets: labels joined to the features that were known, never to the future."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from orchestrai.core.canonical import JsonValue
from orchestrai.core.code_identity import Producer
from orchestrai.core.verdict import CheckInfo, Verdict
from orchestrai.features.completeness.horizons import HORIZONS_COMPLETE, Horizons, horizons_verdict, read_tables
from orchestrai.features.completeness.incomplete_windows import WINDOWS_COMPLETE, windows_verdict
from orchestrai.features.completeness.lacking import DatasetState, Lacks, Reason, dataset_state, merged, reasons
from orchestrai.features.contract_in_force import INFO as IN_FORCE
from orchestrai.features.contract_in_force import contract_in_force
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.engines.engine import Engine
from orchestrai.features.feature_table import KeyWatch, write_files
from orchestrai.features.incremental.partition_spans import ALWAYS
from orchestrai.features.labels import FeatureFiles, LabelRun, bind_label, data_end, inputs_current
from orchestrai.features.point_in_time_join import (
    EVENT_TIME,
    LABEL,
    LabelFiles,
    ViewFiles,
    joined,
    require_joinable,
)
from orchestrai.features.ports import Engines, Learner
from orchestrai.features.spec import IncompleteRows, LabelSpec
from orchestrai.features.views.moment_partitions import feature_spans, require_definition
from orchestrai.features.views.portable_types import UTC_MICROS
from orchestrai.features.views.view import FeatureView
from orchestrai.features.views.view_inputs import Inputs, open_inputs
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import UNPARTITIONED
from orchestrai.ledger.receipt import InputRef
from orchestrai.ledger.report import Meter, PartitionOutcome, StageReport
from orchestrai.stage.context import RunContext
from orchestrai.stage.outcomes import Partitioned
from orchestrai.stage.stage import AssetNode, Stage

if TYPE_CHECKING:
    from orchestrai.features.completeness.row_marks import TrainingWindows

PRODUCER = Producer("training_set", __name__)
FeatureTables = Sequence[tuple[FeatureView, FeatureFiles]]


@dataclass(frozen=True)
class LabelInputs:
    """What a label is made of: the assets by the names of its tables, and the folder that its SQL lies in.

    It is held to the declared `schemas` of its tables, or to those stored last.
    """

    assets: Mapping[str, str]
    folder: Path
    schemas: Mapping[str, pa.Schema] | None = None


def training_set(
    ledger: Ledger,
    *,
    asset: str,
    features: Sequence[tuple[FeatureView, str]],
    label: LabelSpec,
    inputs: LabelInputs,
    engine: Engine | None = None,
    as_of_limit: datetime | None = None,
    verdicts: Sequence[Verdict] = (),
    declared: Mapping[str, Partitioned] | None = None,
    incomplete: IncompleteRows | None = None,
) -> StageReport:
    """Join labels to feature tables on entity and time, and publish one Parquet partition `all`.

    The first feature view gives the rows. Only moments whose horizon is complete take part: it ends by the end of the label inputs' data
    (and by `as_of_limit`) and lacks no partition in which data was due, as the datasets `declared` by asset say; `incomplete` says what
    becomes of rows whose windows lack one. Columns: the entity's, `event_time`, `label`, then the features. The receipt carries
    `verdicts`, given on the inputs beforehand, with its own. Raises FeatureViewError.
    """
    from orchestrai.features.completeness.row_marks import training_windows

    declared, incomplete = declared or {}, incomplete or IncompleteRows()
    engine = engine or DuckDbEngine()
    primary = features[0][0]
    require_joinable([view for view, _ in features])
    with Meter() as meter, ExitStack() as stack:
        session = ledger.session(asset, PRODUCER)
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orchestrai-training-")))
        datasets = [_open_features(ledger, view, name) for view, name in features]
        tables = [
            (view, stack.enter_context(_files(dataset))) for (view, _), dataset in zip(features, datasets, strict=True)
        ]
        view = bind_label(ledger, label, inputs.assets, inputs.folder, primary, inputs.schemas)
        opened = open_inputs(ledger, view, inputs.assets)
        files = stack.enter_context(opened.fetched({name: list(spans) for name, spans in opened.spans.items()}))
        end = data_end(view, opened, files)
        limit = min(end, as_of_limit or end) - label.horizon
        horizons = Horizons(
            label.horizon, _label_states(view, opened, declared, _reaches(primary, datasets[0], label, limit))
        )
        run = LabelRun(view, label, opened, files, engine, scratch, horizons)
        if primary.kind == "entity":
            labels = run.moments(tables[0][1], limit, {key: entry.rows for key, entry in datasets[0].partitions.items()})
        else:
            labels = run.rows(limit + timedelta(microseconds=1))
        schema = _schema(features, view)
        watch = KeyWatch((*primary.entity, EVENT_TIME), primary.entity)
        windows = training_windows(features, datasets, declared, incomplete.windows)
        with _joined(labels, tables, view, windows, schema) as batches:
            written = write_files(watch.watch(batches), schema, scratch / "out")
        for part in written:
            session.add_file(UNPARTITIONED, part.path.name, part.path, rows=part.rows)
        facts: dict[str, JsonValue] = {
            "rows": watch.rows,
            "data_end": end.isoformat(),
            "last_moment": limit.isoformat(),
            "features": len(schema) - len(primary.entity) - 2,
            "engine": engine.name,
        }
        told = reasons(ledger, declared, merged([horizons.lacks, windows.lacks]))
        judged = [
            _not_empty(watch.rows, label, end),
            horizons_verdict(windows.rows, horizons.left_out, _only(told, horizons.lacks), incomplete.at_most),
            windows_verdict(windows.rows, windows.marked, _only(told, windows.lacks), incomplete.at_most),
        ]
        if told:
            facts["incomplete"] = {
                "horizons_left_out": horizons.left_out,
                "windows": windows.marked,
                "windows_were": "left out" if incomplete.windows == "drop" else "kept",
                "of_rows": windows.rows + horizons.left_out,
                "lacking": {place: str(reason) for place, reason in told.items()},
            }
        if windows.unknown:
            facts["windows_not_noted"] = windows.unknown
        return session.commit(
            {UNPARTITIONED: [*verdicts, *watch.verdicts(view.name), *judged]},
            inputs=[
                *(InputRef(dataset.asset, dataset.version, dataset.roots()) for dataset in datasets),
                *opened.refs(opened.spans),
            ],
            parameters={
                "label": label.model_dump(mode="json"),
                "label_sql": view.sql,
                "label_hash": view.hash,
                "views": [recorded(view, name) for view, name in features],
                "columns": list(schema.names),
                "as_of_limit": as_of_limit.isoformat() if as_of_limit else None,
                "incomplete": incomplete.model_dump(mode="json"),
            },
            cost=meter.cost(),
            facts=facts,
        )


def recorded(view: FeatureView, asset: str) -> dict[str, JsonValue]:
    """What a receipt keeps of a view, so that a model that learns from the set knows what it must be given later."""
    return {
        "name": view.name,
        "asset": asset,
        "hash": view.hash,
        "kind": view.kind,
        "time": view.time,
        "entity": list(view.entity),
        "first_table": view.first_table,
        "features": list(view.features),
    }


def _open_features(ledger: Ledger, view: FeatureView, asset: str) -> Dataset:
    dataset = ledger.open(asset)
    require_definition(dataset, sorted(dataset.partitions), view.name, view.hash, "compute it again")
    return dataset


@contextmanager
def _files(dataset: Dataset) -> Iterator[FeatureFiles]:
    with dataset.fetched(sorted(dataset.partitions)) as partitions:
        yield {key: [file.path for file in files] for key, files in partitions.items()}


def _schema(features: Sequence[tuple[FeatureView, str]], label: FeatureView) -> pa.Schema:
    primary = features[0][0]
    return pa.schema(
        [
            *(primary.schema.field(name) for name in primary.entity),
            pa.field(EVENT_TIME, UTC_MICROS),
            pa.field(LABEL, label.schema.field(LABEL).type),
            *(view.schema.field(name) for view, _ in features for name in view.features),
        ]
    )


@contextmanager
def _joined(
    labels: Sequence[Path], tables: FeatureTables, label: FeatureView, windows: "TrainingWindows", schema: pa.Schema
) -> Iterator[Iterator[pa.RecordBatch]]:
    """The rows of the training set, sorted by entity and time."""
    if not labels:
        yield iter(())
        return
    views = [ViewFiles(view, [path for key in sorted(files) for path in files[key]]) for view, files in tables]
    with joined(views, LabelFiles(label.entity, label.time, labels), back=windows.back) as batches:
        yield (batch.cast(schema) for batch in windows.chosen(batches, len(schema)))


def _reaches(primary: FeatureView, features: Dataset, label: LabelSpec, limit: datetime) -> datetime | None:
    """The end of the last horizon that may be looked at."""
    if not features.partitions:
        return None
    newest = max(feature_spans(primary, features, None).values())[1]
    return min(newest, limit) + label.horizon if newest != ALWAYS[1] else limit + label.horizon


def _label_states(
    view: FeatureView, opened: Inputs, declared: Mapping[str, Partitioned], until: datetime | None
) -> list[DatasetState]:
    """What each dataset that the label reads lacks up to the end of the last horizon."""
    datasets = [opened.datasets[name] for name in read_tables(view)]
    return [dataset_state(dataset, declared.get(dataset.asset), until) for dataset in datasets]


def _only(told: Mapping[str, Reason], lacks: Lacks) -> dict[str, Reason]:
    places = {f"{asset}@{key}" for asset, keys in lacks.items() for key in keys}
    return {place: reason for place, reason in told.items() if place in places}


def _not_empty(rows: int, label: LabelSpec, end: datetime) -> Verdict:
    message = (
        f"expected labelled rows, found none: no moment has its horizon of {label.horizon} complete by {end.isoformat()}"
    )
    return Verdict("not_empty", rows > 0, "" if rows else message)


# -- the stage ---------------------------------------------------------------------------------------------------


def _checks(model: Learner) -> tuple[CheckInfo, ...]:
    limited = model.incomplete.at_most is not None
    return (
        *CHECKS,
        CheckInfo(
            HORIZONS_COMPLETE, limited, "No label was left out because its horizon lacks a partition in which data was due."
        ),
        CheckInfo(WINDOWS_COMPLETE, limited, "No row's windows lack a partition in which data was due."),
    )


CHECKS = (
    CheckInfo("not_empty", True, "At least one label whose horizon is complete."),
    CheckInfo("inputs_current", True, "Every dataset it learns from has data as new as declared (halt_training_after)."),
    IN_FORCE,
)


def _run(context: RunContext, node: AssetNode[Learner], partitions: Sequence[str]) -> StageReport:
    model = node.subject
    given = [inputs_current(context.ledger, model, context.now()), contract_in_force(context.ledger, model)]
    if any(verdict.closes_gate for verdict in given):
        return StageReport(node.asset, None, (PartitionOutcome("all", False, verdicts=tuple(given)),))
    return training_set(
        context.ledger,
        asset=node.asset,
        features=[(view.view, view.asset) for view in model.views],
        label=model.label,
        inputs=LabelInputs(
            {table: dataset.asset("restored") for table, dataset in model.label_inputs.items()},
            model.folder,
            {table: dataset.table_schema for table, dataset in model.label_inputs.items()},
        ),
        engine=context.port(Engines).choose("auto", 0),
        verdicts=given,
        declared=_declared(model),
        incomplete=model.incomplete,
    )


def _declared(model: Learner) -> dict[str, Partitioned]:
    """The datasets behind a model, by the assets that are read of them and by the feature tables that are cut like them."""
    read = [dataset for view in model.views for dataset in view.inputs.values()]
    cut = {view.asset: view.partitioned_like for view in model.views}
    return {
        **{dataset.asset("restored"): dataset for dataset in (*read, *model.label_inputs.values())},
        **{asset: dataset for asset, dataset in cut.items() if dataset is not None},
    }


TRAINING_SET = Stage(
    "training_set",
    ("model",),
    "Labels joined to features as they were known at each moment.",
    frozenset({"parquet"}),
    PRODUCER,
    _run,
    deps=lambda model: (
        *(view.asset for view in model.views),
        *(dataset.asset("restored") for dataset in model.label_inputs.values()),
    ),
    checks=_checks,
    proven=True,
)
