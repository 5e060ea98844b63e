"""The names of assets and groups in Dagster: `churn/orders/snapshot` of the ledger is `churn/orders_snapshot` there, in `churn`.

A node of Dagster's graph shows the last part of its key alone, so that part says whose snapshot it is. The ledger's names stay.
"""

from collections.abc import Iterable
from typing import get_args

import dagster as dg

from orchestrai.backup.subjects import HOUSE
from orchestrai.stage.names import StageName
from orchestrai.stage.stage import AssetNode

_STAGES = frozenset(get_args(StageName))


def asset_key(asset: str) -> dg.AssetKey:
    """The key of an asset of the ledger; two assets never share one, since no stage's name ends with that of another."""
    group, *rest = asset.split("/")
    return dg.AssetKey([group, "_".join(rest)] if len(rest) == 2 and rest[1] in _STAGES else [group, *rest])


def ledger_names(assets: Iterable[str]) -> dict[dg.AssetKey, str]:
    """What the assets of the ledger are called there, by key."""
    return {asset_key(asset): asset for asset in assets}


def asset_group(node: AssetNode) -> str:
    """The group of an asset: `churn` is the way from landing to predictions, `churn_maintenance` all that looks after what lies on it.

    So "Materialize all" of a pipeline's group lets go of no snapshot, and its graph is the data's path alone (docs/ui.md).
    """
    apart = node.stage.role != "data" and node.pipeline != HOUSE
    return f"{node.pipeline}_maintenance" if apart else node.pipeline
