"""Keys of Dagster: the last part says whose stage it is, and no two assets share one."""

from itertools import permutations
from typing import get_args

from orchestrai.defs.asset_keys import asset_key, ledger_names
from orchestrai.pipeline.load import Project
from orchestrai.stage.names import StageName
from orchestrai_tests.dagster_names import ledger_name

STAGES = get_args(StageName)


def test_a_node_of_the_graph_is_told_from_all_others_by_what_it_shows(shipped: Project) -> None:
    for pipeline in shipped.pipelines:
        shown = [asset_key(asset).path[-1] for asset in shipped.nodes if asset.startswith(f"{pipeline.name}/")]
        assert len(shown) == len(set(shown)), pipeline.name
    assert asset_key("churn/orders/snapshot").path == ["churn", "orders_snapshot"]
    assert asset_key("churn/catalog").path == ["churn", "catalog"]


def test_no_two_assets_share_a_key_whatever_their_subjects_are_called() -> None:
    """A subject may be called as the beginning of a stage's name; a stage's name that ended another's would be read both ways."""
    assert not [(one, other) for one, other in permutations(STAGES, 2) if one.endswith(f"_{other}")]
    words = {part for stage in STAGES for part in stage.split("_")} | {"orders", "orders_raw", "a_b"}
    assets = [f"shop/{subject}/{stage}" for subject in sorted(words | {*STAGES}) for stage in STAGES]
    assert len(ledger_names(assets)) == len(assets)
    assert [ledger_name(asset_key(asset)) for asset in assets] == assets
