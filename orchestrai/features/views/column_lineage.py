"""Which input columns each feature comes from, read off the view's text."""

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.lineage import lineage as column_lineage
from sqlglot.optimizer.scope import build_scope

from orchestrai.errors import FeatureViewError
from orchestrai.features.views.lint.subset import DIALECT
from orchestrai.features.views.view import FeatureView


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
