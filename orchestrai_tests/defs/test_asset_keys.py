"""Keys of Dagster: the last part says whose stage it is, and no two assets share one."""

from itertools import permutations
from pathlib import Path
from typing import get_args

import dagster as dg

from orchestrai.defs.asset_keys import asset_group, asset_key, ledger_names
from orchestrai.defs.build import build_definitions
from orchestrai.pipeline.load import Project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings
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


def test_the_group_of_a_pipeline_is_the_way_of_its_data_and_what_lets_snapshots_go_is_in_another(shipped: Project) -> None:
    groups = {node.asset: asset_group(node) for node in shipped.nodes.values()}
    of_churn = [asset.rpartition("/")[2] for asset, group in groups.items() if group == "churn"]
    assert of_churn == [
        "landing", "raw_events", "dead_letters", "snapshot", "restored",
        "features", "training_set", "candidate", "evaluation", "champion", "predictions",
    ]  # fmt: skip
    assert groups["churn/orders/retention"] == groups["churn/catalog"] == "churn_maintenance"
    assert groups["orchestrai/vault/prune"] == "orchestrai"


def test_what_the_page_on_the_ui_says_to_select_is_what_it_says_it_is(shipped: Project, tmp_path: Path) -> None:
    graph = build_definitions(Runtime(Settings(home=tmp_path), shipped)).get_repository_def().asset_graph

    def selected(text: str) -> set[str]:
        found = dg.AssetSelection.from_string(text, include_sources=True).resolve(graph)
        return {ledger_name(key) for key in found}

    churn = {asset for asset in shipped.nodes if asset.startswith("churn/")}
    assert selected('key:"churn/*"') == selected("group:churn or group:churn_maintenance") == churn
    stages = {node.asset for node in shipped.nodes.values() if node.stage.name == "snapshot"}
    assert selected("tag:orchestrai/stage=snapshot") == stages and len(stages) > 3
