"""Training sets: labels joined to the features that were known, never to the future."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from orchestrai.core.canonical import JsonValue, canonical_json, sha256_hex
from orchestrai.core.code_identity import Producer
from orchestrai.core.verdict import CheckInfo, Verdict
from orchestrai.errors import FeatureViewError, IntegrityError
from orchestrai.features.completeness.horizons import HORIZONS_COMPLETE
from orchestrai.features.completeness.incomplete_windows import WINDOWS_COMPLETE
from orchestrai.features.contract_in_force import INFO as IN_FORCE
from orchestrai.features.contract_in_force import contract_in_force
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.engines.engine import Engine
from orchestrai.features.labelling.standing_rows import Sources, standing_rows
from orchestrai.features.labelling.training_rows import RowsTask, TrainingRows
from orchestrai.features.labels import bind_label, inputs_current
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
    way: str | None = None,
) -> StageReport:
    """Join labels to feature tables on entity and time, and publish one Parquet partition `all`.

    The first feature view gives the rows. Only moments whose horizon is complete take part: it ends by the end of what the label reads
    (and by `as_of_limit`) and lacks no partition in which data was due, as the datasets `declared` by asset say; `incomplete` says what
    becomes of rows whose windows lack one. Of a dimension the rows of each value are made of its own partitions. Columns: the entity's,
    `event_time`, `label`, then the features. The receipt carries `verdicts`, given on the inputs beforehand, with its own, and
    what is `noted`. Rows of the published set that nothing new can reach are taken over where it was made in the same `way`; without one
    all are made. Raises FeatureViewError.
    """
    engine = engine or DuckDbEngine()
    require_joinable([view for view, _ in features])
    with Meter() as meter, tempfile.TemporaryDirectory(prefix="orchestrai-training-") as folder:
        session, scratch = ledger.session(asset, PRODUCER), Path(folder)
        datasets = [_open_features(ledger, view, name) for view, name in features]
        bound = bind_label(ledger, label, inputs.assets, inputs.folder, features[0][0], inputs.schemas)
        opened, schema = open_inputs(ledger, bound, inputs.assets), _schema(features, bound)
        sources = Sources(
            [(view, dataset) for (view, _), dataset in zip(features, datasets, strict=True)], bound, label, opened
        )
        task = RowsTask(ledger, sources, schema, engine, declared or {}, incomplete or IncompleteRows(), as_of_limit)
        made = None
        if way is not None and as_of_limit is None and isinstance(engine, DuckDbEngine):
            made = _behind_what_stands(task, ledger.find(asset), way, scratch)
        made = made or task.made(None, scratch)
        for part in made.written:
            session.add_file(UNPARTITIONED, part.path.name, part.path, rows=part.rows)
        return session.commit(
            {UNPARTITIONED: [*verdicts, *made.verdicts()]},
            inputs=[
                *(InputRef(dataset.asset, dataset.version, dataset.roots()) for dataset in datasets),
                *opened.refs(opened.spans),
            ],
            parameters={
                "label": label.as_recorded(),
                "label_sql": bound.stored_sql,
                "label_hash": bound.hash,
                "views": [recorded(view, name) for view, name in features],
                "columns": list(schema.names),
                "as_of_limit": as_of_limit.isoformat() if as_of_limit else None,
                "incomplete": task.incomplete.model_dump(mode="json"),
            },
            cost=meter.cost(),
            facts={**made.facts(), COLUMNS: _columns(features, bound, inputs, schema), **sources.read_at, **(noted or {})},
        )


def _behind_what_stands(task: RowsTask, current: Dataset | None, way: str, scratch: Path) -> TrainingRows | None:
    """The rows with those taken over that stand; None where all have to be made, or in doubt: that says itself what is wrong."""
    try:
        standing = standing_rows(current, way, task.sources)
        made = task.made(standing, scratch) if standing is not None else None
    except IntegrityError:
        return None
    # what lacks may be told of rows that stand, too
    return made if made is not None and not made.lacking else None


def _open_features(ledger: Ledger, view: FeatureView, asset: str) -> Dataset:
    dataset = ledger.open(asset)
    require_definition(dataset, sorted(dataset.partitions), view.name, view.hash, "compute it again")
    return dataset


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
    way = making.way if making is not None and not context.again else None
    return unless_it_stands(context, making, lambda noted: _made(context, node, given, engine, noted, way))


def _made(
    context: RunContext,
    node: AssetNode[Learner],
    given: Sequence[Verdict],
    engine: Engine | None,
    noted: Mapping[str, JsonValue],
    way: str | None,
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
        way=way,
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
        # one that is chosen elsewhere is not covered by the code of the stage
        "engine": engine and [engine.name, Producer("engine", type(engine).__module__).code],
    }
    return Making(node.asset, PRODUCER, there, declared, UNPARTITIONED, steady=_lacks_nothing, judged=given)


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
