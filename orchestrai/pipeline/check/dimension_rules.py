"""What a dimension beside time asks of datasets, views and models: where its value comes from, and that values are never mixed."""

from collections.abc import Mapping, Sequence

from orchestrai.contracts.contract import Contract
from orchestrai.core.time.calendar import dimension_of
from orchestrai.core.time.partition_key import Dimension
from orchestrai.core.yaml.declaration import Location
from orchestrai.pipeline.check.pipeline_file import PipelineFile
from orchestrai.pipeline.declarations import DatasetSpec, PipelineModelSpec, PipelineViewSpec
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.nodes.view_node import ViewNode


def check_dataset_dimension(file: PipelineFile, at: Location, dataset: DatasetSpec, contract: Contract) -> None:
    """What tells the value of a partition is there: the names of objects, and a column where one is declared."""
    dimension = dataset.partitions.dimension
    if dimension is None:
        return
    here = (*at, "partitions", "dimension")
    if dataset.source.kind != "objects":
        found = f"a source of kind {dataset.source.kind}"
        file.mistakes.wrong(here, "a source of objects, whose names tell the value", found)
    columns = {column.name: column for column in contract.columns}
    column = columns.get(dimension.column)
    if dimension.column and (column is None or column.type != "STRING" or column.name in contract.tokenised_columns):
        text = [name for name, one in columns.items() if one.type == "STRING" and name not in contract.tokenised_columns]
        found = "none of that name" if column is None else f"{column.type}, or one that is tokenised"
        file.mistakes.wrong((*here, "column"), f"a column of text of {contract.name} ({', '.join(text)})", found)


def check_view_dimension(
    file: PipelineFile, at: Location, view: PipelineViewSpec, inputs: Mapping[str, DatasetNode]
) -> bool:
    """Whether the inputs of a view have one dimension at most, so that each value's partitions are made of its own alone."""
    divided = {table: dimension for table, node in inputs.items() if (dimension := dimension_of(node.grain)) is not None}
    if not divided:
        return True
    first, own = next(iter(divided.items()))
    for number, table in enumerate(view.table_names):
        other = divided.get(table)
        if other is not None and not _same(own, other):
            expected = f"one dimension in all inputs of {view.name}, {own.expected} as {first} has it"
            file.mistakes.wrong((*at, "from", number), expected, f"{other.expected} in {table}")
            return False
    if first != view.table_names[0]:
        expected = (
            f"{first} first, which has the dimension {own.name}: partitions of {view.name} are like those of its first input"
        )
        file.mistakes.wrong((*at, "from", 0), expected, view.table_names[0])
        return False
    if view.online and own.column not in view.entity:
        expected = f"the column of the dimension {own.name} in it: rows of two values are told apart by nothing else online"
        file.mistakes.wrong((*at, "entity"), expected, ", ".join(view.entity))
        return False
    return True


def check_model_dimension(file: PipelineFile, at: Location, model: PipelineModelSpec, views: Sequence[ViewNode]) -> None:
    """A model learns from all values of one dimension, each row from its own value's partitions, and its entity tells which."""
    divided = [(view.name, dimension) for view in views if (dimension := dimension_of(view.grain_of_first)) is not None]
    if not divided:
        return
    first, own = divided[0]
    for name, other in divided:
        if not _same(own, other):
            expected = f"one dimension in all features of {model.name}, {own.expected} as {first} has it"
            file.mistakes.wrong((*at, "features"), expected, f"{other.expected} in {name}")
            return
    if first != views[0].name:
        expected = f"{first} first, which has the dimension {own.name}: the first view gives the rows"
        file.mistakes.wrong((*at, "features"), expected, views[0].name)
    elif own.column not in model.entity:
        expected = f"the column of the dimension {own.name} in it: rows of two values are told apart by nothing else"
        file.mistakes.wrong((*at, "entity"), expected, ", ".join(model.entity))


def _same(one: Dimension, other: Dimension) -> bool:
    return (one.name, one.values) == (other.name, other.values)
