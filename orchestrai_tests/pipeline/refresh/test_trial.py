"""What a trial calls nothing new, a run leaves byte for byte as it is; whatever a run would do, the trial comes to."""

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrai.core import code_identity
from orchestrai.errors import OrchestraiError, WouldPublish
from orchestrai.ledger.decisions.overrides import Override
from orchestrai.ledger.quarantine import refusals
from orchestrai.pipeline.load import load_project
from orchestrai.pipeline.refresh.run_assets import in_order, ingest_assets, train_assets
from orchestrai.pipeline.refresh.trial import Span, what_is_new
from orchestrai.pipeline.refresh.write_proof_store import WriteProofStore
from orchestrai.pipeline.runtime import Runtime
from orchestrai.provenance.index import ReceiptIndex
from orchestrai.provenance.recall.recall import apply_recall, plan_recall
from orchestrai.settings import Settings
from orchestrai.storage.base import put_absent
from orchestrai.storage.memory import MemoryStore
from orchestrai_tests.models.test_whole_pipeline import CONTRACT, PIPELINE

DAYS = [f"2026-10-{day:02d}" for day in range(1, 9)]
RAW = "shop/readings/raw_events"
SPAN = Span(DAYS[0], DAYS[-1])


def csv_of(day: str) -> str:
    """A day of readings, the same for the same day."""
    chance, start = random.Random(day), datetime.fromisoformat(day).replace(tzinfo=UTC)
    lines = ["device_id,ts,level,hint,failed"]
    for number in range(24):
        level = chance.random() * 100
        failed = str(level + chance.gauss(0, 25) > 60).lower()
        lines.append(f"d{number % 3},{(start + timedelta(minutes=50 * number)).isoformat()},{level:.3f},1,{failed}")
    return "\n".join(lines) + "\n"


