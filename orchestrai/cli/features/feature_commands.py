"""`features get`: the features of one's own entities and moments, as they were known."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from orchestrai.cli.lookup import open_runtime
from orchestrai.cli.output import AsJson, emit, make_app, out, table
from orchestrai.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

    from orchestrai.features.spine.frame_join import FrameFeatures
    from orchestrai.pipeline.nodes.view_node import ViewNode
    from orchestrai.pipeline.runtime import Runtime

features = make_app("Features as they were known.")
SHOWN_ROWS = 10


@features.callback()
def _features() -> None:
    """Features as they were known."""


@features.command("get")
def get(
    pipeline: Annotated[str, typer.Argument(help="for example churn")],
    entities: Annotated[Path, typer.Option("--entities", help="CSV or Parquet with the entity columns and event_timestamp")],
    view: Annotated[
        list[str] | None, typer.Option("--view", help="a view, may be repeated; default: all of the pipeline")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--out", help="where the rows go, .csv or .parquet; default: the first are shown")
    ] = None,
    known_at: Annotated[
        str,
        typer.Option(
            "--known-at", help="event: by the clocks that the views declare; arrival: refuse a view without a second one"
        ),
    ] = "event",
    as_json: AsJson = False,
) -> None:
    """Join to each row the features that were known at its moment, and never later ones.

    A row whose entity is unknown has nulls and is counted. `windows_complete` is false where a window lacked a day in which data was due.

    Example: orchestrai features get churn --entities who.csv --out known.parquet
    """
    from orchestrai.features.spine.entity_frame import read_frame
    from orchestrai.features.spine.frame_join import frame_features, require_clock

    if output is not None and output.suffix.lower() not in (".csv", ".parquet"):
        raise ConfigError(f"expected --out to end in .csv or .parquet, found {output.name}")
    runtime = open_runtime()
    nodes = _views(runtime, pipeline, view)
    require_clock(nodes, _clock(known_at))
    entity = {name: node.view.schema.field(name).type for node in nodes for name in node.view.entity}
    with runtime.ledger.using():
        known = frame_features(runtime.ledger, read_frame(entities, entity), nodes)
    if output is not None:
        _write(known.table, output)
    if as_json:
        emit(_facts(pipeline, known, output))
        return
    if output is None:
        rows = known.table.slice(0, SHOWN_ROWS).to_pylist()
        table(
            f"The first of {known.table.num_rows:,} rows",
            known.table.column_names,
            [tuple(map(str, row.values())) for row in rows],
        )
    columns = ("view", "nothing known", "unknown entities", "clock")
    lines = [
        (
            one.view,
            one.nothing_known,
            one.unknown_entities,
            ", ".join(f"{name}: {clock}" for name, clock in one.clocks.items()),
        )
        for one in known.views
    ]
    table(f"{known.table.num_rows:,} rows", columns, lines)
    if known.incomplete:
        out.print(
            f"{known.incomplete:,} rows have windows that lack {_lacking(known)}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    if output is not None:
        out.print(f"written to {output}", markup=False, highlight=False)


def _clock(text: str) -> Literal["event", "arrival"]:
    if text == "event":
        return "event"
    if text == "arrival":
        return "arrival"
    raise ConfigError(f"expected --known-at event or arrival, found {text!r}")


def _views(runtime: "Runtime", pipeline: str, names: list[str] | None) -> "list[ViewNode]":
    """The views that are asked for, of one pipeline."""
    declared = {one.name: one for one in runtime.project.pipelines}
    if pipeline not in declared:
        raise ConfigError(f"expected a pipeline of {', '.join(sorted(declared))}, found {pipeline!r}")
    views = {node.name: node for node in declared[pipeline].views}
    unknown = [name for name in names or () if name not in views]
    if unknown or not views:
        raise ConfigError(
            f"expected views of {', '.join(sorted(views)) or 'a pipeline that has some'}, found {', '.join(unknown) or pipeline}"
        )
    return [views[name] for name in dict.fromkeys(names or views)]


def _write(rows: "pa.Table", path: Path) -> None:
    import pyarrow.csv as csv
    import pyarrow.parquet as pq

    try:
        if path.suffix.lower() == ".csv":
            csv.write_csv(rows, path)
        else:
            pq.write_table(rows, path)
    except OSError as exc:
        raise ConfigError(f"expected a place to write {path}, found: {exc.strerror or exc}") from exc


def _lacking(known: "FrameFeatures") -> str:
    places = [f"{asset}@{key}" for asset, keys in sorted(known.lacks.items()) for key in keys]
    return ", ".join(places[:5]) + (f" and {len(places) - 5} more" if len(places) > 5 else "")


def _facts(pipeline: str, known: "FrameFeatures", output: Path | None) -> dict[str, Any]:
    return {
        "pipeline": pipeline,
        "rows": known.table.num_rows,
        "columns": known.table.column_names,
        "incomplete_rows": known.incomplete,
        "lacking": {asset: list(keys) for asset, keys in sorted(known.lacks.items())},
        "views": [
            {
                "view": one.view,
                "asset": one.ref.asset,
                "version": one.ref.version,
                "nothing_known": one.nothing_known,
                "unknown_entities": one.unknown_entities,
                "clocks": dict(one.clocks),
            }
            for one in known.views
        ],
        "out": str(output) if output is not None else None,
    }
