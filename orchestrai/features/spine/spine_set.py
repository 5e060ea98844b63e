"""A training set over rows that somebody brings: a restored dataset of entities and moments, with the label in a column."""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrai.core.canonical import JsonValue
from orchestrai.core.code_identity import Producer
from orchestrai.core.verdict import Verdict
from orchestrai.errors import FeatureViewError
from orchestrai.features.completeness.incomplete_windows import windows_verdict
from orchestrai.features.completeness.lacking import reasons
from orchestrai.features.completeness.row_marks import TrainingWindows, ViewMarks
from orchestrai.features.feature_table import KeyWatch, write_files
from orchestrai.features.point_in_time_join import EVENT_TIME, LABEL, LabelFiles, ViewFiles, joined, unknown_entities
from orchestrai.features.ports import Learner
from orchestrai.features.spec import SpineSpec
from orchestrai.features.spine.entity_frame import EVENT_TIMESTAMP
from orchestrai.features.spine.frame_join import FrameSpine, read_views
from orchestrai.features.views.column_lineage import COLUMNS, joined_columns
from orchestrai.features.views.portable_types import UTC_MICROS
from orchestrai.features.views.view import FeatureView
from orchestrai.features.views.view_inputs import require_restored
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import UNPARTITIONED
from orchestrai.ledger.receipt import InputRef
from orchestrai.ledger.report import Meter, StageReport
from orchestrai.stage.outcomes import Partitioned


@dataclass(frozen=True)
class SpineSet:
    """A training set to make: its asset, the model that learns from it, who makes it, and the declared datasets by asset."""

    asset: str
    model: Learner
    producer: Producer
    declared: Mapping[str, Partitioned]

    @property
    def spine(self) -> SpineSpec:
        """The rows that somebody brings."""
        if self.model.spine is None:
            raise FeatureViewError(f"{self.asset}: expected a spine, found none: declare one")
        return self.model.spine

    @property
    def entity(self) -> tuple[str, ...]:
        """The entity columns of all views, in their order."""
        return tuple(dict.fromkeys(name for node in self.model.views for name in node.view.entity))


def recorded(view: FeatureView, asset: str) -> dict[str, JsonValue]:
    """What a receipt keeps of a view, so that a model that learns from the set knows what it must be given later."""
    return {
        "name": view.name,
        "asset": asset,
        "hash": view.hash,
        "kind": view.kind,
        "time": view.time,
        "entity": list(view.entity),
        "first_table": view.stored_first_table,
        "features": list(view.features),
    }


