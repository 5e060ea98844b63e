"""Retries: what may pass is tried again as declared, by default three times from five minutes on; a closed gate and a lie never."""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from orchestrai.core.progress import Progress
from orchestrai.core.verdict import Verdict
from orchestrai.defs.assets import build_assets
from orchestrai.defs.checks.complete_checks import build_complete_checks
from orchestrai.defs.platform.patience import passing_errors, translate
from orchestrai.errors import (
    ConcurrentCommit,
    ConfigError,
    DeclarationError,
    DigestMismatch,
    GateClosed,
    NotReceipted,
    OrchestraiError,
    SessionExpired,
    StorageError,
    TransientStorageError,
)
from orchestrai.ledger.report import PartitionOutcome, StageReport
from orchestrai.pipeline.load import load_project
from orchestrai.pipeline.nodes.load_node import retries_of
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings
from orchestrai.stage.retry_policy import RetryPolicy
from orchestrai.stage.stage import AssetNode
from orchestrai_tests.defs import shop
from orchestrai_tests.defs.shop import DAYS, RAW

DAY = DAYS[0]
PUBLISHED = StageReport(RAW, "sha256:1", (PartitionOutcome(DAY, True, "sha256:1", 30, 900),))
REFUSED = StageReport(
    RAW, None, (PartitionOutcome(DAY, False, verdicts=(Verdict("schema", False, "expected a, found b"),)),)
)
Answer = Callable[[], StageReport]


class Scripted(Runtime):
    """A runtime that answers each call in turn, the last answer for ever, and counts."""

    calls = 0
    answers: Sequence[Answer] = ()

    def run(
        self, node: AssetNode, partitions: Sequence[str], progress: Progress | None = None, *, again: bool = False
    ) -> StageReport:
        answer = self.answers[min(self.calls, len(self.answers) - 1)]
        self.calls += 1
        return answer()


def declared(folder: Path, dataset: str = "", model: str = "") -> Path:
    """The shop's declaration with `retries` for its dataset and its model."""
    path = shop.declared(folder) / "pipeline.yaml"
    text = path.read_text()
    for place, lines in (("    contract: readings", dataset), ("    entity: device_id\n", model)):
        assert place in text
        text = text.replace(place, f"    retries: {lines}\n{place}") if lines else text
    path.write_text(text)
    return folder


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Scripted]:
    """Retries that do not wait."""
    folder = declared(tmp_path / "declared", "{delay: 0s}")
    yield Scripted(Settings(home=tmp_path), load_project([folder], {}))


def fails(error: OrchestraiError) -> Answer:
    def answer() -> StageReport:
        raise error

    return answer


def run(runtime: Scripted, *answers: Answer) -> tuple[dg.ExecuteInProcessResult, list[float]]:
    """Materialize one day; the waits that Dagster was asked to keep between tries, in seconds."""
    runtime.answers = answers
    waits: list[float] = []
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            build_assets([runtime.project.nodes[RAW]]),
            resources={"orchestrai_runtime": runtime},
            partition_key=DAY,
            instance=instance,
            raise_on_error=False,
        )
    for event in result.all_events:
        if event.is_step_up_for_retry:
            waits.append(float(event.step_retry_data.seconds_to_wait or 0))
    return result, waits


@pytest.mark.parametrize("error", [TransientStorageError("a 503"), ConcurrentCommit("a rival"), SessionExpired("too slow")])
def test_what_may_pass_is_tried_again_and_succeeds(runtime: Scripted, error: OrchestraiError) -> None:
    result, waits = run(runtime, fails(error), fails(error), fails(error), lambda: PUBLISHED)
    assert result.success
    assert runtime.calls == 4
    assert waits == [0, 0, 0]
    assert [event.partition for event in result.get_asset_materialization_events()] == [DAY]


def test_after_three_retries_the_step_fails_with_our_words(runtime: Scripted) -> None:
    result, waits = run(runtime, fails(TransientStorageError("expected an answer, found a 503: see the store's health")))
    assert not result.success
    assert runtime.calls == 4
    assert len(waits) == 3
    (failure,) = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failure.user_failure_data is not None
    assert failure.user_failure_data.description == (
        "TransientStorageError: expected an answer, found a 503: see the store's health"
    )


@pytest.mark.parametrize(
    "answer",
    [
        lambda: REFUSED,
        fails(GateClosed("expected passing checks")),
        fails(NotReceipted("expected a receipt")),
        fails(DigestMismatch("expected other bytes")),
        fails(StorageError("expected a bucket")),
        fails(ConfigError("expected a day")),
    ],
)
def test_a_closed_gate_and_a_permanent_error_are_never_tried_again(runtime: Scripted, answer: Answer) -> None:
    result, waits = run(runtime, answer, lambda: PUBLISHED)
    assert not result.success
    assert runtime.calls == 1
    assert waits == []
    assert not result.get_asset_materialization_events()


def test_a_fault_of_our_own_is_not_dressed_up_as_one_of_the_store(runtime: Scripted) -> None:
    def bug() -> StageReport:
        raise ZeroDivisionError

    result, waits = run(runtime, bug, lambda: PUBLISHED)
    assert not result.success
    assert (runtime.calls, waits) == (1, [])


