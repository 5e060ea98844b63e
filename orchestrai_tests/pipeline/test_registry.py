"""Stages as one list: what is in it is in the graph, in Dagster and in the runtime, and nothing else is."""

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pytest

from orchestrai.core.code_identity import Producer
from orchestrai.core.verdict import CheckInfo, Verdict
from orchestrai.defs.asset_keys import asset_key
from orchestrai.defs.build import build_definitions
from orchestrai.errors import ConfigError
from orchestrai.ledger.report import StageReport
from orchestrai.pipeline import stage_registry as registry
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.runtime import Runtime
from orchestrai.stage.context import RunContext
from orchestrai.stage.names import StageName, SubjectKind
from orchestrai.stage.stage import AssetNode, Stage
from orchestrai_tests.backup.kept_shop import PUBLISHED, fresh, materialize

ROOT = Path(registry.__file__).parent.parent
COUNTED = "shop/readings/counted"
PRODUCER = Producer("counted", "orchestrai.core.canonical")


def _count(context: RunContext, node: AssetNode[DatasetNode], partitions: Sequence[str]) -> StageReport:
    restored = context.ledger.open(node.subject.asset("restored"))
    session = context.ledger.session(node.asset, PRODUCER)
    for key in partitions:
        session.add_bytes(key, "count.txt", str(restored.partitions[key].rows).encode(), rows=1)
    return session.commit({key: (Verdict("counted", True, "counted"),) for key in partitions})


TOY: Stage[DatasetNode] = Stage(
    "counted",
    ("dataset",),
    "How many rows each partition has.",
    frozenset({"table"}),
    PRODUCER,
    _count,
    deps=lambda dataset: (dataset.asset("restored"),),
    checks=lambda dataset: (CheckInfo("counted", True, "It was counted."),),
    grain=lambda dataset: dataset.grain,
)


def test_a_new_stage_is_one_value_and_one_line(shop: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert COUNTED not in shop.project.nodes
    monkeypatch.setattr(registry, "STAGES", (*registry.STAGES, TOY))
    runtime = fresh(shop.settings.home, tmp_path / "declared")
    node = runtime.project.nodes[COUNTED]
    assert (node.deps, node.grain, node.executable) == (("shop/readings/restored",), "day", True)
    spec = build_definitions(runtime).resolve_asset_graph().get(asset_key(COUNTED))
    assert spec.kinds == {"table"} and spec.code_version == PRODUCER.code and spec.check_keys
    report = materialize(runtime, COUNTED, PUBLISHED[:2])
    assert [outcome.published for outcome in report.outcomes] == [True, True]
    assert runtime.ledger.open(COUNTED).receipt(PUBLISHED[0]).code_version == PRODUCER.code


def test_every_asset_that_dagster_runs_tells_its_code(shop: Runtime) -> None:
    graph = build_definitions(shop).resolve_asset_graph()
    for node in shop.project.nodes.values():
        assert graph.get(asset_key(node.asset)).code_version == node.stage.code_of(node.subject), node.asset
        assert (node.stage.code_of(node.subject) is None) == (not node.executable)


def test_what_is_only_seen_does_not_run(shop: Runtime) -> None:
    with pytest.raises(ConfigError, match="only seen"):
        materialize(shop, "shop/readings/landing", PUBLISHED)


def test_stages_and_the_names_that_others_know_them_by_agree() -> None:
    assert {stage.name for stage in registry.STAGES} == set(get_args(StageName))
    assert {kind for stage in registry.STAGES for kind in stage.of} == set(get_args(SubjectKind))
    places = [(stage.name, kind) for stage in registry.STAGES for kind in stage.of]
    assert len(places) == len(set(places))


def test_nothing_asks_a_node_for_its_stage_by_name() -> None:
    """A stage's nature is a field of it: what compares names is a table of stages in disguise."""
    asked = []
    for path in sorted(ROOT.rglob("*.py")):
        for place in ast.walk(ast.parse(path.read_text())):
            if isinstance(place, ast.Compare) and ast.unparse(place.left).endswith("node.stage.name"):
                asked.append(f"{path.relative_to(ROOT)}: {ast.unparse(place)}")
    assert [line for line in asked if not line.startswith("provenance")] == []


def test_folders_hold_at_most_twelve_modules_in_the_rooms_of_stages() -> None:
    rooms = ("stage", "ingest", "vault", "restore", "backup", "features", "models", "warehouse", "pipeline")
    folders = [folder for room in rooms for folder in (ROOT / room, *(ROOT / room).rglob("*")) if folder.is_dir()]
    counts = {folder: sum(path.name != "__init__.py" for path in folder.glob("*.py")) for folder in folders}
    assert {str(folder.relative_to(ROOT)): count for folder, count in counts.items() if count > 12} == {}
