"""A changed contract and what was published before it: judged again for training, told as a plan, typed again on demand."""

import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from orchestrai.cli.app import app
from orchestrai.contracts.contract import Column, Contract
from orchestrai.core.verdict import Verdict
from orchestrai.features import contract_in_force
from orchestrai.features.contract_in_force import CHECK
from orchestrai.ledger.decisions.overrides import Override
from orchestrai.ledger.quarantine import last_refusal
from orchestrai.ledger.report import StageReport
from orchestrai.pipeline.check.schema_plan import SchemaPlan, schema_plans
from orchestrai.pipeline.load import load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.provenance.recall.rebuild import rebuild
from orchestrai.provenance.recall.reproduce import reproduce
from orchestrai.settings import Settings
from orchestrai.stage.contract_record import CONTRACT_RULES, as_kept, contract_of, keep_contract, rules_digest
from orchestrai.storage.url import open_store
from orchestrai_tests.backup.kept_shop import MODEL, PUBLISHED, RAW, copied, declared, fresh, materialize, publish
from orchestrai_tests.defs.shop import DAYS, NOW, csv_of

RESTORED, TRAINING = "shop/readings/restored", f"{MODEL}/training_set"
LOOSE = "{minimum: 0, maximum: 1000}"
TIGHT = "{minimum: 0, maximum: 60}"
LINES = {
    "level": "{name: level, logicalType: integer, required: true, logicalTypeOptions: {minimum: 0, maximum: 1000}}",
    "failed": "{name: failed, logicalType: boolean, required: true}",
}
NOTE = LINES["failed"] + "\n      - {name: note, logicalType: string"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("in-force")
    publish(fresh(folder / "home", folder / "shop"), PUBLISHED)
    return folder / "home"


def under(home: Path, folder: Path, limits: str = LOOSE, **changes: str) -> Runtime:
    """The shop under a contract with these limits of the level, and with one line in place of another's."""
    declared(folder)
    path = folder / "readings.contract.yaml"
    text = path.read_text()
    for old, new in {LOOSE: limits, **{LINES[name]: line for name, line in changes.items()}}.items():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return Runtime(Settings(home=home), load_project([folder], {}), clock=lambda: NOW)


@pytest.fixture
def tight(base: Path, tmp_path: Path) -> Runtime:
    return under(copied(base, tmp_path / "home"), tmp_path / "shop", TIGHT)


def in_force(report: StageReport) -> Verdict:
    return next(verdict for verdict in report.outcomes[0].verdicts if verdict.check == CHECK)


