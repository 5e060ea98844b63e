"""A step of a model that would make what is published is not made; the ledger and whoever looks at it see no other difference."""

import random
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest

from orchestrai.contracts.contract import Contract
from orchestrai.core import code_identity
from orchestrai.core.canonical import canonical_json
from orchestrai.errors import IntegrityError, OrchestraiError
from orchestrai.ledger.report import StageReport
from orchestrai.models.registry.versions import rollback
from orchestrai.pipeline.load import load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.provenance.index import ReceiptIndex
from orchestrai.provenance.recall.recall import apply_recall, plan_recall
from orchestrai.settings import Settings
from orchestrai.stage import making
from orchestrai_tests.models.test_whole_pipeline import CONTRACT, DAYS, MODEL, PIPELINE

STEPS = ("training_set", "candidate", "evaluation", "champion", "predictions")
ASSETS = [f"{MODEL}/{step}" for step in STEPS]
DATA = ("shop/readings/raw_events", "shop/readings/snapshot", "shop/readings/restored", "shop/levels/features")


class Shop:
    """A home with a pipeline, its declaration and its landing; each run has a runtime made anew, an hour after the last one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = datetime(2026, 11, 1, tzinfo=UTC)
        self.declared = PIPELINE.format(registry="")

    def __enter__(self) -> "Shop":
        (self.folder / "declared").mkdir(parents=True)
        (self.folder / "declared/readings.contract.yaml").write_text(CONTRACT)
        for day in DAYS:
            self.land(day, 0)
        self.data()
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def land(self, day: str, seed: int) -> None:
        """Rows of a day."""
        chance, start = random.Random(f"{day}{seed}"), datetime.fromisoformat(day).replace(tzinfo=UTC)
        lines = ["device_id,ts,level,hint,failed"]
        for number in range(24):
            level = chance.random() * 100
            failed = str(level + chance.gauss(0, 25) > 60).lower()
            lines.append(f"d{number % 3},{(start + timedelta(minutes=50 * number)).isoformat()},{level:.3f},1,{failed}")
        (self.folder / "home/landing/readings").mkdir(parents=True, exist_ok=True)
        (self.folder / f"home/landing/readings/{day}.csv").write_text("\n".join(lines) + "\n")

    def runtime(self) -> Runtime:
        """What a process opens."""
        self.now += timedelta(hours=1)
        (self.folder / "declared/pipeline.yaml").write_text(self.declared)
        project = load_project([self.folder / "declared"], {})
        return Runtime(Settings(home=self.folder / "home"), project, clock=lambda: self.now)

    def data(self) -> None:
        """Landing to features."""
        runtime = self.runtime()
        for asset in DATA:
            runtime.run(runtime.project.nodes[asset], DAYS)

    def run(self, *steps: str, again: bool = False) -> dict[str, StageReport]:
        """Steps of the model, all by default; an error that one ends with ends them."""
        runtime = self.runtime()
        return {
            step: runtime.run(runtime.project.nodes[f"{MODEL}/{step}"], ["all"], again=again) for step in (steps or STEPS)
        }

    def tried(self) -> str:
        """All steps, and how they ended."""
        try:
            reports = self.run()
        except OrchestraiError as error:
            return type(error).__name__
        return " ".join(f"{step}:{len(report.refused)}" for step, report in reports.items())

    def state(self) -> list[Any]:
        """All that the ledger says of the model, but for times, sessions and what a run cost."""
        ledger = self.runtime().ledger
        said = []
        for asset in ASSETS:
            for head in ledger.history(asset):
                receipt = ledger.receipt(head.receipt)
                inputs = [(ref.asset, ref.version, dict(ref.partitions)) for ref in receipt.inputs]
                verdicts = {key: [one.as_json() for one in some] for key, some in receipt.verdicts.items()}
                said.append((asset, head.seq, head.version, head.action, inputs, verdicts, receipt.parameters))
        return said

    def bytes_of(self, asset: str) -> list[Path]:
        """The files in the lake that the newest version of an asset names."""
        ledger = self.runtime().ledger
        dataset = ledger.dataset(next(iter(ledger.history(asset))))
        entries = [entry for key in dataset.partitions for entry in _manifest(ledger, dataset, key)]
        return [self.folder / "home/lake" / entry.key for entry in entries if entry.store == "lake"]


def _manifest(ledger: Any, dataset: Any, key: str) -> Any:
    from orchestrai.ledger.manifest import decode_partition

    return decode_partition(ledger.blob("manifests", dataset.partitions[key].manifest)).files


def _damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop whose model was made twice: nothing is left to be done."""
    with Shop(tmp_path_factory.mktemp("standing") / "shop") as shop:
        shop.run()
        shop.run()
    return shop.folder


