"""A contract that was tightened reaches training: older partitions are judged by it, refused or waived by the words of the gate."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from orchestrai.contracts.contract import Column, Contract
from orchestrai.core.verdict import Verdict
from orchestrai.features.contract_in_force import CHECK
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.decisions.overrides import Override
from orchestrai.ledger.quarantine import last_refusal
from orchestrai.ledger.report import StageReport
from orchestrai.pipeline.load import load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings
from orchestrai.stage.contract_record import CONTRACT_RULES, as_kept, contract_of, keep_contract, rules_digest
from orchestrai_tests.defs.shop import NOW
from orchestrai_tests.pipeline.kept_shop import MODEL, PUBLISHED, copied, declared, fresh, materialize, publish

RESTORED, TRAINING = "shop/readings/restored", f"{MODEL}/training_set"
LOOSE = "{minimum: 0, maximum: 1000}"
TIGHT = "{minimum: 0, maximum: 60}"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("in-force")
    publish(fresh(folder / "home", folder / "shop"), PUBLISHED)
    return folder / "home"


def under(home: Path, folder: Path, limits: str) -> Runtime:
    """The shop under a contract with these limits of the level."""
    declared(folder)
    path = folder / "readings.contract.yaml"
    text = path.read_text()
    assert LOOSE in text
    path.write_text(text.replace(LOOSE, limits))
    return Runtime(Settings(home=home), load_project([folder], {}), clock=lambda: NOW)


@pytest.fixture
def tight(base: Path, tmp_path: Path) -> Runtime:
    return under(copied(base, tmp_path / "home"), tmp_path / "shop", TIGHT)


def in_force(report: StageReport) -> Verdict:
    return next(verdict for verdict in report.outcomes[0].verdicts if verdict.check == CHECK)


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The partitions of restored data that are opened one by one, as this audit does."""
    opened: list[str] = []
    real = Dataset.fetched

    def noted(self: Dataset, partitions: list[str], **options: object) -> object:
        if self.asset == RESTORED and len(partitions) == 1:
            opened.extend(partitions)
        return real(self, partitions, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Dataset, "fetched", noted)
    yield opened


def test_what_the_contract_in_force_refuses_is_not_trained_on(tight: Runtime) -> None:
    before = tight.ledger.open(TRAINING).version
    report = materialize(tight, TRAINING)
    verdict = in_force(report)
    assert report.refused and verdict.closes_gate
    assert f"{RESTORED}@{PUBLISHED[0]}: values: expected level up to 60, found" in verdict.message
    assert verdict.details["audited"] == len(PUBLISHED)
    assert tight.ledger.open(TRAINING).version == before


def test_an_override_at_the_gate_waives_it_for_training_too(tight: Runtime) -> None:
    node = tight.project.nodes[RESTORED]
    for day in PUBLISHED:
        assert tight.run(node, [day]).refused
        root = last_refusal(tight.ledger.lake, RESTORED, day).root
        given = Override(RESTORED, day, root, ("values",), "the sensor was set so", "ann")
        assert not tight.run(node, [day], overrides=[given]).refused
    assert not materialize(tight, TRAINING).refused
    receipt = tight.ledger.open(TRAINING).receipt("all")
    assert CHECK in {verdict.check for verdict in receipt.verdicts["all"]}


def test_an_override_of_an_older_contract_waives_the_same_check(base: Path, tmp_path: Path) -> None:
    runtime = under(copied(base, tmp_path / "home"), tmp_path / "first", TIGHT)
    node = runtime.project.nodes[RESTORED]
    for day in PUBLISHED:
        runtime.run(node, [day])
        root = last_refusal(runtime.ledger.lake, RESTORED, day).root
        runtime.run(node, [day], overrides=[Override(RESTORED, day, root, ("values",), "the sensor was set so", "ann")])
    tighter = under(tmp_path / "home", tmp_path / "second", "{minimum: 0, maximum: 50}")
    verdict = in_force(materialize(tighter, TRAINING))
    assert verdict.passed and verdict.details["waived"] == [f"{RESTORED}@{day}" for day in PUBLISHED]


def test_a_rule_that_the_data_keeps_is_judged_once(base: Path, tmp_path: Path, fetched: list[str]) -> None:
    runtime = under(copied(base, tmp_path / "home"), tmp_path / "shop", "{minimum: -1, maximum: 100}")
    verdict = in_force(materialize(runtime, TRAINING))
    assert verdict.passed and verdict.details["audited"] == len(PUBLISHED)
    assert set(fetched) == set(PUBLISHED)
    fetched.clear()
    assert in_force(materialize(runtime, TRAINING)).details["audited"] == 0
    assert fetched == []


def test_data_restored_under_the_contract_in_force_is_not_judged_again(base: Path, tmp_path: Path) -> None:
    runtime = fresh(copied(base, tmp_path / "home"), tmp_path / "shop")
    assert in_force(materialize(runtime, TRAINING)).details["audited"] == 0
    receipt = runtime.ledger.open(RESTORED).receipt(PUBLISHED[0])
    declared_now = runtime.project.nodes[RESTORED].subject.contract
    assert receipt.parameters[CONTRACT_RULES] == rules_digest(declared_now)
    assert contract_of(runtime.ledger, receipt) == as_kept(declared_now)


def test_only_what_is_said_of_rows_makes_another_contract(base: Path, tmp_path: Path) -> None:
    columns = (Column("day", "DATE", "day", minimum=date(2026, 1, 1), allowed=(1, "a")),)  # type: ignore[arg-type]
    one = Contract("a", "1.0.0", columns, description="x")
    assert rules_digest(one) == rules_digest(Contract("b", "2.0.0", columns, owner="y"))
    assert rules_digest(one) != rules_digest(Contract("a", "1.0.0", columns, event_time="day"))
    runtime = fresh(copied(base, tmp_path / "home"), tmp_path / "shop")
    assert keep_contract(runtime.ledger, one) == rules_digest(one) == rules_digest(as_kept(one))
