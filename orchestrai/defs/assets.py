"""One asset per node of the graph; each runs the same body."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from orchestrai.core.actor import acting
from orchestrai.core.time.calendar import dimension_of, name_of, zone_of
from orchestrai.defs.asset_commands import asset_commands
from orchestrai.defs.asset_keys import asset_group, asset_key
from orchestrai.defs.current import features_condition
from orchestrai.defs.input_events import look_back, seen_inputs
from orchestrai.defs.launch.named_coordinator import actor_of
from orchestrai.defs.platform.dead_runs import note_process
from orchestrai.defs.platform.patience import patient
from orchestrai.defs.platform.run_traces import traced_step
from orchestrai.defs.reporting.dagster_view import DagsterView, version_tags
from orchestrai.defs.reporting.stage_events import report_events
from orchestrai.defs.spark.spark_transport import launching
from orchestrai.features.run import FEATURES
from orchestrai.features.spec import FeatureViewSpec
from orchestrai.ingest.arrival import RAW_EVENTS
from orchestrai.ledger.quarantine import closed_gates
from orchestrai.ledger.report import PartitionOutcome
from orchestrai.models.run import PREDICTIONS
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.nodes.load_node import retries_of
from orchestrai.pipeline.nodes.model_node import ModelNode
from orchestrai.pipeline.nodes.view_node import ViewNode
from orchestrai.pipeline.runtime import Runtime
from orchestrai.stage.declared_subject import DeclaredSubject
from orchestrai.stage.stage import AssetNode

# the resource that every function of the project is handed; a host that takes in its definitions has resources of its own
RUNTIME = "orchestrai_runtime"
# the tag of runs that prove: what is restored already is restored again
AGAIN = "orchestrai/again"
# Dagster writes a key in the order of the dimensions' names: a capital letter sorts before those that are declared
TIME = "Time"
# the longest that a partition of a grain lasts, in days
LENGTHS = {"hour": 1 / 24, "day": 1, "week": 7, "month": 31, "year": 366}


def partitions_of(dataset: DatasetNode) -> dg.TimeWindowPartitionsDefinition | dg.MultiPartitionsDefinition | None:
    """The Dagster partitions of a dataset, in its zone, times its declared values; None for one that is not cut by time."""
    times, dimension = _times_of(dataset), dimension_of(dataset.spec.partitions.grain)
    if times is None or dimension is None:
        return times
    return dg.MultiPartitionsDefinition({TIME: times, dimension.name: dg.StaticPartitionsDefinition(list(dimension.values))})


def _times_of(dataset: DatasetNode) -> dg.TimeWindowPartitionsDefinition | None:
    spec = dataset.spec.partitions
    if spec.grain == "all" or spec.start is None:
        return None
    grain, zone = name_of(spec.grain), zone_of(spec.grain)
    start, end = _moment(spec.start, zone), _moment(spec.end, zone) if spec.end else None
    # the running hour is a partition too, and of a stream or a table the running day or month: it fills batch by batch
    running = int(grain == "hour" or dataset.spec.source.positioned)
    if grain == "hour":
        return dg.HourlyPartitionsDefinition(start_date=start, end_date=end, timezone=zone, end_offset=running)
    if grain == "day":
        return dg.DailyPartitionsDefinition(start_date=start, end_date=end, timezone=zone, end_offset=running)
    if grain == "week":
        # from Monday on, as ISO 8601 counts
        return dg.WeeklyPartitionsDefinition(start_date=start, end_date=end, timezone=zone, end_offset=running, day_offset=1)
    if grain == "month":
        return dg.MonthlyPartitionsDefinition(start_date=start, end_date=end, timezone=zone, end_offset=running)
    # Dagster has no class for years
    return dg.TimeWindowPartitionsDefinition(
        cron_schedule="0 0 1 1 *", fmt="%Y-%m-%d", start=start, end=end, timezone=zone, end_offset=running
    )


def _moment(value: Any, zone: str) -> datetime:
    """A declared date or time by the zone's clock: Dagster takes the hands of it and leaves out its zone."""
    if isinstance(value, datetime):
        return value.astimezone(ZoneInfo(zone)) if value.tzinfo else value.replace(tzinfo=ZoneInfo(zone))
    return datetime.combine(value, time(), ZoneInfo(zone))


def node_partitions(node: AssetNode) -> dg.TimeWindowPartitionsDefinition | dg.MultiPartitionsDefinition | None:
    """The Dagster partitions of a node."""
    return None if node.grain == "all" else partitions_of(node.subject.partitioned_like)