@pytest.fixture
def shop(grown: Path, tmp_path: Path) -> Iterator[Shop]:
    copied = Shop(Path(shutil.copytree(grown, tmp_path / "shop")))
    copied.now += timedelta(days=1)
    yield copied


def _standing(reports: dict[str, StageReport]) -> list[str]:
    return [step for step, report in reports.items() if all(outcome.standing for outcome in report.outcomes)]


def test_nothing_is_made_where_nothing_is_new_and_all_of_it_where_a_run_proves(shop: Shop) -> None:
    before = shop.state()
    assert _standing(shop.run()) == list(STEPS)
    assert shop.state() == before
    # made again it is the same, so that nothing is published
    assert _standing(shop.run(again=True)) == []
    assert shop.state() == before


def test_the_run_after_a_promotion_makes_nothing(tmp_path: Path) -> None:
    with Shop(tmp_path / "shop") as shop:
        shop.run()
        before = shop.state()
        assert _standing(shop.run()) == list(STEPS)
        assert _standing(shop.run(again=True)) == []
        assert shop.state() == before, "a candidate that serves is not held against itself"


@pytest.mark.parametrize(
    ("what", "made"),
    [
        ("a parameter", ["candidate", "evaluation", "champion", "predictions"]),
        ("a rule", ["candidate", "evaluation", "champion", "predictions"]),
        ("a check that is new", ["candidate", "evaluation", "champion", "predictions"]),
        ("a promise of time", ["candidate", "evaluation", "champion", "predictions"]),
        ("a label", list(STEPS)),
    ],
)
def test_what_is_declared_otherwise_is_made(shop: Shop, what: str, made: list[str]) -> None:
    before, after = {
        "a parameter": ("num_boost_round: 5", "num_boost_round: 6"),
        "a rule": ("at_least: 0.6", "at_least: 0.61"),
        "a check that is new": ("    sla: 4h", "    sla: 4h\n    baseline: level"),
        "a promise of time": ("sla: 4h", "sla: 5h"),
        "a label": ("horizon: 1m", "horizon: 2m"),
    }[what]
    assert before in shop.declared
    shop.declared = shop.declared.replace(before, after)
    reports = shop.run()
    assert [step for step in STEPS if step not in _standing(reports)] == made
    if what == "a check that is new":
        judged = [verdict.check for verdict in reports["evaluation"].outcomes[0].verdicts]
        assert "beats_baseline" in judged


@pytest.mark.parametrize("step", STEPS[:3])
def test_bytes_that_rotted_are_made_again(shop: Shop, step: str) -> None:
    _damage(shop.bytes_of(f"{MODEL}/{step}")[0])
    assert step not in _standing(shop.run(step))
    assert step in _standing(shop.run(step))


def test_a_step_whose_input_rotted_says_so(shop: Shop) -> None:
    (damaged, *_) = shop.bytes_of(f"{MODEL}/training_set")
    _damage(damaged)
    with pytest.raises(IntegrityError):
        shop.run("candidate")


def test_a_recall_is_no_standing_version(shop: Shop) -> None:
    runtime = shop.runtime()
    ledger = runtime.ledger
    index = ReceiptIndex.build(ledger.lake, ledger.keyring)
    apply_recall(ledger, plan_recall(ledger, index, f"{MODEL}/training_set@all", "wrong", "ann"))
    assert "training_set" not in _standing(shop.run("training_set"))
    assert "candidate" not in _standing(shop.run("candidate"))


def test_a_training_that_a_clock_had_a_say_in_is_done_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.declared = shop.declared.replace("sla: 4h", "sla: 1s")
    ticks = iter(range(0, 10_000, 5))
    with monkeypatch.context() as patch:
        patch.setattr("orchestrai.ledger.report.time.perf_counter", lambda: float(next(ticks)))
        late = shop.run("candidate")["candidate"]
        assert [v.check for v in late.outcomes[0].verdicts if not v.passed] == ["training_time"]
    again = shop.run("candidate")["candidate"]
    assert not again.outcomes[0].standing and all(v.passed for v in again.outcomes[0].verdicts)
    assert _standing(shop.run("candidate")) == ["candidate"]