@pytest.fixture
def audited(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The partitions of restored data whose rows this audit looks at."""
    seen: list[str] = []
    real = contract_in_force.check_partition

    def noted(*given: Any, partition: str, **options: Any) -> Any:
        seen.append(partition)
        return real(*given, partition=partition, **options)

    monkeypatch.setattr(contract_in_force, "check_partition", noted)
    return seen


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


def test_a_rule_that_the_data_keeps_is_judged_once(base: Path, tmp_path: Path, audited: list[str]) -> None:
    runtime = under(copied(base, tmp_path / "home"), tmp_path / "shop", "{minimum: -1, maximum: 100}")
    verdict = in_force(materialize(runtime, TRAINING))
    assert verdict.passed and verdict.details["audited"] == len(PUBLISHED)
    assert set(audited) == set(PUBLISHED)
    audited.clear()
    assert in_force(materialize(runtime, TRAINING)).details["audited"] == 0
    assert audited == []


def test_data_restored_under_the_contract_in_force_is_not_judged_again(base: Path, tmp_path: Path) -> None:
    runtime = fresh(copied(base, tmp_path / "home"), tmp_path / "shop")
    assert in_force(materialize(runtime, TRAINING)).details["audited"] == 0
    receipt = runtime.ledger.open(RESTORED).receipt(PUBLISHED[0])
    declared_now = runtime.project.nodes[RESTORED].subject.contract
    assert receipt.parameters[CONTRACT_RULES] == rules_digest(declared_now)
    assert contract_of(runtime.ledger, receipt) == as_kept(declared_now)


def test_raw_events_and_snapshots_name_the_contract_that_each_day_was_judged_by(base: Path, tmp_path: Path) -> None:
    home = copied(base, tmp_path / "home")
    first = fresh(home, tmp_path / "first")
    loose = rules_digest(first.project.nodes[RAW].subject.contract)
    for asset in (RAW, "shop/readings/snapshot"):
        assert first.ledger.open(asset).receipt(PUBLISHED[0]).parameters[CONTRACT_RULES] == loose
    later = under(home, tmp_path / "second", "{minimum: -1, maximum: 100}")
    (home / "landing" / "readings" / f"{DAYS[4]}.csv").write_text(csv_of(DAYS[4]))
    materialize(later, RAW, [DAYS[4]])
    materialize(later, "shop/readings/snapshot", list(DAYS[:5]))
    kept = later.ledger.open("shop/readings/snapshot")
    now = rules_digest(later.project.nodes[RAW].subject.contract)
    assert now != loose and kept.receipt(DAYS[4]).parameters[CONTRACT_RULES] == {
        **dict.fromkeys(PUBLISHED, loose),
        DAYS[4]: now,
    }
    # who has the vault alone reads the contracts too
    shutil.rmtree(home / "lake")
    bare = fresh(home, tmp_path / "third")
    rebuild(bare.ledger)
    for day, maximum in ((PUBLISHED[0], 1000), (DAYS[4], 100)):
        contract = contract_of(bare.ledger, bare.ledger.open("shop/readings/snapshot").receipt(day), day)
        assert contract is not None and contract.column("level").maximum == maximum


def test_only_what_is_said_of_rows_makes_another_contract(base: Path, tmp_path: Path) -> None:
    columns = (Column("day", "DATE", "day", minimum=date(2026, 1, 1), allowed=(1, "a")),)  # type: ignore[arg-type]
    one = Contract("a", "1.0.0", columns, description="x")
    assert rules_digest(one) == rules_digest(Contract("b", "2.0.0", columns, owner="y"))
    assert rules_digest(one) != rules_digest(Contract("a", "1.0.0", columns, event_time="day"))
    runtime = fresh(copied(base, tmp_path / "home"), tmp_path / "shop")
    assert keep_contract(runtime.ledger, one) == rules_digest(one) == rules_digest(as_kept(one))


def test_a_model_of_before_is_made_again_although_the_contract_was_tightened(tight: Runtime, tmp_path: Path) -> None:
    made = reproduce(
        f"{MODEL}/candidate",
        None,
        vault=open_store(tight.settings.vault),
        keyring=tight.ledger.keyring,
        home=tmp_path / "again",
        project=tight.project,
    )
    assert made.ok, made.first_difference


def plan_of(runtime: Runtime) -> SchemaPlan | None:
    plans = schema_plans(runtime.ledger, runtime.project)
    assert len(plans) <= 1
    return plans[0] if plans else None


def test_a_contract_that_says_the_same_of_rows_makes_no_plan(base: Path, tmp_path: Path) -> None:
    assert plan_of(fresh(copied(base, tmp_path / "home"), tmp_path / "shop")) is None


def test_an_added_optional_column_is_told_and_read_as_null_by_every_stage(base: Path, tmp_path: Path) -> None:
    runtime = under(copied(base, tmp_path / "home"), tmp_path / "shop", failed=f"{NOTE}}}")
    plan = plan_of(runtime)
    assert plan is not None and not plan.breaks
    assert plan.message == (
        f"shop/readings: a compatible change (+ note STRING): {len(PUBLISHED)} published partitions ({PUBLISHED[0]} to "
        f"{PUBLISHED[-1]}) read on, null or cast where they are older, and training judges them by it"
    )
    landed = runtime.settings.home / "landing" / "readings" / f"{DAYS[4]}.csv"
    lines = csv_of(DAYS[4]).splitlines()
    landed.write_text("\n".join([lines[0] + ",note", *(line + ",x" for line in lines[1:])]) + "\n")
    for stage in ("raw_events", "snapshot"):
        assert not materialize(runtime, f"shop/readings/{stage}", [DAYS[4]]).refused
    # older partitions come back from the vault under the new contract, too
    assert not materialize(runtime, RESTORED, list(DAYS[:5])).refused
    assert not materialize(runtime, "shop/levels/features", list(DAYS[:5])).refused
    assert not materialize(runtime, TRAINING).refused
    assert plan_of(runtime) is None


@pytest.mark.parametrize(
    ("change", "line", "views"),
    [
        ({"failed": f"{NOTE}, required: true}}"}, "+ note STRING required", ("shop/levels",)),
        ({"level": "{name: level, physicalType: INT, required: true}"}, "~ level BIGINT -> INT", ("shop/levels",)),
    ],
)
def test_a_narrowed_or_required_column_names_the_partitions_and_views_that_it_breaks(
    base: Path, tmp_path: Path, change: dict[str, str], line: str, views: tuple[str, ...]
) -> None:
    home = copied(base, tmp_path / "home")
    plan = plan_of(under(home, tmp_path / "shop", **change))
    assert plan is not None and plan.breaks and plan.change.unreadable == (line,)
    assert plan.partitions == tuple(PUBLISHED) and plan.views == views
    assert f"orchestrai backfill shop --from {PUBLISHED[0]} --to {PUBLISHED[-1]}" in plan.message


@pytest.mark.parametrize(
    ("failed", "kind", "line"),
    [
        ("{name: failed, logicalType: boolean}", "breaking", "~ failed may now be null"),
        (
            "{name: failed, logicalType: boolean, required: true, classification: pii}",
            "compatible",
            "~ failed: classification",
        ),
    ],
)
def test_what_published_data_survives_breaks_no_partition(
    base: Path, tmp_path: Path, failed: str, kind: str, line: str
) -> None:
    plan = plan_of(under(copied(base, tmp_path / "home"), tmp_path / "shop", failed=failed))
    assert plan is not None and not plan.breaks and plan.views == ()
    assert plan.change.kind == kind and plan.change.lines == (line,)


def test_partitions_are_typed_again_from_the_originals_that_were_kept(base: Path, tmp_path: Path) -> None:
    runtime = under(
        copied(base, tmp_path / "home"), tmp_path / "shop", level="{name: level, physicalType: INT, required: true}"
    )
    for path in (runtime.settings.home / "landing" / "readings").iterdir():
        path.unlink()
    for stage in ("raw_events", "snapshot", "restored"):
        assert not materialize(runtime, f"shop/readings/{stage}", list(PUBLISHED)).refused
    assert plan_of(runtime) is None
    restored = runtime.ledger.open(RESTORED)
    with restored.fetched([PUBLISHED[0]]) as files:
        assert pq.read_schema(files[PUBLISHED[0]][0].path).field("level").type == pa.int32()


def test_check_tells_the_plan_and_ends_with_1_where_it_breaks(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = copied(base, tmp_path / "home")
    monkeypatch.setenv("ORCHESTRAI_HOME", str(home))
    under(home, tmp_path / "shop", level="{name: level, physicalType: INT, required: true}")
    result = CliRunner().invoke(app, ["check", str(tmp_path / "shop"), "--json"])
    assert result.exit_code == 1
    (change,) = json.loads(result.stdout)["changes"]
    assert change["dataset"] == "shop/readings" and change["broken"] == ["~ level BIGINT -> INT"]
    assert CliRunner().invoke(app, ["check", str(tmp_path / "shop"), "--no-published"]).exit_code == 0
    monkeypatch.setenv("ORCHESTRAI_HOME", str(tmp_path / "empty"))
    assert CliRunner().invoke(app, ["check", str(tmp_path / "shop")]).exit_code == 0
    assert not (tmp_path / "empty").exists()
