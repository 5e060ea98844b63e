"""What is stale in a project: each stage's own rule, asked upstream first, so that what is made of stale data is told too."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import TopologicalSorter
from typing import Any

from orchestrai.errors import OrchestraiError
from orchestrai.stage.context import RunContext
from orchestrai.stage.stage import AssetNode
from orchestrai.stage.staleness import StalePartition, stale_places


@dataclass(frozen=True)
class StaleAssets:
    """Stale partitions, upstream first, and the assets whose records could not be read, with what was wrong."""

    partitions: tuple[StalePartition, ...]
    errors: Mapping[str, OrchestraiError]

    @cached_property
    def unreadable(self) -> dict[str, str]:
        """Those assets, with what was wrong in words."""
        return {asset: error.message for asset, error in self.errors.items()}

    def require(self, asset: str) -> None:
        """Raise what kept one asset from being judged."""
        if asset in self.errors:
            raise self.errors[asset]

    def of(self, asset: str) -> tuple[StalePartition, ...]:
        """Those of one asset."""
        return tuple(one for one in self.partitions if one.asset == asset)

    @property
    def by_inputs(self) -> bool:
        """Whether data made something stale, not only other code."""
        return any(one.by_inputs for one in self.partitions)

    def counts(self, prefix: str) -> dict[str, int]:
        """How many partitions of each asset under a prefix are stale."""
        return {asset: len(some) for asset, some in self.by_asset.items() if asset.startswith(prefix)}

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {"stale": [one.as_json() for one in self.partitions], "unreadable": self.unreadable}

    @cached_property
    def by_asset(self) -> dict[str, list[StalePartition]]:
        """By asset, in their order."""
        assets: dict[str, list[StalePartition]] = {}
        for one in self.partitions:
            assets.setdefault(one.asset, []).append(one)
        return assets


def stale_assets(
    context: RunContext, nodes: Mapping[str, AssetNode[Any]], wanted: Iterable[str] | None = None
) -> StaleAssets:
    """What is stale of the assets `wanted`, or of all; reads the ledger alone, and costs what changed since each was made."""
    chosen = [*nodes] if wanted is None else [asset for asset in wanted if asset in nodes]
    partitions: list[StalePartition] = []
    errors: dict[str, OrchestraiError] = {}
    with context.ledger.reading():
        for asset in _upstream_first(nodes, chosen):
            node = nodes[asset]
            try:
                partitions += node.stage.stale(context, node, stale_places(partitions))
            except OrchestraiError as error:
                errors[asset] = error
    own = {*chosen}
    return StaleAssets(tuple(one for one in partitions if one.asset in own), errors)


def _upstream_first(nodes: Mapping[str, AssetNode[Any]], chosen: Sequence[str]) -> list[str]:
    """Some assets with all that they are made of."""
    graph: dict[str, tuple[str, ...]] = {}
    ahead = [*chosen]
    while ahead:
        asset = ahead.pop()
        if asset not in graph:
            graph[asset] = tuple(dep for dep in nodes[asset].deps if dep in nodes)
            ahead += graph[asset]
    return list(TopologicalSorter(graph).static_order())