def test_other_libraries_make_it_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "_versions", lambda: ["numpy 99"])
    assert _standing(shop.run()) == []


@pytest.mark.parametrize(
    ("module", "made"),
    [
        ("orchestrai.features.views.moment_partitions", ["predictions"]),
        ("orchestrai.features.engines.duckdb_engine", ["training_set"]),
    ],
)
def test_other_code_behind_a_port_makes_it_again(
    shop: Shop, module: str, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What joins features to score them, and what runs a label, are of another room than the stage that asks them."""
    of_sources = code_identity.identity
    monkeypatch.setattr(code_identity, "identity", lambda modules: "0" * 16 if modules == (module,) else of_sources(modules))
    assert [step for step in STEPS if step not in _standing(shop.run())] == made


def test_a_declaration_says_in_a_digest_what_json_cannot() -> None:
    contracts = [Contract("readings", "1", (), extra={"limit": limit}) for limit in (inf, -inf, nan, 1.0, None)]
    said = [canonical_json(making.plain(contract)) for contract in contracts]
    assert len(set(said)) == len(said) and canonical_json(making.plain(contracts[2])) == said[2]


def test_a_refusal_that_nothing_answered_is_answered(shop: Shop) -> None:
    shop.declared = shop.declared.replace("at_least: 0.6", "at_least: 0.999").replace(
        "num_boost_round: 5", "num_boost_round: 1"
    )
    assert shop.run("candidate", "evaluation", "champion")["champion"].refused
    shop.declared = PIPELINE.format(registry="")
    assert "champion" not in _standing(shop.run())
    assert _standing(shop.run()) == list(STEPS)


ACTIONS: dict[str, Callable[[Shop, random.Random], None]] = {}


def _action(function: Callable[[Shop, random.Random], None]) -> Callable[[Shop, random.Random], None]:
    ACTIONS[function.__name__] = function
    return function


@_action
def nothing(shop: Shop, chance: random.Random) -> None:
    """Nothing happens."""


@_action
def changed_day(shop: Shop, chance: random.Random) -> None:
    """A day comes again, with other rows."""
    shop.land(chance.choice(DAYS), chance.randrange(1, 4))
    shop.data()


@_action
def other_trees(shop: Shop, chance: random.Random) -> None:
    """The recipe is another one, or that of before."""
    shop.declared = PIPELINE.format(registry="").replace("num_boost_round: 5", f"num_boost_round: {chance.choice([4, 5])}")


@_action
def other_rule(shop: Shop, chance: random.Random) -> None:
    """More is asked of a candidate, or less."""
    shop.declared = PIPELINE.format(registry="").replace("at_least: 0.6", f"at_least: {chance.choice(['0.6', '0.99'])}")


@_action
def rolled_back(shop: Shop, chance: random.Random) -> None:
    """The champion of before serves again, where there is one."""
    runtime = shop.runtime()
    try:
        with runtime.ledger.using():
            rollback(runtime.ledger, f"{MODEL}/champion", reason="complaints")
    except OrchestraiError:
        return


@_action
def damaged(shop: Shop, chance: random.Random) -> None:
    """Bytes of the candidate or the training set rot."""
    _damage(shop.bytes_of(f"{MODEL}/{chance.choice(STEPS[:3])}")[0])


def _both_ways(folder: Path, seed: int, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same things happen to two shops, one of which makes every step whatever stands."""
    shops = [Shop(folder / name) for name in ("standing", "made")]
    seen = []
    for number in range(length + 1):
        action = random.Random(f"{seed} {number}").choice(list(ACTIONS)) if number else "nothing"
        ended = []
        for place, one in enumerate(shops):
            if not number:
                one.__enter__()
            ACTIONS[action](one, random.Random(f"{seed} {number} dice"))
            with monkeypatch.context() as patch:
                if place:
                    patch.setattr(making, "as_it_stands", lambda *_: None)
                ended.append((one.tried(), one.state()))
        seen.append(f"{action}: {ended[0][0]}")
        assert ended[0] == ended[1], seen


def test_the_ledger_says_the_same_whether_steps_stand_or_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _both_ways(tmp_path, 4, 4, monkeypatch)


@pytest.mark.thorough("one seed says it sooner")
@pytest.mark.parametrize("seed", (1, 2, 3, 5, 6))
def test_the_ledger_says_the_same_whatever_happens(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    _both_ways(tmp_path, seed, 10, monkeypatch)
