"""A pipeline put together as far as its sound parts go: datasets with contracts, views linted, models and loads with what they read."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrai.contracts.contract import Contract
from orchestrai.contracts.odcs import load_contract
from orchestrai.core.time.calendar import WHOLE
from orchestrai.core.yaml.declaration import Location
from orchestrai.errors import ConfigError, DeclarationError
from orchestrai.features.views.lint.look_back import require_counted_rows
from orchestrai.features.views.view import FeatureView, load_view
from orchestrai.ingest.incremental import check_source
from orchestrai.pipeline.check.dimension_rules import (
    check_dataset_dimension,
    check_model_dimension,
    check_view_dimension,
)
from orchestrai.pipeline.check.pipeline_file import PipelineFile
from orchestrai.pipeline.declarations import DatasetRef, DatasetSpec, PipelineModelSpec, PipelineViewSpec
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.nodes.load_node import LoadNode
from orchestrai.pipeline.nodes.model_node import ModelNode
from orchestrai.pipeline.nodes.pipeline_node import Pipeline
from orchestrai.pipeline.nodes.share_node import ShareNode
from orchestrai.pipeline.nodes.view_node import ViewNode
from orchestrai.warehouse.spec import LoadSpec
from orchestrai.warehouse.tables.share_spec import ShareSpec

if TYPE_CHECKING:
    import pyarrow as pa

Datasets = Mapping[str, DatasetNode]


@dataclass
class Draft:
    """What came of one file; `pipeline` is None where anything in it is wrong."""

    file: PipelineFile
    datasets: dict[str, DatasetNode] = field(default_factory=dict)
    views: dict[str, ViewNode] = field(default_factory=dict)
    models: list[tuple[Location, ModelNode]] = field(default_factory=list)
    loads: list[LoadNode] = field(default_factory=list)
    shares: list[ShareNode] = field(default_factory=list)

    @property
    def pipeline(self) -> Pipeline | None:
        """The pipeline, whole."""
        spec = self.file.spec
        if spec is None or self.file.mistakes.all:
            return None
        models = tuple(model for _, model in self.models)
        datasets, views = tuple(self.datasets.values()), tuple(self.views.values())
        return Pipeline(spec, self.file.folder, datasets, views, models, tuple(self.loads), tuple(self.shares))


def declared_datasets(file: PipelineFile) -> dict[str, DatasetNode]:
    """The datasets that a file declares, by `<pipeline>/<name>`, each with its contract and a source that fits it."""
    nodes = {}
    for at, dataset in file.datasets:
        if not isinstance(dataset, DatasetSpec):
            continue
        path = file.folder / dataset.contract
        if not path.is_file():
            file.mistakes.wrong((*at, "contract"), f"the file {dataset.contract} in {file.folder.name}/", "none: create it")
            continue
        try:
            contract = load_contract(path)
        except DeclarationError as exc:
            file.mistakes.take(exc, (*at, "contract"))
            continue
        try:
            check_source(dataset.source, contract, dataset.partitions.grain)
        except ConfigError as exc:
            file.mistakes.take(exc, (*at, "source"))
        _check_cut(file, at, dataset, contract)
        check_dataset_dimension(file, at, dataset, contract)
        nodes[f"{file.name}/{dataset.name}"] = DatasetNode(file.name, dataset, contract, file.folder)
    return nodes


def _check_cut(file: PipelineFile, at: Location, dataset: DatasetSpec, contract: Contract) -> None:
    """What decides on the partition of a row is declared, and is there."""
    cut, source = dataset.partitions, dataset.source
    wrong = file.mistakes.wrong
    if cut.unit == WHOLE or cut.by == "event_time":
        if cut.unit != WHOLE and contract.event_time is None:
            expected = (
                f"the event time by which {dataset.name} is cut, eventTime in the customProperties of {dataset.contract}, or `by: name` "
                "(the name of an object alone decides) or `by: arrival` (the time at which it came does)"
            )
            wrong((*at, "partitions"), expected, "none")
        return
    if contract.event_time is not None:
        expected = f"event_time, as {contract.name} has the event time {contract.event_time}"
        wrong((*at, "partitions", "by"), expected, cut.by)
        return
    named = source.kind == "http" or (source.kind == "objects" and source.partition_from != "modified")
    arrives = source.kind == "stream" or (source.kind == "objects" and source.partition_from == "modified")
    if not (named if cut.by == "name" else arrives):
        expected = "name for objects and APIs, arrival for streams and for objects of `partition_from: modified`"
        wrong((*at, "partitions", "by"), expected, cut.by)


def assemble(file: PipelineFile, known: Datasets, wrong: Collection[str]) -> Draft:
    """Put a file's sound parts together; `wrong` are pipelines that are left out: nobody knows what all they declare."""
    draft = Draft(file)
    for at, dataset in file.datasets:
        key = dataset.ref if isinstance(dataset, DatasetRef) else f"{file.name}/{dataset.name}"
        if key in known:
            draft.datasets[key.split("/")[1]] = known[key]
        elif isinstance(dataset, DatasetRef) and key.split("/")[0] not in wrong:
            now = next((node.shown for node in known.values() if key in node.former_refs), None)
            given = f"{key!r}, which is called {now} now" if now else repr(key)
            file.mistakes.wrong((*at, "ref"), f"one of {', '.join(sorted(known)) or '(none)'}", given)
    # what is declared, sound or not: only what refers to none of it is a mistake of its own
    names = {dataset.name if isinstance(dataset, DatasetSpec) else dataset.ref.split("/")[1] for _, dataset in file.datasets}
    missing = (names | file.unsound) - set(draft.datasets)
    for at, view in file.views:
        node = _view(draft, at, view, missing)
        if node is not None:
            draft.views[node.name] = node
    for at, model in file.models:
        if all(name in draft.views for name in model.features):
            learner = _model(draft, at, model, missing)
            draft.models += [(at, learner)] if learner is not None else []
            check_model_dimension(file, at, model, [draft.views[name] for name in model.features])
    for at, load in file.loads:
        _load(draft, at, load, missing)
    for at, share in file.shares:
        _share(draft, at, share, missing)
    return draft


