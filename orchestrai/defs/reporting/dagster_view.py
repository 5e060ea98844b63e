"""What Dagster's database already says of an asset's partitions: whatever it says as the ledger does is not said again."""

from collections.abc import Iterable, Mapping, Sequence

import dagster as dg
from dagster._core.definitions.data_version import CODE_VERSION_TAG, DATA_VERSION_TAG

from orchestrai.ledger.report import PartitionOutcome
from orchestrai.stage.stage import AssetNode

USER_PROVIDED = "dagster/data_version_is_user_provided"
# with more a query would name more values than SQLite takes; it then looks at all of them
MOST_NAMED = 10_000


def version_tags(outcome: PartitionOutcome, code: str | None) -> dict[str, str]:
    """The tags by which Dagster knows the version of a partition, and of the code that made it."""
    tags = {DATA_VERSION_TAG: outcome.root or "none", USER_PROVIDED: "true"}
    return tags | ({CODE_VERSION_TAG: code} if code else {})


def newest_tags(instance: dg.DagsterInstance, key: dg.AssetKey) -> Mapping[str, str]:
    """The tags of what Dagster was told last of an asset: its version, of which code and inputs; none where it was told nothing."""
    newest = instance.get_latest_materialization_event(key)
    told = newest.asset_materialization if newest is not None else None
    return (told.tags or {}) if told is not None else {}


class DagsterView:
    """The newest version of each partition of an asset that Dagster knows, and the code of the newest of all: two queries."""

    def __init__(self, instance: dg.DagsterInstance, key: dg.AssetKey, partitions: Sequence[str]) -> None:
        self._versions: Mapping[str, Mapping[str, str]] = instance.event_log_storage.get_latest_tags_by_partition(
            key,
            dg.DagsterEventType.ASSET_MATERIALIZATION,
            [DATA_VERSION_TAG],
            asset_partitions=list(partitions) if len(partitions) <= MOST_NAMED else None,
        )
        self._code = newest_tags(instance, key).get(CODE_VERSION_TAG)

    def unknown(self, node: AssetNode, outcomes: Iterable[PartitionOutcome], code: str | None) -> list[PartitionOutcome]:
        """Those of some published partitions that Dagster knows otherwise, or not at all; all of them once the code is another.

        Of what is copied byte for byte the version says all. What was computed anew is told also when it came out equal: Dagster
        takes it for out of date until it hears that its inputs were seen.
        """
        if code != self._code:
            return list(outcomes)
        return [
            outcome
            for outcome in outcomes
            if self._versions.get(outcome.partition, {}).get(DATA_VERSION_TAG) != (outcome.root or "none")
            or not (outcome.standing or node.stage.verbatim)
        ]
