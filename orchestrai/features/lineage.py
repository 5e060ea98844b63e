"""Which input columns each feature comes from, read off the view's text."""

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.lineage import lineage as column_lineage

from orchestrai.errors import FeatureViewError
from orchestrai.features.lint import DIALECT
from orchestrai.features.portable import spark_type, spark_types
from orchestrai.features.view import AS_OF, SPINE, FeatureView


def lineage(view: FeatureView) -> dict[str, list[tuple[str, str]]]:
    """The (table, column) pairs behind each output column, sorted; `spine` columns included."""
    schema: dict[str, object] = {name: dict(spark_types(table.schema)) for name, table in view.tables.items()}
    schema[SPINE] = {name: spark_type(view.schema.field(name).type) for name in view.entity} | {AS_OF: "TIMESTAMP"}
    found = {}
    for column in view.schema.names:
        try:
            root = column_lineage(column, view.tree.copy(), schema, dialect=DIALECT)
        except SqlglotError as exc:
            raise FeatureViewError(f"{view.name}: expected to trace {column} to its inputs, found: {exc}") from exc
        leaves = {
            (node.source.name, node.name.rsplit(".", 1)[-1])
            for node in root.walk()
            if isinstance(node.source, exp.Table) and not node.downstream
        }
        found[column] = sorted(leaves)
    return found