def _view(draft: Draft, at: Location, view: PipelineViewSpec, missing: set[str]) -> ViewNode | None:
    file, sound = draft.file, True
    for number, name in enumerate(view.inputs):
        table = name.split("/")[-1]
        if table not in draft.datasets:
            sound = False
            if table not in missing:
                known = f"one of the datasets {', '.join(draft.datasets)}"
                file.mistakes.wrong((*at, "from", number), known, file.missing(name))
    if not sound:
        return None
    inputs = {table: draft.datasets[table] for table in view.table_names}
    try:
        loaded = require_counted_rows(load_view(view, file.folder, schemas_of(inputs)))
    except ConfigError as exc:
        file.mistakes.take(exc, (*at, "python" if view.python else "sql"))
        return None
    sound = check_view_dimension(file, at, view, inputs)
    for number, name in enumerate(view.inputs):
        sound = _check_clock(file, (*at, "from", number), loaded, name.split("/")[-1], inputs) and sound
    return ViewNode(file.name, loaded, inputs, file.folder, view.backup) if sound else None


def _check_clock(file: PipelineFile, at: Location, view: FeatureView, table: str, inputs: Datasets) -> bool:
    """Whether the partitions of a view's input promise anything of the times by which the view reads them."""
    node, declared = inputs.get(table), view.tables.get(table)
    if node is None or declared is None or declared.event_time is None or declared.whole or node.grain == WHOLE:
        return True
    if node.spec.partitions.by != "event_time":
        expected = f"a dataset cut by its event time, as the view reads {table} by {declared.event_time}"
        file.mistakes.wrong(at, expected, f"{table} cut by {node.spec.partitions.by}")
        return False
    return True


def schemas_of(inputs: Datasets) -> dict[str, "pa.Schema"]:
    """The schemas of datasets as their contracts declare them, by table name."""
    return {table: node.table_schema for table, node in inputs.items()}


def _model(draft: Draft, at: Location, model: PipelineModelSpec, missing: set[str]) -> ModelNode | None:
    used = tuple(draft.views[name] for name in model.features)
    inputs = {table: node for view in used for table, node in view.inputs.items()}
    if model.spine is not None:
        source = model.spine.source
        if source not in draft.datasets:
            if source not in missing:
                known = f"one of the datasets {', '.join(draft.datasets)}"
                draft.file.mistakes.wrong((*at, "spine", "from"), known, repr(source))
            return None
        inputs[source] = draft.datasets[source]
    # what a model keeps of its views are the names that these were given first
    stored = model.model_copy(update={"features": [node.view.name for node in used]})
    return ModelNode(draft.file.name, stored, used, inputs, draft.file.folder)


def _load(draft: Draft, at: Location, load: LoadSpec, missing: set[str]) -> None:
    source = _source(draft, at, load.source, missing)
    if source is None:
        return
    columns = _columns(source)
    for number, name in enumerate(load.key):
        if columns and name not in columns:
            draft.file.mistakes.wrong((*at, "key", number), f"a column of {load.source} ({', '.join(columns)})", repr(name))
    draft.loads.append(LoadNode(draft.file.name, load, source, draft.file.folder))


def _share(draft: Draft, at: Location, share: ShareSpec, missing: set[str]) -> None:
    source = _source(draft, at, share.source, missing)
    if source is None:
        return
    if share.of == "raw" and not isinstance(source, DatasetNode):
        draft.file.mistakes.wrong((*at, "of"), f"it beside a dataset, as {share.source} has no raw events", "raw")
        return
    node = ShareNode(draft.file.name, share, source, draft.file.folder)
    taken = next((one.name for one in draft.shares if one.place == node.place), None)
    if taken is not None:
        draft.file.mistakes.wrong((*at, "name"), "each table once", f"{share.name}, which is the table of {taken}")
        return
    draft.shares.append(node)


def _source(draft: Draft, at: Location, name: str, missing: set[str]) -> DatasetNode | ViewNode | ModelNode | None:
    """What a table is from; a name that nothing has is a mistake, unless what has it is not sound."""
    models = {model.spec.name: model for _, model in draft.models}
    sources: dict[str, DatasetNode | ViewNode | ModelNode] = {**draft.datasets, **draft.views, **models}
    if name not in sources:
        declared = {*missing, *(view.name for _, view in draft.file.views), *(model.name for _, model in draft.file.models)}
        if name not in declared:
            draft.file.mistakes.wrong((*at, "from"), f"one of {', '.join(sources)}", draft.file.missing(name))
    return sources.get(name)


def _columns(source: DatasetNode | ViewNode | ModelNode) -> Sequence[str]:
    """The columns that are known without data; of predictions none."""
    if isinstance(source, ModelNode):
        return ()
    return source.contract.names if isinstance(source, DatasetNode) else source.view.schema.names
