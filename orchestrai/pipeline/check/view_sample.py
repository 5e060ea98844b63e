"""The first rows through view and label: what would come of a landing's sample, and what would be refused of that."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrai.contracts.footers import EPOCH
from orchestrai.core.yaml.declaration import Location, load_yaml
from orchestrai.errors import OrchestraiError
from orchestrai.features.views.view import FeatureView
from orchestrai.pipeline.check.draft import schemas_of
from orchestrai.pipeline.check.landing_sample import SampledRows, SampleFinding, Weight, finding_at, place_of
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.nodes.model_node import ModelNode
from orchestrai.pipeline.nodes.pipeline_node import Pipeline

if TYPE_CHECKING:
    import pyarrow as pa

Files = Mapping[str, Path]


def sample_files(sampled: Mapping[str, SampledRows], scratch: Path) -> dict[str, Path]:
    """The sampled rows of each dataset that has some, as a file that views read; `sampled` is by what the ledger calls a dataset."""
    return {
        name: _written(one, scratch / f"{name.replace('/', '-')}.parquet") for name, one in sampled.items() if one.batches
    }


def sampled_views(pipeline: Pipeline, sampled: Mapping[str, SampledRows], files: Files) -> list[SampleFinding]:
    """Run each view and label whose inputs have sampled rows, which are in `files`."""
    found: list[SampleFinding] = []
    path = pipeline.folder / "pipeline.yaml"
    document, line_of = load_yaml(path)

    def say(weight: Weight, at: Location, message: str) -> None:
        found.append(finding_at(pipeline.name, weight, path, line_of, at, message))

    for node in pipeline.views:
        at = place_of(document, "features", node.name)
        inputs = _inputs(node.inputs, files)
        if inputs is not None and node.view.python is None:
            rows = _rows(node.view, inputs, sampled, node.inputs, lambda text, at=at: say("refused", (*at, "sql"), text))
            if rows is not None:
                _judge_view(node.view, rows, at, say)
    for model in pipeline.models:
        _label(model, files, sampled, place_of(document, "models", model.spec.name), say)
    return found


def _inputs(nodes: Mapping[str, DatasetNode], files: Files) -> dict[str, Path] | None:
    found = {table: files[node.prefix] for table, node in nodes.items() if node.prefix in files}
    return found if len(found) == len(nodes) else None


def _written(sampled: SampledRows, path: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_batches(sampled.batches), path)
    return path


def _moment(sampled: Mapping[str, SampledRows], node: DatasetNode) -> datetime | None:
    """Just after the newest event of a sample."""
    import pyarrow as pa
    import pyarrow.compute as pc

    name = node.contract.event_time
    if name is None:
        return None
    # as numbers, since Arrow would import pandas to give moments
    micros = [
        pc.max(batch.column(name).cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())).as_py()
        for batch in sampled[node.prefix].batches
    ]
    times = [EPOCH + timedelta(microseconds=number) for number in micros if number is not None]
    return max(times) + timedelta(seconds=1) if times else None


def _rows(
    view: FeatureView,
    inputs: Mapping[str, Path],
    sampled: Mapping[str, SampledRows],
    nodes: Mapping[str, DatasetNode],
    refuse: Any,
) -> "pa.Table | None":
    """What a view makes of the sample; None where it makes nothing, which was told."""
    import pyarrow as pa

    from orchestrai.features.engines.duckdb_engine import DuckDbEngine
    from orchestrai.features.engines.engine import Query, Source, Spine

    spine, until = None, None
    if view.kind == "entity":
        first = nodes[view.spec.spine_table]  # type: ignore[union-attr]
        until = _moment(sampled, first)
        if until is None:
            return None
        spine = Spine(until, view.spec.spine_table)  # type: ignore[union-attr]
    sources = {name: Source(view.tables[name], [path], until=until) for name, path in inputs.items()}
    try:
        with DuckDbEngine().run(Query(view, sources, spine)) as batches:
            return pa.Table.from_batches(list(batches), view.schema)
    except OrchestraiError as exc:
        refuse(exc.message)
        return None


def _judge_view(view: FeatureView, rows: "pa.Table", at: Sequence[str | int], say: Any) -> None:
    if not rows.num_rows:
        say("told", (*at, "sql"), "expected rows of the sample, found none: look at what the text filters")
        return
    for name in view.entity:
        if nulls := rows[name].null_count:
            say(
                "refused",
                (*at, "entity"),
                f"expected {name} in every row, found none in {nulls:,} of {rows.num_rows:,} of the sample",
            )
    twice = rows.num_rows - _distinct([rows[name] for name in view.key])
    if twice:
        then = f"expected one row of each {', '.join(view.key)}, found {twice:,} more in {rows.num_rows:,} of the sample"
        say("refused", (*at, "entity"), f"{then}: name what tells rows apart, or make one row of them in the SQL")


def _distinct(columns: "Sequence[pa.ChunkedArray]") -> int:
    """How many rows differ, a null like any value; without Arrow's grouping, which imports pandas."""
    import pyarrow.compute as pc

    codes = [pc.dictionary_encode(column.combine_chunks(), null_encoding="encode").indices.to_pylist() for column in columns]
    return len({*zip(*codes, strict=True)})


def _label(model: ModelNode, files: Files, sampled: Mapping[str, SampledRows], at: tuple[str | int, ...], say: Any) -> None:
    """The label of row-level views over the sample: whether it varies, and is of the task."""
    from orchestrai.features.labels import declared_label

    spec, view = model.spec.label, model.views[0].view
    inputs = _inputs(model.label_inputs, files)
    if spec is None or inputs is None or view.kind != "row":
        return
    try:
        label = declared_label(spec, schemas_of(model.label_inputs), model.folder, view)
    except OrchestraiError:
        return  # told with the declarations
    named = {name: path for name, path in inputs.items() if name in label.tables}
    rows = _rows(label, named, sampled, model.label_inputs, lambda text: say("refused", (*at, "label", "sql"), text))
    if rows is None:
        return
    values = set(rows["label"].drop_null().to_pylist())
    if model.spec.task == "binary" and values - {0, 1}:
        other = next(iter(values - {0, 1}))
        say("refused", (*at, "label", "sql"), f"expected 0 and 1 for the task binary, found {other!r}")
    elif len(values) < 2:
        seen = f"{next(iter(values))!r} alone" if values else "no value"
        say(
            "told",
            (*at, "label", "sql"),
            f"expected a label that varies, found {seen} in {rows.num_rows:,} rows of the sample",
        )
