"""What Dagster shows and starts of staleness, worked out from the ledger: the check `current`, and a condition "missing or stale".

Both say what `orchestrai stale` says, whatever Dagster's database holds and however many partitions a window reads.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import dagster as dg

from orchestrai.defs.asset_keys import asset_key
from orchestrai.defs.platform.patience import patient
from orchestrai.features.run import FEATURES
from orchestrai.features.spec import FeatureViewSpec
from orchestrai.features.staleness.stale_features import missing_features
from orchestrai.features.training_set import TRAINING_SET
from orchestrai.pipeline.nodes.load_node import retries_of
from orchestrai.pipeline.nodes.view_node import ViewNode
from orchestrai.pipeline.reports.stale_assets import StaleAssets, stale_assets
from orchestrai.pipeline.runtime import Runtime
from orchestrai.stage.stage import AssetNode
from orchestrai.stage.staleness import flags_of

CURRENT = "current"
SENSOR = "missing_or_stale_features"
MOST_ROWS = 200


def build_current_checks(nodes: Sequence[AssetNode]) -> list[dg.AssetChecksDefinition]:
    """A `current` check for each feature table and training set."""
    return [_current(node) for node in nodes if node.stage in (FEATURES, TRAINING_SET)]


def _current(node: AssetNode) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(node.asset),
        name=CURRENT,
        blocking=False,
        description="Every published partition is what it would be now: none was made of inputs or code that changed since.",
    )
    def current(
        context: dg.AssetCheckExecutionContext, orchestrai_runtime: dg.ResourceParam[Runtime]
    ) -> dg.AssetCheckResult:
        with patient(context, retries_of(node.subject)):
            left = stale_assets(orchestrai_runtime.context(), orchestrai_runtime.project.nodes, [node.asset])
            left.require(node.asset)
            flag(orchestrai_runtime, node, left)
        lines = [f"{one.partition}: {one.why}" for one in left.partitions]
        return dg.AssetCheckResult(
            passed=not lines,
            severity=dg.AssetCheckSeverity.WARN,
            description="; ".join(lines[:5]) or None,
            metadata={"stale": len(lines), **({"why": _table(left)} if lines else {})},
        )

    return current


def flag(runtime: Runtime, node: AssetNode, left: StaleAssets) -> None:
    """Have online reads tell what is stale of a view, where it is served by key."""
    subject = node.subject
    if isinstance(subject, ViewNode) and isinstance(subject.view.spec, FeatureViewSpec) and subject.view.spec.online:
        from orchestrai.features.by_key.online import flag_online, online_path

        path = online_path(runtime.settings.home, subject.pipeline, subject.view.name)
        flag_online(path, flags_of(left.of(node.asset)), runtime.clock())


def _table(left: StaleAssets) -> dg.TableMetadataValue:
    records = [dg.TableRecord({"partition": one.partition, "why": one.why}) for one in left.partitions[:MOST_ROWS]]
    return dg.MetadataValue.table(
        records, dg.TableSchema(columns=[dg.TableColumn(n, "string") for n in ("partition", "why")])
    )


# -- automation --------------------------------------------------------------------------------------------------


class MissingOrStale(dg.AutomationCondition):
    """True for partitions of a feature table that are due and not there, or that changed inputs have made stale.

    What only other code makes stale is left to a person. Evaluated where the code is, since it reads the ledger.
    """

    def __init__(self, wanted: Callable[[], Sequence[str]]) -> None:
        self._wanted = wanted

    def evaluate(self, context: dg.AutomationContext) -> dg.AutomationResult:
        """The partitions that the ledger calls missing or stale, as far as Dagster has them."""
        graph, key = context.asset_graph_view, context.key
        wanted = {*self._wanted()}
        if not isinstance(key, dg.AssetKey) or not wanted:
            return dg.AutomationResult(context, true_subset=context.get_empty_subset())
        candidates = context.candidate_subset
        if not graph.asset_graph.get(key).is_partitioned:
            return dg.AutomationResult(context, true_subset=candidates)
        known = [part for part in candidates.expensively_compute_partition_keys() if part in wanted]
        found = graph.get_asset_subset_from_asset_partitions(key, {_partition(key, part) for part in known})
        return dg.AutomationResult(context, true_subset=candidates.compute_intersection(found))


def _partition(key: dg.AssetKey, part: str) -> Any:
    from dagster._core.definitions.events import AssetKeyPartitionKey

    return AssetKeyPartitionKey(key, part)


def missing_or_stale(runtime: Runtime, node: AssetNode) -> list[str]:
    """The partitions of a feature table that a run would compute: due and not there, or stale by their inputs."""
    assert isinstance(node.subject, ViewNode)
    left = stale_assets(runtime.context(), runtime.project.nodes, [node.asset])
    left.require(node.asset)
    stale = [one.partition for one in left.partitions if any(cause.kind not in ("code", "upstream") for cause in one.causes)]
    return sorted({*stale, *missing_features(runtime.ledger, node.subject, runtime.clock())})


def features_condition(runtime: Runtime, node: AssetNode) -> dg.AutomationCondition | None:
    """The automation condition of a feature table; None for every other asset."""
    if node.stage is not FEATURES:
        return None
    idle = ~dg.AutomationCondition.in_progress() & ~dg.AutomationCondition.execution_failed()
    return MissingOrStale(lambda: missing_or_stale(runtime, node)) & idle


def build_current_sensors(nodes: Sequence[AssetNode]) -> Iterator[dg.AutomationConditionSensorDefinition]:
    """One sensor, off until it is turned on, that starts what the conditions of feature tables ask for."""
    features = [asset_key(node.asset) for node in nodes if node.stage is FEATURES]
    if features:
        yield dg.AutomationConditionSensorDefinition(
            SENSOR,
            target=dg.AssetSelection.assets(*features),
            use_user_code_server=True,
            default_status=dg.DefaultSensorStatus.STOPPED,
            description="Computes partitions of feature tables that are missing, or that changed inputs have made stale.",
        )