class House:
    """A home with a pipeline and its landing; each run and each trial has a runtime made anew, an hour after the last one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.now = datetime(2026, 11, 1, tzinfo=UTC)
        self.landed: list[Path] = []
        self.pipeline, self.contract = PIPELINE.format(registry=""), CONTRACT
        for day in DAYS[:-1]:
            self.land(day, csv_of(day))
        # the last day is no day of trade until it lands
        self.contract += "  - {property: closedDates, value: [" + DAYS[-1] + "]}\n"
        (self.home / "dagster").mkdir()
        (self.home / "dagster/dagster.yaml").write_text("telemetry: {enabled: false}\n")

    def land(self, day: str, text: str) -> None:
        path, aside = self.home / f"landing/readings/{day}.csv", self.folder / "aside" / f"{day}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        if path in self.landed and not aside.exists():
            # the same file comes back: an object is known by its inode
            aside.parent.mkdir(exist_ok=True)
            path.rename(aside)
        path.write_text(text)

    def keep(self) -> None:
        """Remember all that lies here."""
        self.kept, self.landed = self.files(), sorted((self.home / "landing").rglob("*.csv"))
        self.declared = self.pipeline, self.contract

    def back(self) -> None:
        """Have it again as it was kept."""
        self.pipeline, self.contract = self.declared
        found = self.files()
        for name in found.keys() - self.kept.keys():
            (self.home / name).unlink()
        for name, data in self.kept.items():
            if found.get(name) != data:
                (self.home / name).unlink(missing_ok=True)
                (self.home / name).parent.mkdir(parents=True, exist_ok=True)
                (self.home / name).write_bytes(data)
        for path in {*(self.home / "landing").rglob("*.csv")} - {*self.landed}:
            path.unlink()
        for path in (self.folder / "aside").glob("*.csv"):
            path.rename(self.home / "landing/readings" / path.name)

    def runtime(self) -> Runtime:
        self.now += timedelta(hours=1)
        (self.folder / "declared").mkdir(exist_ok=True)
        (self.folder / "declared/pipeline.yaml").write_text(self.pipeline)
        (self.folder / "declared/readings.contract.yaml").write_text(self.contract)
        return Runtime(Settings(home=self.home), load_project([self.folder / "declared"], {}), clock=lambda: self.now)

    def new(self, span: Span = SPAN) -> str:
        runtime = self.runtime()
        before = self.files()
        found = what_is_new(runtime, runtime.project.pipeline("shop"), span)
        assert self.files() == before, "a trial writes nothing"
        return found

    def run(self) -> None:
        """All that a backfill runs; what one stage refuses ends it."""
        runtime = self.runtime()
        (pipeline,) = runtime.project.pipelines
        (dataset,) = pipeline.own_datasets
        nodes = runtime.project.nodes
        for assets in (ingest_assets(dataset, [pipeline]), train_assets(pipeline, [*nodes.values()])):
            for node in in_order(assets, nodes):
                try:
                    runtime.run(node, DAYS if node.grain != "all" else ["all"])
                except OrchestraiError:
                    return

    def files(self) -> dict[str, bytes]:
        """All that lies in the home, byte for byte."""
        return {
            str(path.relative_to(self.home)): path.read_bytes()
            for path in sorted(self.home.rglob("*"))
            if path.is_file() and "landing" not in path.parts
        }


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> House:
    """A home in which all is published, and nothing new."""
    house = House(tmp_path_factory.mktemp("settled"))
    house.run()
    house.keep()
    return house


@pytest.fixture
def house(settled: House) -> Iterator[House]:
    """That home, which is put back as it was."""
    yield settled
    settled.back()


def test_nothing_new_is_said_at_once_and_a_run_then_changes_no_byte(house: House) -> None:
    assert house.new() == ""
    before = house.files()
    house.run()
    assert house.files() == before
    assert house.new() == ""


def _new_object(house: House) -> None:
    house.land(DAYS[-1], csv_of(DAYS[-1]))


def _changed_object(house: House) -> None:
    house.land(DAYS[2], csv_of(DAYS[2]) + "d1,2026-10-03T23:59:00+00:00,7,1,false\n")


def _changed_contract(house: House) -> None:
    house.contract = house.contract.replace(
        "{name: level, logicalType: number}", "{name: level, logicalType: number, required: true}"
    )


def _changed_view(house: House) -> None:
    house.pipeline = house.pipeline.replace("level, hint FROM", "level + 1 AS level, hint FROM")


def _changed_model(house: House) -> None:
    house.pipeline = house.pipeline.replace("num_boost_round: 5", "num_boost_round: 6")


def _recalled_day(house: House) -> None:
    ledger = house.runtime().ledger
    index = ReceiptIndex.build(ledger.lake, ledger.keyring)
    apply_recall(ledger, plan_recall(ledger, index, f"{RAW}@{DAYS[3]}", "wrong sensor", "ann"))


def _rotted(name: str) -> Callable[[House], None]:
    def rot(house: House) -> None:
        path = next(path for path in sorted(house.home.glob(name)) if path.is_file())
        data = path.read_bytes()
        path.chmod(0o600)
        path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])

    return rot


def _altered_receipt(house: House) -> None:
    restored = house.runtime().ledger.open("shop/readings/restored")
    _rotted(f"lake/receipts/*/{restored.partitions[DAYS[1]].receipt}*")(house)


def _lost_copy(house: House) -> None:
    last = sorted((house.home / "vault/heads").rglob("*.json"))[-1]
    last.unlink()


CHANGES: dict[str, Callable[[House], None]] = {
    "a new object": _new_object,
    "an object that changed": _changed_object,
    "another contract": _changed_contract,
    "another view": _changed_view,
    "another model": _changed_model,
    "a day recalled": _recalled_day,
    "raw events altered": _rotted("lake/data/shop/readings/raw_events/*/*/part*.parquet"),
    "restored data altered": _rotted("lake/data/shop/readings/restored/*/*/part*.parquet"),
    "a candidate altered": _rotted("lake/data/shop/alarm/candidate/*/*/model*"),
    "a signed receipt altered": _altered_receipt,
    "a snapshot's record altered": _rotted("vault/vault/snapshots/shop/readings/*/*"),
    "the vault's copy of a head lost": _lost_copy,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_trial_comes_to_each_kind_of_change(house: House, change: str) -> None:
    assert house.new() == ""
    CHANGES[change](house)
    assert house.new() != ""


def test_other_code_of_a_stage_is_something_new(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    assert house.new() == ""
    of_sources = code_identity.identity
    for module in ("orchestrai.ingest.run", "orchestrai.restore.run", "orchestrai.models.evaluation"):

        def other(modules: tuple[str, ...], module: str = module) -> str:
            return "0" * 16 if module in modules else of_sources(modules)

        monkeypatch.setattr(code_identity, "identity", other)
        assert house.new() != "", module


def test_a_refusal_that_was_answered_is_not_read_for_ever(house: House) -> None:
    house.land(DAYS[-1], csv_of(DAYS[-1]).replace(",", ";"))
    house.run()
    assert house.new() == f"{RAW}@{DAYS[-1]}"
    house.land(DAYS[-1], csv_of(DAYS[-1]))
    house.run()
    house.run()
    assert house.new() == ""


def test_a_refused_day_that_a_person_let_through_is_new_until_then_and_not_after(house: House) -> None:
    broken = csv_of(DAYS[-1]).splitlines()
    house.land(DAYS[-1], "\n".join([*broken[:-1], broken[-1].replace(",true", ",").replace(",false", ",")]) + "\n")
    house.run()
    assert house.new() == f"{RAW}@{DAYS[-1]}"
    for asset in (RAW, "shop/readings/snapshot", "shop/readings/restored"):
        runtime = house.runtime()
        refusal = refusals(runtime.ledger.lake, asset, [DAYS[-1]]).get(DAYS[-1])
        # what is restored has a gate of its own
        if refusal is None:
            runtime.run(runtime.project.nodes[asset], [DAYS[-1]])
            refusal = refusals(runtime.ledger.lake, asset, [DAYS[-1]]).get(DAYS[-1])
        given = [Override(asset, DAYS[-1], refusal.root, refusal.closed, "one row less", "ann")] if refusal else []
        assert not runtime.run(runtime.project.nodes[asset], [DAYS[-1]], overrides=given).refused
    assert house.new() != ""
    house.run()
    assert house.new() == ""


def test_spans_that_a_run_has_to_judge_are_not_tried(house: House) -> None:
    for first, last in ((None, None), ("2026-09-01", DAYS[-1]), (DAYS[0], "2026-12-24"), (DAYS[-1], DAYS[0])):
        assert house.new(Span(first, last)).startswith("a span of"), (first, last)
    assert house.new(Span(DAYS[0], DAYS[-1], models=False)) == ""


def test_a_home_where_nothing_ran_is_left_alone(tmp_path: Path) -> None:
    house = House(tmp_path)
    (house.home / "dagster/dagster.yaml").unlink()
    assert house.new() == "a home in which nothing ran yet"


def test_what_a_trial_calls_nothing_new_a_run_leaves_as_it_is(house: House) -> None:
    chance, seen = random.Random(11), set[bool]()
    acts: list[Callable[[House], None]] = [
        _new_object,
        _changed_object,
        _changed_model,
        lambda house: None,
        House.run,
        House.run,
    ]
    for _ in range(8):
        chance.choice(acts)(house)
        found, before = house.new(), house.files()
        house.run()
        seen.add(not found)
        assert found or house.files() == before
    assert seen == {True, False}, "both came up"


def test_no_write_passes_a_write_proof_store_and_a_taken_key_answers_as_ever() -> None:
    base, heard = MemoryStore(), list[str]()

    def refuse(what: str) -> None:
        heard.append(what)
        raise WouldPublish(what)

    base.write("a", b"1")
    store = WriteProofStore(base, refuse)  # type: ignore[arg-type]
    put_absent(store, "a", b"1")
    store.delete("b")
    store.write("work/sessions/x.json", b"{}")
    assert store.head("work/sessions/x.json").size == 2 and store.read("work/sessions/x.json") == b"{}"
    store.delete("work/sessions/x.json")
    assert not heard and [info.key for info in base.list()] == ["a"]
    for attempt in (
        lambda: store.write("a", b"2"),
        lambda: store.write("b", b"2", create=True),
        lambda: store.write_file("b", Path(__file__)),
        lambda: store.delete("a"),
    ):
        with pytest.raises(WouldPublish):
            attempt()
    assert len(heard) == 4 and base.read("a") == b"1"
