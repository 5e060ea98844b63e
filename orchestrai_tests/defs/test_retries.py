"""Retries: what a store may do better the next time is tried three more times; a closed gate and a lie never."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import dagster as dg
import pytest

from orchestrai.core.progress import Progress
from orchestrai.core.verdict import Verdict
from orchestrai.defs import assets
from orchestrai.defs.assets import RETRIES, build_assets, translate
from orchestrai.errors import (
    ConcurrentCommit,
    ConfigError,
    DigestMismatch,
    GateClosed,
    ModelRejected,
    NotReceipted,
    OrchestraiError,
    SessionExpired,
    StorageError,
    TransientStorageError,
)
from orchestrai.ledger.report import PartitionOutcome, StageReport
from orchestrai.pipeline.load import load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings
from orchestrai.stage.context import Progress
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

    def run(self, node: AssetNode, partitions: Sequence[str], progress: Progress | None = None) -> StageReport:
        answer = self.answers[min(self.calls, len(self.answers) - 1)]
        self.calls += 1
        return answer()


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Scripted]:
    yield Scripted(Settings(home=tmp_path), load_project([shop.declared(tmp_path / "declared")], {}))


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
            resources={"runtime": runtime},
            partition_key=DAY,
            instance=instance,
            raise_on_error=False,
        )
    for event in result.all_events:
        if event.is_step_up_for_retry:
            waits.append(float(event.step_retry_data.seconds_to_wait or 0))
    return result, waits


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> float:
    """Waits of milliseconds, doubled as the real ones are."""
    monkeypatch.setattr(assets, "RETRY_SECONDS", 0.01)
    return 0.01


@pytest.mark.parametrize("error", [TransientStorageError("a 503"), ConcurrentCommit("a rival"), SessionExpired("too slow")])
def test_what_may_pass_is_tried_again_with_growing_waits_and_succeeds(
    runtime: Scripted, patient: float, error: OrchestraiError
) -> None:
    result, waits = run(runtime, fails(error), fails(error), fails(error), lambda: PUBLISHED)
    assert result.success
    assert runtime.calls == 4
    assert waits == pytest.approx([patient, 2 * patient, 4 * patient])
    assert [event.partition for event in result.get_asset_materialization_events()] == [DAY]


def test_after_three_retries_the_step_fails_with_our_words(runtime: Scripted, patient: float) -> None:
    result, waits = run(runtime, fails(TransientStorageError("expected an answer, found a 503: see the store's health")))
    assert not result.success
    assert runtime.calls == RETRIES + 1 == 4
    assert len(waits) == RETRIES
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
        fails(ModelRejected("expected a better model")),
    ],
)
def test_a_closed_gate_and_a_permanent_error_are_never_tried_again(
    runtime: Scripted, patient: float, answer: Answer
) -> None:
    result, waits = run(runtime, answer, lambda: PUBLISHED)
    assert not result.success
    assert runtime.calls == 1
    assert waits == []
    assert not result.get_asset_materialization_events()


def test_a_fault_of_our_own_is_not_dressed_up_as_one_of_the_store(runtime: Scripted, patient: float) -> None:
    def bug() -> StageReport:
        raise ZeroDivisionError

    result, waits = run(runtime, bug, lambda: PUBLISHED)
    assert not result.success
    assert (runtime.calls, waits) == (1, [])


def test_the_real_waits_are_seconds() -> None:
    asked = [translate(TransientStorageError("a 503"), attempt) for attempt in range(RETRIES)]
    assert [retry.seconds_to_wait for retry in asked if isinstance(retry, dg.RetryRequested)] == [5, 10, 20]
    last = translate(TransientStorageError("a 503"), RETRIES)
    assert isinstance(last, dg.Failure)
    assert last.allow_retries is False


def test_only_three_errors_are_worth_a_retry() -> None:
    found, seen = set(), [OrchestraiError]
    while seen:
        kind = seen.pop()
        seen += kind.__subclasses__()
        if kind.retryable and kind.__module__ == "orchestrai.errors":
            found.add(kind)
    assert found == {TransientStorageError, ConcurrentCommit, SessionExpired}