def build_assets(nodes: Sequence[AssetNode], runtime: Runtime | None = None) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """A Dagster asset for each node that runs, a spec for each that is only seen; with a runtime those have their conditions, too."""
    conditions = {node.asset: features_condition(runtime, node) if runtime is not None else None for node in nodes}
    return [_asset(node, conditions[node.asset]) if node.executable else _spec(node) for node in nodes]


def _common(node: AssetNode) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    if node.source_files:
        references: list[dg.LocalFileCodeReference | dg.UrlCodeReference] = [
            dg.LocalFileCodeReference(file_path=str(path), label=path.name) for path in node.source_files if path.is_file()
        ]
        metadata["dagster/code_references"] = dg.CodeReferencesMetadataValue(code_references=references)
    if isinstance(node.subject, DatasetNode) and node.stage.verbatim:
        metadata["dagster/column_schema"] = _column_schema(node.subject)
    if isinstance(node.subject, ViewNode) and node.stage is FEATURES:
        metadata |= _view_metadata(node.subject)
    return {
        "deps": _deps(node),
        "group_name": asset_group(node),
        "kinds": {*node.stage.kinds_of(node.subject)},
        "owners": [node.owner],
        "description": f"{node.description}\n\n{asset_commands(node)}",
        "tags": {"orchestrai/stage": node.stage.name, **_present_name(node)},
        "metadata": metadata,
        # the UI says "code version changed" where what is published was made by other code
        "code_version": node.stage.code_of(node.subject),
        "freshness_policy": freshness_policy(node),
    }


def freshness_policy(node: AssetNode) -> dg.FreshnessPolicy | None:
    """How old the newest materialization may be, so that Dagster's pages show it; alerts come from the data's own times.

    Raw events of a dataset whose contract promises freshness: that, and the length of a partition that is taken when it is over.
    Features as their view declares; predictions as their model is retrained.
    """
    window = None
    subject = node.subject
    if node.stage is RAW_EVENTS and isinstance(subject, DatasetNode) and subject.contract.freshness is not None:
        whole = 0 if subject.positioned else LENGTHS.get(name_of(subject.grain), 0)
        window = subject.contract.freshness + timedelta(days=whole)
    elif node.stage is FEATURES and isinstance(subject, ViewNode) and isinstance(subject.view.spec, FeatureViewSpec):
        window = subject.view.spec.checks.freshness
    elif node.stage is PREDICTIONS and isinstance(subject, ModelNode):
        window = subject.spec.champion_max_age
    # Dagster takes no window below a minute
    return dg.FreshnessPolicy.time_window(fail_window=max(window, timedelta(minutes=1))) if window is not None else None


def _deps(node: AssetNode) -> list[dg.AssetKey | dg.AssetDep]:
    mapping = look_back(node, isinstance(node_partitions(node), dg.TimeWindowPartitionsDefinition))
    if mapping is None or not isinstance(node.subject, ViewNode):
        return [asset_key(dep) for dep in node.deps]
    whole = {dataset.asset("restored") for dataset in node.subject.inputs.values() if partitions_of(dataset) is None}
    return [asset_key(dep) if dep in whole else dg.AssetDep(asset_key(dep), partition_mapping=mapping) for dep in node.deps]


def _present_name(node: AssetNode) -> dict[str, str]:
    """Of what was renamed, the name that it has now: the key is of the first one."""
    subject = node.subject
    return {"orchestrai/name": subject.name} if isinstance(subject, DeclaredSubject) and subject.former_names else {}


def _spec(node: AssetNode) -> dg.AssetSpec:
    return dg.AssetSpec(asset_key(node.asset), partitions_def=node_partitions(node), **_common(node))


