"""Training sets: labels joined to the features that were known, never to the future."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path

import pyarrow as pa

from orchestrai.core.canonical import JsonValue, canonical_json, sha256_hex
from orchestrai.core.code_identity import Producer
from orchestrai.core.verdict import CheckInfo, Verdict
from orchestrai.errors import FeatureViewError
from orchestrai.features.completeness.horizons import HORIZONS_COMPLETE, Horizons, horizons_verdict
from orchestrai.features.completeness.incomplete_windows import WINDOWS_COMPLETE, windows_verdict
from orchestrai.features.completeness.lacking import Lacks, Reason, merged, reasons
from orchestrai.features.contract_in_force import INFO as IN_FORCE
from orchestrai.features.contract_in_force import contract_in_force
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.engines.engine import Engine
from orchestrai.features.feature_table import KeyWatch, write_files
from orchestrai.features.labelling.labelled_rows import Learning
from orchestrai.features.labels import FeatureFiles, LabelRun, bind_label, inputs_current
from orchestrai.features.point_in_time_join import EVENT_TIME, LABEL, require_joinable
from orchestrai.features.ports import Engines, Learner
from orchestrai.features.spec import IncompleteRows, LabelSpec
from orchestrai.features.spine.second_clock import INFO as SECOND_CLOCK_INFO
from orchestrai.features.spine.second_clock import has_second_clock, second_clock_verdict
from orchestrai.features.spine.spine_set import SpineSet, recorded, spine_training_set
from orchestrai.features.staleness.stale_training import stale_training_set
from orchestrai.features.views.column_lineage import COLUMNS, joined_columns, recorded_columns
from orchestrai.features.views.moment_partitions import require_definition
from orchestrai.features.views.portable_types import UTC_MICROS
from orchestrai.features.views.view import FeatureView
from orchestrai.features.views.view_inputs import open_inputs
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import UNPARTITIONED
from orchestrai.ledger.receipt import InputRef, Receipt
from orchestrai.ledger.report import Meter, PartitionOutcome, StageReport
from orchestrai.stage.context import RunContext
from orchestrai.stage.making import Making, unless_it_stands
from orchestrai.stage.outcomes import Partitioned
from orchestrai.stage.stage import AssetNode, Stage

PRODUCER = Producer("training_set", __name__)


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
    noted: Mapping[str, JsonValue] | None = None,
) -> StageReport:
    """Join labels to feature tables on entity and time, and publish one Parquet partition `all`.

    The first feature view gives the rows. Only moments whose horizon is complete take part: it ends by the end of what the label reads
    (and by `as_of_limit`) and lacks no partition in which data was due, as the datasets `declared` by asset say; `incomplete` says what
    becomes of rows whose windows lack one. Of a dimension the rows of each value are made of its own partitions. Columns: the entity's,
    `event_time`, `label`, then the features. The receipt carries `verdicts`, given on the inputs beforehand, with its own, and
    what is `noted`. Raises FeatureViewError.
    """
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
        run = LabelRun(view, label, opened, files, engine, scratch, Horizons(label.horizon, ()))
        learning = Learning(features, datasets, tables, run, declared, incomplete, as_of_limit)
        parts = [learning.of(value) for value in learning.values()]
        schema = _schema(features, view)
        watch = KeyWatch((*primary.entity, EVENT_TIME), primary.entity)
        rows = chain.from_iterable(part.batches(schema) for part in parts)
        written = write_files(watch.watch(rows), schema, scratch / "out")
        for part in written:
            session.add_file(UNPARTITIONED, part.path.name, part.path, rows=part.rows)
        end, windows = max(part.end for part in parts), [part.windows for part in parts]
        facts: dict[str, JsonValue] = {
            "rows": watch.rows,
            "data_end": end.isoformat(),
            "last_moment": max(part.limit for part in parts).isoformat(),
            "features": len(schema) - len(primary.entity) - 2,
            "engine": engine.name,
        }
        seen, marked = sum(part.rows for part in windows), sum(part.marked for part in windows)
        left_out = sum(part.horizons.left_out for part in parts)
        lacked = [merged(part.horizons.lacks for part in parts), merged(part.lacks for part in windows)]
        told = reasons(ledger, declared, merged(lacked))
        judged = [
            _not_empty(watch.rows, label, end),
            horizons_verdict(seen, left_out, _only(told, lacked[0]), incomplete.at_most),
            windows_verdict(seen, marked, _only(told, lacked[1]), incomplete.at_most),
        ]
        if told:
            facts["incomplete"] = {
                "horizons_left_out": left_out,
                "windows": marked,
                "windows_were": "left out" if incomplete.windows == "drop" else "kept",
                "of_rows": seen + left_out,
                "lacking": {place: str(reason) for place, reason in told.items()},
            }
        if unknown := sum(part.unknown for part in windows):
            facts["windows_not_noted"] = unknown
        facts[COLUMNS] = _columns(features, view, inputs, schema)
        if any(part.value for part in parts):
            facts["values"] = {part.value: part.windows.rows for part in parts}
        return session.commit(
            {UNPARTITIONED: [*verdicts, *watch.verdicts(view.name), *judged]},
            inputs=[
                *(InputRef(dataset.asset, dataset.version, dataset.roots()) for dataset in datasets),
                *opened.refs(opened.spans),
            ],
            parameters={
                "label": label.as_recorded(),
                "label_sql": view.stored_sql,
                "label_hash": view.hash,
                "views": [recorded(view, name) for view, name in features],
                "columns": list(schema.names),
                "as_of_limit": as_of_limit.isoformat() if as_of_limit else None,
                "incomplete": incomplete.model_dump(mode="json"),
            },
            cost=meter.cost(),
            facts={**facts, **(noted or {})},
        )


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


def _columns(
    features: Sequence[tuple[FeatureView, str]], label: FeatureView, inputs: LabelInputs, schema: pa.Schema
) -> dict[str, JsonValue]:
    """Where each column of the training set comes from: rows from the first view, the label from what its text reads."""
    primary, asset = features[0]
    rows: dict[str, JsonValue] = {name: [[asset, name]] for name in primary.entity}
    rows[EVENT_TIME] = [[asset, primary.time or EVENT_TIME]]
    labelled = recorded_columns(label, inputs.assets)[LABEL]
    rows[LABEL] = labelled.get("from", []) if isinstance(labelled, dict) else []
    return joined_columns(features, rows, {field.name: str(field.type) for field in schema})


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
    horizons = CheckInfo(
        HORIZONS_COMPLETE, limited, "No label was left out because its horizon lacks a partition in which data was due."
    )
    return (
        *CHECKS,
        # who brings labels has looked at their horizons
        *((horizons,) if model.spine is None else ()),
        CheckInfo(WINDOWS_COMPLETE, limited, "No row's windows lack a partition in which data was due."),
        *((SECOND_CLOCK_INFO,) if any(map(has_second_clock, model.views)) else ()),
    )


def _definition(model: Learner) -> str:
    """A digest of what is declared of it: the label or the spine, the views, and what becomes of incomplete rows."""
    label = model.label or model.spine
    sql = model.label.sql if model.label is not None else ""
    body = {
        "label": label.model_dump(mode="json") if label is not None else None,
        "text": (model.folder / sql).read_text(encoding="utf-8") if sql.endswith(".sql") and "\n" not in sql else sql,
        "views": [view.view.hash for view in model.views],
        "incomplete": model.incomplete.model_dump(mode="json"),
    }
    return sha256_hex(canonical_json(body))


CHECKS = (
    CheckInfo("not_empty", True, "At least one label whose horizon is complete."),
    CheckInfo("inputs_current", True, "Every dataset it learns from has data as new as declared (halt_training_after)."),
    IN_FORCE,
)


def _run(context: RunContext, node: AssetNode[Learner], partitions: Sequence[str]) -> StageReport:
    model = node.subject
    given = [inputs_current(context.ledger, model, context.now()), contract_in_force(context.ledger, model)]
    kept_out = second_clock_verdict(context.ledger, model.views)
    given += [kept_out] if kept_out is not None else []
    if any(verdict.closes_gate for verdict in given):
        return StageReport(node.asset, None, (PartitionOutcome("all", False, verdicts=tuple(given)),))
    # the rows of a spine are joined on this machine
    engine = context.port(Engines).choose("auto", 0) if model.spine is None else None
    making = _making(context, node, given, engine)
    return unless_it_stands(context, making, lambda noted: _made(context, node, given, engine, noted))


def _made(
    context: RunContext,
    node: AssetNode[Learner],
    given: Sequence[Verdict],
    engine: Engine | None,
    noted: Mapping[str, JsonValue],
) -> StageReport:
    model = node.subject
    if model.spine is not None:
        return spine_training_set(context.ledger, SpineSet(node.asset, model, PRODUCER, _declared(model)), given, noted)
    if model.label is None:
        raise FeatureViewError(f"{node.asset}: expected a label or a spine, found neither: declare one")
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
        engine=engine,
        verdicts=given,
        declared=_declared(model),
        incomplete=model.incomplete,
        noted=noted,
    )


def _making(context: RunContext, node: AssetNode[Learner], given: Sequence[Verdict], engine: Engine | None) -> Making | None:
    """What the set is made of; None where some of it is not there, which is told when it is made."""
    model, ledger = node.subject, context.ledger
    restored = dict.fromkeys(dataset.asset("restored") for dataset in _read_for_rows(model))
    inputs = [ledger.find(asset) for asset in (*(view.asset for view in model.views), *restored)]
    there = [one for one in inputs if one is not None]
    if len(there) < len(inputs):
        return None
    datasets = _declared(model)
    declared = {
        "definition": _definition(model),
        "views": [one.view.spec for one in model.views],
        "contracts": {asset: dataset.contract for asset, dataset in datasets.items()},
        "cut": {asset: f"{dataset.grain} {dataset.positioned}" for asset, dataset in datasets.items()},
        "label": model.label,
        "given": given,
        # one that is chosen elsewhere is not covered by the code of the stage
        "engine": engine and [engine.name, Producer("engine", type(engine).__module__).code],
    }
    return Making(node.asset, PRODUCER, there, declared, UNPARTITIONED, steady=_lacks_nothing)


def _lacks_nothing(receipt: Receipt) -> bool:
    """Whether nothing was lacking: why something is lacks is told from skips and refusals, which are no inputs."""
    passed = all(verdict.passed for verdict in receipt.verdicts.get(UNPARTITIONED, ()))
    return passed and not {"incomplete", "windows_not_noted"} & set(receipt.facts)


def _declared(model: Learner) -> dict[str, Partitioned]:
    """The datasets behind a model, by the assets that are read of them and by the feature tables that are cut like them."""
    read = [dataset for view in model.views for dataset in view.inputs.values()]
    cut = {view.asset: view.partitioned_like for view in model.views}
    return {
        **{dataset.asset("restored"): dataset for dataset in (*read, *model.label_inputs.values())},
        **{asset: dataset for asset, dataset in cut.items() if dataset is not None},
    }


def _read_for_rows(model: Learner) -> list[Partitioned]:
    """The datasets that rows and labels come from: of a spine it alone."""
    if model.spine is not None:
        return [model.label_inputs[model.spine.source]]
    return list(model.label_inputs.values())


TRAINING_SET = Stage(
    "training_set",
    ("model",),
    "Labels joined to features as they were known at each moment.",
    frozenset({"parquet"}),
    PRODUCER,
    _run,
    deps=lambda model: (
        *(view.asset for view in model.views),
        *(dataset.asset("restored") for dataset in _read_for_rows(model)),
    ),
    checks=_checks,
    definition=_definition,
    stale=lambda context, node, above: stale_training_set(context.ledger, node.subject, PRODUCER.code, above),
    proven=True,
    tried=True,
)
