"""Feature views, loaded: text expanded, linted, bound to typed inputs and given exact output types."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
from sqlglot import exp

from orchestrai.errors import FeatureViewError
from orchestrai.features.spec import FeatureViewSpec, LabelSpec, Lookback
from orchestrai.features.views.first_names import put_back, references_put_back
from orchestrai.features.views.input_table import (
    AS_OF,
    SPINE,
    Table,
    bind_table,
    primary_keys,
    spine_schema,
    value_bounds,
)
from orchestrai.features.views.lint.bounds import check_bounds
from orchestrai.features.views.lint.subset import Context, Kind, check_subset, parse, resolve
from orchestrai.features.views.lint.value_rules import check_values
from orchestrai.features.views.lint.window_rules import check_windows, reach
from orchestrai.features.views.output_schema import check_key, result_schema, to_duckdb
from orchestrai.features.views.python_view import PythonFunction, find_function, output_schema
from orchestrai.features.views.snippets import expand
from orchestrai.ledger.manifest import canonical_json

__all__ = ["AS_OF", "SPINE", "FeatureView", "Table", "load_label", "load_view", "spine_schema", "to_duckdb"]


@dataclass(frozen=True)
class FeatureView:
    """A view that may run: `sql` is Spark SQL for any Spark, `duckdb_sql` the same for DuckDB; `schema` is exact.

    A view in Python has `python` and no tree; its `sql` is the module's text. `name` is the one that it was given first, and `stored_sql`
    its text by the first names of its inputs: what is stored of a view is the same before and after a rename.
    `key` are the output columns that are unique together: entity, then time.
    """

    name: str
    kind: Kind
    entity: tuple[str, ...]
    time: str
    sql: str
    duckdb_sql: str
    tables: Mapping[str, Table]
    schema: pa.Schema
    lookback: Lookback
    hash: str
    stored_sql: str
    spec: FeatureViewSpec | LabelSpec
    tree: exp.Expr | None
    chained: bool = False
    python: PythonFunction | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """Entity columns and the time column."""
        return (*self.entity, self.time)

    @property
    def first_table(self) -> str:
        """The input that a view of events has a row for each row of."""
        return next(iter(self.tables))

    @property
    def stored_first_table(self) -> str:
        """The same, as what is stored of the view calls it."""
        return self.tables[self.first_table].first_name

    @property
    def features(self) -> tuple[str, ...]:
        """Output columns beside the key."""
        return tuple(name for name in self.schema.names if name not in self.key)


def load_view(spec: FeatureViewSpec, folder: Path, inputs: Mapping[str, pa.Schema]) -> FeatureView:
    """Load a view whose SQL lies in `folder`; `inputs` are the schemas by dataset name. Raises FeatureViewError, one line."""
    missing = [name for name in spec.table_names if name not in inputs]
    if missing:
        raise FeatureViewError(
            f"{spec.name}: expected the schema of {', '.join(missing)}, found {', '.join(inputs) or 'none'}"
        )
    kind: Kind = "row" if spec.event_time is not None else "entity"
    schemas = {name: inputs[name] for name in spec.table_names}
    time = spec.event_time or AS_OF
    primary = spec.table_names[0] if kind == "row" else spec.spine_table
    if spec.python:
        view = _load_python(spec, folder, kind, schemas, time, primary)
    else:
        view = _load(spec, spec.name, folder, kind, schemas, spec.entity, time, primary)
    _check_outputs(view, spec)
    return view


def load_label(
    spec: LabelSpec, folder: Path, inputs: Mapping[str, pa.Schema], entity: tuple[str, ...], time: str, spine: pa.Schema
) -> FeatureView:
    """Load a label over `inputs` and a spine of the given key types; its columns are the entity, `time` and `label`."""
    name = spec.name
    unknown = sorted(set(spec.tables) - set(inputs))
    if unknown:
        raise FeatureViewError(f"{name}: expected tables among {', '.join(inputs)}, found {', '.join(unknown)}")
    view = _load(spec, name, folder, "label", dict(inputs), entity, time, next(iter(inputs)), spine)
    if view.features != ("label",):
        raise FeatureViewError(
            f"{name}: expected columns {', '.join(view.key)}, label, found {', '.join(view.schema.names)}"
        )
    return view


def _load(
    spec: FeatureViewSpec | LabelSpec,
    name: str,
    folder: Path,
    kind: Kind,
    schemas: Mapping[str, pa.Schema],
    entity: tuple[str, ...],
    time: str,
    primary: str,
    spine: pa.Schema | None = None,
) -> FeatureView:
    origin, text = _text(spec.sql, folder, name)
    tables = {table: bind_table(table, schema, spec.tables.get(table), time, name) for table, schema in schemas.items()}
    visible = {table.name: table.schema for table in tables.values()}
    if kind != "row":
        visible[SPINE] = spine if spine is not None else spine_schema(tables[primary], entity, name)
    context = Context(
        origin=origin,
        kind=kind,
        tables=visible,
        entity=entity,
        event_time=time,
        table_times={**{table.name: table.event_time for table in tables.values()}, SPINE: AS_OF},
        keys={**primary_keys(schemas), SPINE: (*entity, AS_OF)},
        horizon=spec.horizon if isinstance(spec, LabelSpec) else None,
        renamed={former: table.name for table in tables.values() for former in table.former_names},
    )
    tree = parse(text, origin)
    check_subset(tree, context)
    bound = resolve(tree, context)
    check_values(bound, context)
    check_windows(bound, context)
    check_bounds(bound, context, value_bounds(schemas))
    duckdb_sql = to_duckdb(tree, origin)
    schema = result_schema(duckdb_sql, visible, context)
    check_key(schema, entity, time, context)
    stored_sql, digest = _definition(spec, text, tables, visible, schema)
    return FeatureView(
        name=spec.first_name,
        kind=kind,
        entity=entity,
        time=time,
        sql=text,
        duckdb_sql=duckdb_sql,
        tables=tables,
        schema=schema,
        lookback=_lookback(spec, kind, bound, time, origin, len(tables) > 1),
        hash=digest,
        stored_sql=stored_sql,
        spec=spec,
        tree=bound,
        chained=kind == "row" and (len(tables) > 1 or reach(bound, time).chained),
    )


def _load_python(
    spec: FeatureViewSpec, folder: Path, kind: Kind, schemas: Mapping[str, pa.Schema], time: str, primary: str
) -> FeatureView:
    tables = {table: bind_table(table, schema, spec.tables.get(table), time, spec.name) for table, schema in schemas.items()}
    visible = {table.name: table.schema for table in tables.values()}
    if kind != "row":
        visible[SPINE] = spine_schema(tables[primary], spec.entity, spec.name)
    function = find_function(spec.python, folder, spec.name, tuple(visible), spec.over)
    schema = output_schema(spec.outputs, spec.name)
    context = Context(function.path.name, kind, visible, spec.entity, time, {}, {})
    check_key(schema, spec.entity, time, context)
    stored_sql, digest = _definition(spec, function.text, tables, visible, schema)
    return FeatureView(
        name=spec.first_name,
        kind=kind,
        entity=spec.entity,
        time=time,
        sql=function.text,
        duckdb_sql="",
        tables=tables,
        schema=schema,
        lookback=spec.lookback or Lookback(),
        hash=digest,
        stored_sql=stored_sql,
        spec=spec,
        tree=None,
        python=function,
    )


def _text(sql: str, folder: Path, name: str) -> tuple[str, str]:
    origin, text = name, sql
    if sql.endswith(".sql") and "\n" not in sql:
        origin = sql
        try:
            text = (folder / sql).read_text(encoding="utf-8")
        except FileNotFoundError as exc:
            raise FeatureViewError(f"{name}: expected the file {sql} in {folder.name}/, found none: create it") from exc
    try:
        return origin, expand(text)
    except ValueError as exc:
        raise FeatureViewError(f"{origin}:{exc}") from exc


def _lookback(
    spec: FeatureViewSpec | LabelSpec, kind: Kind, tree: exp.Expr, time: str, origin: str, joined: bool
) -> Lookback:
    declared = spec.lookback if isinstance(spec, FeatureViewSpec) else None
    if kind != "row":
        return declared or Lookback()
    reached = reach(tree, time)
    if joined and (declared is None or declared.time is None):
        raise FeatureViewError(f"{origin}:1: expected lookback.time, found none: a join does not tell how far back it reads")
    if declared is None:
        if reached.rows is None or reached.time is None:
            raise FeatureViewError(f"{origin}:1: expected a bounded frame, found one without bound: write n PRECEDING")
        return Lookback(rows=reached.rows, time=reached.time or None)
    rows, span = declared.rows or 0, declared.time or timedelta(0)
    if reached.rows is None or reached.time is None or reached.rows > rows or reached.time > span:
        needs = f"{reached.rows if reached.rows is not None else 'all'} rows and {reached.time if reached.time is not None else 'all time'}"
        raise FeatureViewError(
            f"{origin}:1: expected a lookback that covers the windows ({needs}), found {rows} rows and {span}"
        )
    return declared


def _definition(
    spec: FeatureViewSpec | LabelSpec,
    text: str,
    tables: Mapping[str, Table],
    visible: Mapping[str, pa.Schema],
    schema: pa.Schema,
) -> tuple[str, str]:
    """A view's text as it is stored, and the digest of its definition, both by first names."""
    python = isinstance(spec, FeatureViewSpec) and bool(spec.python)
    columns = {name for table in (*visible.values(), schema) for name in table.names}
    renamed = {table.name: table.first_name for table in tables.values() if table.former_names}
    stored, sure = put_back(text, renamed, columns, python=python)
    declared = spec.model_dump(
        mode="json",
        by_alias=True,
        exclude={"sql", "engine", "checks", "online", "backup", "recompute", "renamed_from"},
    )
    if isinstance(spec, FeatureViewSpec):
        declared["name"] = spec.first_name
    named = sorted((sure.get(name, name), table) for name, table in visible.items())
    body = {
        # what stands between the words is part of Python
        "sql": stored if python else " ".join(stored.split()),
        "spec": references_put_back(declared, sure),
        "tables": {name: [[field.name, str(field.type)] for field in table] for name, table in named},
        "schema": [[field.name, str(field.type)] for field in schema],
    }
    return stored, hashlib.sha256(canonical_json(body)).hexdigest()


def _check_outputs(view: FeatureView, spec: FeatureViewSpec) -> None:
    checked = sorted({*spec.checks.null_rate, *spec.checks.ranges} - set(view.schema.names))
    if checked:
        raise FeatureViewError(f"{view.name}: expected checks on {', '.join(view.schema.names)}, found {', '.join(checked)}")
    if view.kind == "entity":
        for table in view.tables.values():
            if table.event_time is None:
                raise FeatureViewError(
                    f"{view.name}: expected the event time of {table.name}, found no single timestamp column: "
                    f"declare tables: {{{table.name}: {{event_time: column}}}}"
                )