def _asset(node: AssetNode, condition: dg.AutomationCondition | None) -> dg.AssetsDefinition:
    key = asset_key(node.asset)
    partitions = node_partitions(node)

    @dg.asset(
        key=key,
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=[
            # without partitions of its own: one evaluation a run, with the partitions' verdicts in it
            dg.AssetCheckSpec(check.name, asset=key, blocking=check.blocking, description=check.description)
            for check in node.checks
        ],
        dagster_type=dg.Nothing,
        pool=node.asset.replace("/", "_"),
        automation_condition=condition,
        **_common(node),
    )
    def materialize(context: dg.AssetExecutionContext, orchestrai_runtime: dg.ResourceParam[Runtime]) -> Iterator[Any]:
        if orchestrai_runtime.settings.executor == "in_process":
            note_process(context)
        keys = list(context.partition_keys) if partitions else ["all"]
        seen = seen_inputs(context) if partitions else {}
        letters: list[dg.AssetMaterialization] = []
        # all that is asked of a store is asked before anything is told: what is tried again then tells it once
        with patient(context, retries_of(node.subject)):
            again = AGAIN in context.run.tags
            with (
                launching(orchestrai_runtime, context),
                acting(actor_of(context.run, context.instance, orchestrai_runtime.settings)),
                traced_step(orchestrai_runtime.settings, context, node, keys) as step,
            ):
                progress = step.heard(_log_progress(context))
                report = step.report = orchestrai_runtime.run(node, keys, progress=progress, again=again)
            if "orchestrai/chosen" in report.measured:
                context.log.info(f"chosen: {report.measured['orchestrai/chosen']}")
            if node.stage is RAW_EVENTS:
                fed = sorted({*keys, *(outcome.partition for outcome in report.outcomes)})
                letters += dead_letters(orchestrai_runtime, node.subject, fed, context.instance)
            closed = closed_by(orchestrai_runtime, node) if partitions else {}
        yield from letters
        yield from report_events(context, node, report, seen, closed)

    assert isinstance(materialize, dg.AssetsDefinition)
    return materialize


def closed_by(runtime: Runtime, node: AssetNode) -> dict[str, Mapping[str, str]]:
    """What the gate of an asset holds back, by partition and check, as the ledger has it."""
    if not node.stage.gate:
        return {}
    current = runtime.ledger.find(node.asset)
    return {key: refusal.reasons for key, refusal in closed_gates(runtime.ledger, node.asset, current).items()}


def dead_letters(
    runtime: Runtime, dataset: DatasetNode, keys: Sequence[str], instance: dg.DagsterInstance
) -> Iterator[dg.AssetMaterialization]:
    """Tell of the dead letters that ingest left for some partitions, where Dagster does not know them; of refused partitions too."""
    asset = dataset.asset("dead_letters")
    letters = runtime.ledger.find(asset)
    entries = {key: letters.partitions[key] for key in keys if key in letters.partitions} if letters else {}
    there = [PartitionOutcome(key, True, entry.root, entry.rows, standing=True) for key, entry in entries.items()]
    cut = partitions_of(dataset) is not None
    if cut and there:
        there = DagsterView(instance, asset_key(asset), list(entries)).unknown(runtime.project.nodes[asset], there, None)
    for outcome in there:
        yield dg.AssetMaterialization(
            asset_key(asset),
            partition=outcome.partition if cut else None,
            metadata={"dagster/row_count": outcome.rows, "orchestrai/root": outcome.root or "none"},
            tags=version_tags(outcome, None),
        )


def _log_progress(context: dg.AssetExecutionContext) -> Any:
    state = {"told": 0.0}

    def progress(what: str, done: int, total: int) -> None:
        share = done / total if total else 1.0
        # a tenth at a time: the event log takes about 200 events per CPU second
        if share - state["told"] >= 0.1 and total > 10:
            state["told"] = share
            context.log.info(f"{what}: {done} of {total}")

    return progress


def _column_schema(dataset: DatasetNode) -> dg.TableSchema:
    columns = [
        dg.TableColumn(
            name=column.name,
            type=column.type,
            description=column.description or None,
            constraints=dg.TableColumnConstraints(nullable=not column.required, unique=column.unique),
            tags={"classification": column.classification} if column.classification else {},
        )
        for column in dataset.contract.columns
    ]
    return dg.TableSchema(columns=columns)


def _view_metadata(node: ViewNode) -> dict[str, Any]:
    view = node.view
    metadata: dict[str, Any] = {"sql": dg.MetadataValue.md(f"```sql\n{view.sql}\n```")}
    from orchestrai.features.views.column_lineage import lineage

    sources = lineage(view)
    metadata["dagster/column_schema"] = dg.TableSchema(
        columns=[
            dg.TableColumn(name=field.name, type=str(field.type), description=_from(sources.get(field.name, [])))
            for field in view.schema
        ]
    )
    deps = {
        column: [
            dg.TableColumnDep(asset_key(node.inputs[table].asset("restored")), source)
            for table, source in pairs
            if table in node.inputs
        ]
        for column, pairs in sources.items()
    }
    metadata["dagster/column_lineage"] = dg.TableColumnLineage(deps_by_column=deps)
    return metadata


def _from(sources: Sequence[tuple[str, str]]) -> str | None:
    """What a feature is made of, in the words of the view."""
    return f"from {', '.join(f'{table}.{column}' for table, column in sources)}" if sources else None