def waits_of(policy: RetryPolicy) -> list[float]:
    asked = [translate(TransientStorageError("a 503"), attempt, policy) for attempt in range(policy.max)]
    assert all(isinstance(retry, dg.RetryRequested) and retry.max_retries == policy.max for retry in asked)
    last = translate(TransientStorageError("a 503"), policy.max, policy)
    assert isinstance(last, dg.Failure) and last.allow_retries is False
    return [float(retry.seconds_to_wait or 0) for retry in asked if isinstance(retry, dg.RetryRequested)]


def test_without_a_word_there_are_three_from_five_minutes_on_each_twice_as_long() -> None:
    assert RetryPolicy() == RetryPolicy(max=3, delay=timedelta(minutes=5), backoff=2)
    assert waits_of(RetryPolicy()) == [300, 600, 1200]


def test_a_declared_policy_is_kept_to_in_a_run(tmp_path: Path) -> None:
    folder = declared(tmp_path / "declared", "{max: 1, delay: 1s, backoff: 3}")
    runtime = Scripted(Settings(home=tmp_path), load_project([folder], {}))
    result, waits = run(runtime, fails(TransientStorageError("a 503")))
    assert not result.success
    assert (runtime.calls, waits) == (2, [1.0])


def test_a_policy_is_of_a_dataset_or_a_model_and_views_follow_their_dataset(tmp_path: Path) -> None:
    folder = declared(tmp_path / "declared", "{max: 5, delay: 1s}", "{max: 0}")
    with (folder / "pipeline.yaml").open("a") as file:
        file.write("load:\n  - {name: rows, from: readings, to: 'duckdb:///rows.db', table: rows}\n")
        file.write("share:\n  - {name: versions, from: readings, as: iceberg}\n")
    nodes = load_project([folder], {}).nodes
    tries = {asset: retries_of(node.subject).max for asset, node in nodes.items()}
    assert {tries[f"shop/readings/{stage}"] for stage in ("raw_events", "snapshot", "restored", "drill")} == {5}
    assert tries["shop/levels/features"] == 5
    assert {tries[f"shop/alarm/{stage}"] for stage in ("training_set", "candidate", "champion", "model_backup")} == {0}
    assert {tries[f"shop/{table}"] for table in ("rows/warehouse", "versions/table")} == {5}
    assert {tries["orchestrai/instance/dump"], tries["shop/catalog"]} == {3}
    assert waits_of(retries_of(nodes["shop/alarm/candidate"].subject)) == []
    assert waits_of(retries_of(nodes["shop/readings/restored"].subject)) == [1, 2, 4, 8, 16]


def test_the_log_says_which_try_failed_and_when_the_next_begins(
    runtime: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    run(runtime, fails(TransientStorageError("expected an answer, found a 503")))
    told = [line for line in capsys.readouterr().err.splitlines() if " of 4 failed" in line]
    assert len(told) == 4
    assert (
        "try 1 of 4 failed (TransientStorageError: expected an answer, found a 503); the next begins in 0:00:00, at "
        in told[0]
    )
    assert "try 4 of 4 failed" in told[3] and told[3].endswith("it was the last")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("{max: -1}", "retries.max"),
        ("{delay: soon}", "retries.delay"),
        ("{backoff: 0.5}", "retries.backoff"),
        ("{times: 3}", "found 'times'"),
        ("{max: 8}", "wait 3 hours in all at most, found 21.2 hours"),
    ],
)
@pytest.mark.parametrize("place", ["dataset", "model"])
def test_a_mistaken_policy_is_one_line(tmp_path: Path, place: str, wrong: str, told: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        load_project([declared(tmp_path / "declared", **{place: wrong})], {})
    assert told in caught.value.message and "\n" not in caught.value.message


@pytest.mark.parametrize("asked", ["orchestrai.defs.assets.dead_letters", "orchestrai.defs.assets.closed_by"])
def test_what_a_step_asks_of_a_store_after_its_stage_is_tried_again_too(
    asked: str, runtime: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = [TransientStorageError("a 503")]

    def ask(*args: object) -> dict[str, object]:
        if faults:
            raise faults.pop()
        return {}

    monkeypatch.setattr(asked, ask)
    result, waits = run(runtime, lambda: PUBLISHED)
    assert result.success and waits == [0]
    # told once, whatever was tried twice
    assert [event.partition for event in result.get_asset_materialization_events()] == [DAY]


def test_a_check_that_is_a_step_of_its_own_waits_for_a_store(runtime: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = [TransientStorageError("a 503")]

    def ask(*args: object) -> dict[str, dict[str, str]]:
        if faults:
            raise faults.pop()
        return {}

    monkeypatch.setattr("orchestrai.defs.checks.complete_checks.incomplete", ask)
    runtime.answers = (lambda: PUBLISHED,)
    node = runtime.project.nodes[RAW]
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [*build_assets([node]), *build_complete_checks([node])],
            resources={"orchestrai_runtime": runtime},
            partition_key=DAY,
            instance=instance,
            raise_on_error=False,
        )
    assert result.success and faults == []


def test_the_errors_that_pass_are_named_on_failed_steps() -> None:
    assert passing_errors() >= {"TransientStorageError", "ConcurrentCommit", "SessionExpired"}
    assert not passing_errors() & {"GateClosed", "StorageError", "DigestMismatch"}


def test_only_three_errors_are_worth_a_retry() -> None:
    found, seen = set(), [OrchestraiError]
    while seen:
        kind = seen.pop()
        seen += kind.__subclasses__()
        if kind.retryable and kind.__module__ == "orchestrai.errors":
            found.add(kind)
    assert found == {TransientStorageError, ConcurrentCommit, SessionExpired}
