"""A pipeline goes back to an earlier verified state, all of it or nothing."""

from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrai.core.verdict import Verdict
from orchestrai.errors import ConcurrentCommit, ConfigError, GateClosed, IntegrityError, NotReceipted
from orchestrai.ledger.decisions.overrides import Override
from orchestrai.ledger.decisions.transactions import Transaction
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.receipt import InputRef
from orchestrai.models.evaluation import evaluate
from orchestrai.models.promotion import promote
from orchestrai.models.spec import ModelAssets
from orchestrai.models.training import train
from orchestrai.pipeline.nodes.pipeline_node import Pipeline
from orchestrai.pipeline.rollback import apply_rollback, plan_rollback
from orchestrai.pipeline.runtime import Runtime
from orchestrai.provenance.index import ReceiptIndex
from orchestrai.provenance.recall.recall import apply_recall, plan_recall
from orchestrai.provenance.verify.audit import audit
from orchestrai.storage.local import LocalStore
from orchestrai_tests.cli.conftest import KEPT, RAW, RESTORED, MakeRuntime, run
from orchestrai_tests.forgery import undemanding
from orchestrai_tests.models.conftest import CANDIDATE, CHAMPION, EVALUATION, TRAINING_SET, customers, publish, spec
from orchestrai_tests.producers import producer

VIEW = "churn/customer_rfm/features"
ASSETS = (RAW, KEPT, RESTORED)


def versions(ledger: Ledger, *assets: str) -> list[str]:
    return [ledger.open(asset).version for asset in assets or ASSETS]


def shorten(path: Path) -> None:
    """One order less in a day."""
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")


