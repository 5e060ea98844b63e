"""A champion that moves, by whatever way, is followed by its deployment."""

import shutil
import time
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from orchestrai.models.registry.deployment import not_deployed
from orchestrai.models.registry.versions import rollback
from orchestrai.pipeline.load import load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.provenance.index import ReceiptIndex
from orchestrai.provenance.recall.recall import apply_recall, plan_recall
from orchestrai.provenance.recall.retraining import redeploy
from orchestrai.settings import load_settings
from orchestrai_tests.dagster_names import ledger_name
from orchestrai_tests.provenance.places import Place
from orchestrai_tests.provenance.small import CHAMPION, DAYS, NOW, RAW, Small

DEPLOYMENT = "small/alarm/deployment"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Two champions, one after the other, each deployed by the run that promoted it; not to be written to."""
    folder = tmp_path_factory.mktemp("made")
    small = Small.at(folder)
    declared = folder / "declared" / "pipeline.yaml"
    declared.write_text(declared.read_text() + '    registry: "mlflow+sqlite:///registry.db"\n')
    with pytest.MonkeyPatch.context() as patch:
        place = Place.instead(patch)
        small = opened(folder)
        for days in (DAYS[:-1], DAYS[-1:]):
            small.land(*days)
            small.publish(*days)
            small.train(DEPLOYMENT)
    assert len(place.held) == 2
    return folder, place.held


def opened(folder: Path) -> Small:
    moments = (NOW + timedelta(milliseconds=number) for number in count(time.monotonic_ns() // 1_000_000 % 10**8))
    project = load_project([folder / "declared"], {})
    return Small(Runtime(load_settings(home=folder / "home"), project, clock=lambda: next(moments)))


@pytest.fixture
def place(made: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> Place:
    found = Place.instead(monkeypatch)
    found.held = list(made[1])
    return found


@pytest.fixture
def small(made: tuple[Path, list[str]], place: Place, tmp_path: Path) -> Small:
    return opened(Path(shutil.copytree(made[0], tmp_path / "shop")))


def requests(small: Small, later: timedelta = timedelta(0)) -> list[tuple[str | None, list[str]]]:
    import dagster as dg

    from orchestrai.defs.build import build_definitions

    runtime, now = small.runtime, small.runtime.clock() + later
    clock, runtime.clock = runtime.clock, lambda: now
    try:
        definitions = build_definitions(runtime)
        sensor = definitions.get_sensor_def("small_deploy_moved_champion")
        assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
        with dg.build_sensor_context(
            resources={"orchestrai_runtime": runtime}, repository_def=definitions.get_repository_def()
        ) as context:
            found = sensor.evaluate_tick(context).run_requests or ()
    finally:
        runtime.clock = clock
    return [(run.run_key, [ledger_name(key) for key in run.asset_selection or ()]) for run in found]


def test_the_sensor_asks_once_for_what_was_rolled_back_elsewhere_and_nothing_once_it_is_deployed(
    small: Small, place: Place
) -> None:
    assert requests(small) == []
    rollback(small.runtime.ledger, CHAMPION)
    ((key, assets),) = requests(small)
    assert assets == [DEPLOYMENT]
    assert requests(small) == [(key, assets)]
    small.run(DEPLOYMENT)
    assert place.held[-1] == place.held[0] == small.runtime.ledger.open(CHAMPION).version
    assert requests(small) == []


def test_a_registry_that_is_down_is_tried_again_in_another_hour(small: Small, place: Place) -> None:
    rollback(small.runtime.ledger, CHAMPION)
    ((first, _),) = requests(small)
    place.down = True
    assert redeploy(small.runtime, [CHAMPION])[0].refused
    ((same, _),), ((later, _),) = requests(small), requests(small, timedelta(hours=1))
    assert same == first != later


def test_a_promotion_is_left_to_the_run_that_made_it_for_a_while(small: Small) -> None:
    ledger = small.runtime.ledger
    small.land(DAYS[0], poisoned=True)
    small.publish(DAYS[0])
    small.train()
    assert not_deployed(ledger, champion=CHAMPION, asset=DEPLOYMENT) == ledger.head(CHAMPION)
    assert requests(small) == []
    assert len(requests(small, timedelta(minutes=3))) == 1


def test_a_recalled_champion_and_its_deployment_are_followed_and_a_withdrawn_one_is_not_asked_for(small: Small) -> None:
    ledger = small.runtime.ledger

    def recall(day: str) -> None:
        plan = plan_recall(ledger, ReceiptIndex.build(ledger.lake, ledger.keyring), f"{RAW}@{day}", "bad", "ann")
        apply_recall(ledger, plan)

    recall(DAYS[-1])
    assert [assets for _, assets in requests(small)] == [[DEPLOYMENT]]
    small.run(DEPLOYMENT)
    recall(DAYS[0])
    assert requests(small) == [] and redeploy(small.runtime, [CHAMPION]) == []


def test_the_command_that_rolls_a_pipeline_back_deploys_what_then_serves(
    small: Small, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from orchestrai.cli.app import app

    monkeypatch.setenv("ORCHESTRAI_HOME", str(small.home))
    monkeypatch.setenv("ORCHESTRAI_PIPELINES", str(small.home.parent / "declared"))
    done = CliRunner().invoke(app, ["rollback", "small", "--apply", "--reason", "test"])
    assert done.exit_code == 0, done.output
    assert place.held[-1] == place.held[0] == small.runtime.ledger.open(CHAMPION).version
    assert "1 of 1 targets hold" in done.output
