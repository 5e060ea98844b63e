"""Which input columns each feature comes from, read off the view's text."""

from collections.abc import Iterable, Mapping

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.lineage import lineage as column_lineage
from sqlglot.optimizer.scope import build_scope

from orchestrai.core.canonical import JsonValue
from orchestrai.errors import FeatureViewError
from orchestrai.features.views.lint.subset import DIALECT
from orchestrai.features.views.view import FeatureView

# the fact of a receipt that names the columns
COLUMNS = "columns"


def lineage(view: FeatureView) -> dict[str, list[tuple[str, str]]]:
    """The (table, column) pairs behind each output column, sorted; `spine` columns included. A view in Python has none to read."""
    if view.tree is None:
        return {}
    # one scope for all columns: without it sqlglot qualifies the whole text anew for each of them
    scope = build_scope(view.tree)
    sources = {}
    for column in view.schema.names:
        try:
            root = column_lineage(column, view.tree, {}, scope=scope, dialect=DIALECT, trim_selects=False, copy=False)
        except SqlglotError as exc:
            raise FeatureViewError(f"{view.name}: expected to trace {column} to its inputs, found: {exc}") from exc
        leaves = {
            (node.source.name, node.name.rsplit(".", 1)[-1])
            for node in root.walk()
            if isinstance(node.source, exp.Table) and not node.downstream
        }
        sources[column] = sorted(leaves)
    return sources


def recorded_columns(view: FeatureView, assets: Mapping[str, str]) -> dict[str, JsonValue]:
    """What a receipt keeps of a view's columns: the type of each, and the columns of assets it comes from, where the text says so.

    `assets` are by the view's tables. A view in Python says the types alone.
    """
    sources = lineage(view)
    columns: dict[str, JsonValue] = {}
    for field in view.schema:
        columns[field.name] = {"type": str(field.type)}
        if field.name in sources:
            named: list[JsonValue] = [[assets[table], column] for table, column in sources[field.name] if table in assets]
            columns[field.name] = {"type": str(field.type), "from": named}
    return columns


def joined_columns(
    views: Iterable[tuple[FeatureView, str]], rows: Mapping[str, JsonValue], types: Mapping[str, str]
) -> dict[str, JsonValue]:
    """The same of a training set: features come from their views' assets, the columns in `rows` from what is named there."""
    sources: dict[str, JsonValue] = {name: [[asset, name]] for view, asset in views for name in view.features}
    sources |= rows
    return {name: {"type": kind, "from": sources.get(name, [])} for name, kind in types.items()}