@pytest.fixture
def runtime(make: MakeRuntime, days: list[str], monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """A first state of two days. Features and models below are stand-ins: what they must show is tried in cli/test_doors.py."""
    undemanding(monkeypatch)
    made = make()
    run(made, days[:2])
    return made


@pytest.fixture
def pipeline(runtime: Runtime) -> Pipeline:
    return runtime.project.pipeline("churn")


def test_days_that_came_later_go_out_and_changed_ones_come_back(
    runtime: Runtime, pipeline: Pipeline, days: list[str], landing: Path
) -> None:
    before = versions(runtime.ledger)
    shorten(landing / f"{days[0]}.csv")
    run(runtime, days[:3])
    after = versions(runtime.ledger)
    plan = plan_rollback(runtime.ledger, pipeline)
    assert versions(runtime.ledger) == after
    assert {(move.restaged, move.dropped) for move in plan.changes} == {((days[0],), (days[2],))}
    apply_rollback(runtime.ledger, plan, reason="bad export")
    assert versions(runtime.ledger) == before
    head = runtime.ledger.head(RAW)
    assert head is not None and head.action == "rollback" and "bad export" in head.reason
    with runtime.ledger.open(RESTORED).fetched(days[:2], role=None) as files:
        assert all(files.values())
    assert plan_rollback(runtime.ledger, pipeline, to=plan.moment).changes == ()


def test_what_came_back_is_restored_audited_and_recalled_like_anything_else(
    runtime: Runtime, pipeline: Pipeline, days: list[str], landing: Path
) -> None:
    shorten(landing / f"{days[0]}.csv")
    run(runtime, days[:2])
    apply_rollback(runtime.ledger, plan_rollback(runtime.ledger, pipeline))
    report = run(runtime, days[:2], "restored")["restored"]
    assert not report.refused
    assert [v.details["raw_events_root"] for o in report.outcomes for v in o.verdicts if v.check == "same_version"] == [
        runtime.ledger.open(RAW).partitions[day].root for day in days[:2]
    ]
    ledger = runtime.ledger
    assert ledger.vault is not None
    assert audit(ledger.lake, ledger.keyring, witness=ledger.vault).ok
    material = next(m for m in ledger.open(RAW).receipt(days[0]).materials if days[0] in m.uri)
    plan = apply_recall(ledger, plan_recall(ledger, ReceiptIndex.build(ledger.lake, ledger.keyring), material.sha256))
    assert plan.in_force
    for asset in ASSETS:
        assert days[0] not in ledger.open(asset).partitions
    assert days[1] in ledger.open(RESTORED).partitions


def promoted(ledger: Ledger, seed: int) -> str:
    rule = spec(promote_when={"metric": "auc", "at_least": 0.5, "better_than_champion_by": -1.0})
    publish(ledger, TRAINING_SET, customers(seed=seed))
    train(ledger, rule, training_set=TRAINING_SET, asset=CANDIDATE)
    evaluate(ledger, rule, ModelAssets(TRAINING_SET, CANDIDATE, EVALUATION, CHAMPION))
    return str(promote(ledger, rule, candidate=CANDIDATE, evaluation=EVALUATION, asset=CHAMPION).version)


def features(ledger: Ledger, data: bytes) -> str:
    restored = ledger.open(RESTORED)
    session = ledger.session(VIEW, producer("features"))
    session.add_bytes("all", "part-0.parquet", data, rows=1)
    read = [InputRef(RESTORED, restored.version, restored.roots())]
    return str(session.commit({"all": ()}, inputs=read, parameters={"view_hash": data.decode()}).version)


def test_features_and_champion_go_back_with_the_data(runtime: Runtime, pipeline: Pipeline, days: list[str]) -> None:
    ledger = runtime.ledger
    before = [features(ledger, b"old"), promoted(ledger, 1)]
    run(runtime, days[2:3])
    after = [features(ledger, b"new"), promoted(ledger, 2)]
    assert before != after
    apply_rollback(ledger, plan_rollback(ledger, pipeline))
    assert versions(ledger, VIEW, CHAMPION) == before
    came_back = ledger.open(VIEW).receipt("all")
    assert {ref.asset for ref in came_back.inputs} == {RESTORED} and came_back.parameters["view_hash"] == "old"
    apply_rollback(ledger, plan_rollback(ledger, pipeline))
    assert versions(ledger, VIEW, CHAMPION) == after, "a rollback can be rolled back"


@pytest.mark.parametrize("asset", [RAW, RESTORED])
def test_nothing_moves_when_what_comes_back_is_damaged(
    runtime: Runtime, pipeline: Pipeline, days: list[str], landing: Path, asset: str
) -> None:
    entry = runtime.ledger.open(asset).files(days[0]).files[0]
    shorten(landing / f"{days[0]}.csv")
    run(runtime, days[:2])
    after = versions(runtime.ledger)
    path = runtime.ledger.store_of(entry).local_path(entry.key)
    assert path is not None
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    with pytest.raises(IntegrityError):
        apply_rollback(runtime.ledger, plan_rollback(runtime.ledger, pipeline))
    assert versions(runtime.ledger) == after


@pytest.mark.parametrize("what", ["landed object", "snapshot"])
def test_recalled_data_does_not_come_back(
    runtime: Runtime, pipeline: Pipeline, days: list[str], landing: Path, what: str
) -> None:
    ledger = runtime.ledger
    names = {"landed object": ledger.open(RAW).receipt(days[0]).materials[0].sha256}
    names["snapshot"] = str(ledger.open(KEPT).receipt(days[0]).facts["snapshot_id"])
    shorten(landing / f"{days[0]}.csv")
    run(runtime, days[:2])
    apply_recall(ledger, plan_recall(ledger, ReceiptIndex.build(ledger.lake, ledger.keyring), names[what]))
    after = versions(ledger)
    with pytest.raises(NotReceipted, match="recalled"):
        apply_rollback(ledger, plan_rollback(ledger, pipeline))
    assert versions(ledger) == after


@pytest.fixture(autouse=True)
def no_disk_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """Power losses are tried elsewhere; waiting for the disk would take most of the time."""
    monkeypatch.setattr(LocalStore, "sync", lambda store: None)


class Mortal(BaseException):
    """The machine dies."""


def test_a_crash_at_any_write_leaves_all_of_the_old_state_or_all_of_the_new(
    runtime: Runtime, pipeline: Pipeline, days: list[str], monkeypatch: pytest.MonkeyPatch, make: MakeRuntime
) -> None:
    """Every fifteenth write, data, features and champion together; orchestrai_tests/ledger/test_transactions.py tries every one."""
    assets = (*ASSETS, VIEW, CHAMPION)
    features(runtime.ledger, b"old")
    promoted(runtime.ledger, 1)
    old = versions(runtime.ledger, *assets)
    run(runtime, days[2:3])
    features(runtime.ledger, b"new")
    promoted(runtime.ledger, 2)
    new, write = versions(runtime.ledger, *assets), LocalStore.write
    assert not set(old) & set(new)
    outcomes, left = [], [0]

    def dies(store: LocalStore, key: str, *rest: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise Mortal
        return write(store, key, *rest, **options)

    for survived in range(0, 1000, 15):
        left[0] = survived
        with monkeypatch.context() as patched, suppress(Mortal):
            patched.setattr(LocalStore, "write", dies)
            apply_rollback(make().ledger, plan_rollback(make().ledger, pipeline), reason="bad export")
        # what any other process reads now
        found = versions(make().ledger, *assets)
        assert found in (old, new), f"torn after {survived} writes"
        outcomes.append(found)
        if found == old:
            break
    assert outcomes.count(new) >= 3
    run(make(), days[3:4])
    ledger = make().ledger
    assert {days[0], days[3]} <= set(ledger.open(RESTORED).partitions)
    assert ledger.vault is not None
    assert audit(ledger.lake, ledger.keyring, witness=ledger.vault).ok


def test_a_publish_meanwhile_wins_and_nothing_moves(
    runtime: Runtime, pipeline: Pipeline, days: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(runtime, days[2:3])
    plan, commit = plan_rollback(runtime.ledger, pipeline), Transaction.commit

    def late(transaction: Transaction) -> None:
        run(runtime, days[3:4])
        commit(transaction)

    with monkeypatch.context() as patched:
        patched.setattr(Transaction, "commit", late)
        with pytest.raises(ConcurrentCommit, match="nothing was moved"):
            apply_rollback(runtime.ledger, plan)
    assert len(set(versions(runtime.ledger))) == 1
    assert set(days) <= set(runtime.ledger.open(RESTORED).partitions)


def test_a_day_published_under_an_override_does_not_come_back(
    runtime: Runtime, pipeline: Pipeline, days: list[str], landing: Path
) -> None:
    ledger = runtime.ledger
    for asset, stage in zip(ASSETS, ("raw_events", "snapshot", "restored"), strict=True):
        session = ledger.session(asset, producer(stage))
        current = ledger.open(asset)
        for entry in current.files(days[0]).files:
            session.add_entry(days[0], entry)
        closed = Verdict("row_volume", False, "expected more rows")
        root = session.staged(days[0]).root
        given = Override(asset, days[0], root, ("row_volume",), "known", "ann")
        session.commit({days[0]: [closed]}, overrides=[given])
    shorten(landing / f"{days[0]}.csv")
    run(runtime, days[:2])
    after = versions(ledger)
    with pytest.raises(GateClosed, match="override by ann"):
        apply_rollback(ledger, plan_rollback(ledger, pipeline))
    assert versions(ledger) == after


def test_a_plan_that_was_overtaken_moves_nothing(runtime: Runtime, pipeline: Pipeline, days: list[str]) -> None:
    run(runtime, days[2:3])
    plan = plan_rollback(runtime.ledger, pipeline)
    run(runtime, days[3:4])
    after = versions(runtime.ledger)
    with pytest.raises(ConcurrentCommit, match="plan again"):
        apply_rollback(runtime.ledger, plan)
    assert versions(runtime.ledger) == after


def test_only_verified_states_are_gone_back_to(runtime: Runtime, pipeline: Pipeline, days: list[str]) -> None:
    first = versions(runtime.ledger)
    run(runtime, days[2:3], "raw_events")
    halfway = runtime.ledger.head(RAW)
    assert halfway is not None
    with pytest.raises(ConfigError, match="different versions"):
        plan_rollback(runtime.ledger, pipeline, to=datetime.fromisoformat(halfway.time))
    with pytest.raises(ConfigError, match="not published yet"):
        plan_rollback(runtime.ledger, pipeline, to=datetime.fromisoformat(halfway.time) - timedelta(days=1))
    apply_rollback(runtime.ledger, plan_rollback(runtime.ledger, pipeline))
    assert versions(runtime.ledger) == first
    with pytest.raises(ConfigError, match="earlier verified states"):
        plan_rollback(runtime.ledger, pipeline, steps=9)