def spine_training_set(
    ledger: Ledger, job: SpineSet, verdicts: Sequence[Verdict], noted: Mapping[str, JsonValue] | None = None
) -> StageReport:
    """Join what the views knew to each labelled row of the spine, and publish one Parquet partition `all`.

    Rows without a label are left out and counted; a row whose entity a view does not know has nulls, and is counted too. Columns: the
    entity's, `event_time`, `label`, then the features. The receipt carries what is `noted`. Raises FeatureViewError, NotReceipted.
    """
    spine, views, choice = job.spine, job.model.views, job.model.incomplete
    source = job.model.label_inputs[spine.source]
    with Meter() as meter, ExitStack() as stack:
        session = ledger.session(job.asset, job.producer)
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orchestrai-spine-")))
        rows = ledger.open(source.asset("restored"))
        unlabelled = _write_spine(rows, job, scratch / "spine.parquet", stack)
        first = ViewFiles(FrameSpine(job.entity, features=()), [scratch / "spine.parquet"])
        read = read_views(ledger, views, lambda node: job.declared.get(node.asset), first, stack)
        tables = [first, *(one.files for one in read)]
        inputs = [InputRef(rows.asset, rows.version, rows.roots()), *(one.ref for one in read)]
        unknown: dict[str, JsonValue] = {
            node.view.name: unknown_entities(first, one.files) for node, one in zip(views, read, strict=True)
        }
        marks, back = [ViewMarks(()), *(one.marks for one in read)], [0, *(one.rows_back for one in read)]
        windows = TrainingWindows(choice.windows, marks, back, sum(one.not_noted for one in read))
        schema = _schema(job, source.table_schema.field(spine.label).type)
        watch = KeyWatch((*job.entity, EVENT_TIME), job.entity)
        with joined(tables, LabelFiles(job.entity, EVENT_TIMESTAMP, tables[0].files), back=windows.back) as batches:
            chosen = (batch.cast(schema) for batch in windows.chosen(batches, len(schema)))
            written = write_files(watch.watch(chosen), schema, scratch / "out")
        for part in written:
            session.add_file(UNPARTITIONED, part.path.name, part.path, rows=part.rows)
        facts: dict[str, JsonValue] = {"rows": watch.rows, "unlabelled": unlabelled, "unknown_entities": unknown}
        own: dict[str, JsonValue] = {name: [[rows.asset, name]] for name in job.entity}
        own |= {EVENT_TIME: [[rows.asset, source.contract.event_time or EVENT_TIME]], LABEL: [[rows.asset, spine.label]]}
        facts[COLUMNS] = joined_columns(
            [(node.view, node.asset) for node in views], own, {field.name: str(field.type) for field in schema}
        )
        told = reasons(ledger, job.declared, windows.lacks)
        if told:
            facts["incomplete"] = {
                "horizons_left_out": 0,
                "windows": windows.marked,
                "windows_were": "left out" if choice.windows == "drop" else "kept",
                "of_rows": windows.rows,
                "lacking": {place: str(reason) for place, reason in told.items()},
            }
        some = (
            ""
            if watch.rows
            else f"expected labelled rows in {rows.asset}, found none: land them, or look at its column {spine.label}"
        )
        judged = [
            Verdict("not_empty", watch.rows > 0, some),
            windows_verdict(windows.rows, windows.marked, told, choice.at_most),
        ]
        return session.commit(
            {UNPARTITIONED: [*verdicts, *watch.verdicts(spine.source), *judged]},
            inputs=inputs,
            parameters={
                "spine": spine.model_dump(mode="json", by_alias=True),
                "views": [recorded(node.view, node.asset) for node in views],
                "columns": list(schema.names),
                "incomplete": choice.model_dump(mode="json"),
            },
            cost=meter.cost(),
            facts={**facts, **(noted or {})},
        )


def _write_spine(rows: Dataset, job: SpineSet, path: Path, stack: ExitStack) -> int:
    """Write the labelled rows in the types of the views; returns how many have no label."""
    column, moment = job.spine.label, job.model.label_inputs[job.spine.source].contract.event_time
    for key in rows.partitions:
        require_restored(rows, key)
    files = stack.enter_context(rows.fetched(sorted(rows.partitions)))
    if moment is None:
        raise FeatureViewError(
            f"{rows.asset}: expected an event time in its contract, found none: name the column of the moments"
        )
    names = [*job.entity, moment, column]
    parts = [pq.read_table(file.path, columns=names) for key in sorted(files) for file in files[key]]
    if not parts:
        raise FeatureViewError(f"expected rows in {rows.asset}, found none: land them and restore them")
    table = pa.concat_tables(parts, promote_options="permissive")
    labelled = table.filter(pc.is_valid(table.column(column)))
    kinds = {name: node.view.schema.field(name).type for node in job.model.views for name in node.view.entity}
    columns = {name: labelled.column(name).cast(kinds[name]) for name in job.entity}
    columns[EVENT_TIMESTAMP] = labelled.column(moment).cast(UTC_MICROS)
    pq.write_table(pa.table({**columns, LABEL: labelled.column(column)}), path)
    return int(table.num_rows - labelled.num_rows)


def _schema(job: SpineSet, label: pa.DataType) -> pa.Schema:
    kinds = {name: node.view.schema.field(name) for node in job.model.views for name in node.view.entity}
    return pa.schema(
        [
            *(kinds[name] for name in job.entity),
            pa.field(EVENT_TIME, UTC_MICROS),
            pa.field(LABEL, label),
            *(node.view.schema.field(name) for node in job.model.views for name in node.view.features),
        ]
    )
