"""Runs whose process was killed are ended by a look, also those that the UI started; a long outage is waited for, and then asked again."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from orchestrai.defs.assets import build_assets
from orchestrai.defs.instance import PROCESS_TAG, open_instance, process_tag, runs_here_no_more
from orchestrai.defs.platform.dead_runs import BEGUN, OF_RUN, build_dead_run_sensor, end_dead_runs
from orchestrai.defs.platform.patience import translate
from orchestrai.errors import TransientStorageError
from orchestrai.ingest.discovery.asking import PastRun, choose, digest
from orchestrai.ledger.report import PartitionOutcome, StageReport
from orchestrai.pipeline.instance.settings_file import settings_text
from orchestrai.pipeline.load import load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings
from orchestrai.stage.retry_policy import RetryPolicy
from orchestrai_tests.defs import shop
from orchestrai_tests.defs.shop import DAYS, RAW
from orchestrai_tests.defs.test_instance import gone_process, started


@pytest.fixture(scope="module")
def gone() -> str:
    return gone_process()


def test_a_run_whose_process_was_killed_is_ended_and_holds_nothing(gone: str, tmp_path: Path) -> None:
    with open_instance(tmp_path) as instance:
        dead = started(instance, {PROCESS_TAG: gone})
        instance.add_run_tags(dead, {OF_RUN: dead})
        # a retry of it that has begun and not reached its first step: the tags are its parent's
        retry = instance.create_run_for_job(
            _job(), status=dg.DagsterRunStatus.STARTED, tags={PROCESS_TAG: gone, OF_RUN: dead}
        ).run_id
        alive = instance.create_run_for_job(_job(), status=dg.DagsterRunStatus.STARTED, tags=process_tag()).run_id
        instance.add_run_tags(alive, {OF_RUN: alive})
        elsewhere = instance.create_run_for_job(
            _job(), status=dg.DagsterRunStatus.STARTED, tags={PROCESS_TAG: "elsewhere/1/1"}
        ).run_id
        instance.add_run_tags(elsewhere, {OF_RUN: elsewhere})
        untold = instance.create_run_for_job(_job(), status=dg.DagsterRunStatus.STARTED).run_id
        told = build_dead_run_sensor()(dg.build_sensor_context(instance))
        assert isinstance(told, dg.SkipReason) and dead in (told.skip_message or "")
        assert instance.event_log_storage.get_concurrency_run_ids() == set()
        status = {run.run_id: run.status for run in instance.get_runs()}
        assert status.pop(dead) is dg.DagsterRunStatus.FAILURE
        assert status == dict.fromkeys((alive, elsewhere, untold, retry), dg.DagsterRunStatus.STARTED)
        assert end_dead_runs(instance) == []
    assert dg.DagsterRunStatus.STARTED in BEGUN


def test_a_run_that_ends_well_while_it_is_looked_at_stays_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_instance(tmp_path) as instance:
        run = instance.create_run_for_job(_job(), status=dg.DagsterRunStatus.STARTED, tags=process_tag())
        instance.add_run_tags(run.run_id, {OF_RUN: run.run_id})

        def ends_now(tag: str) -> bool:
            instance.report_run_canceled(run)
            return True

        monkeypatch.setattr("orchestrai.defs.platform.dead_runs.runs_here_no_more", ends_now)
        assert end_dead_runs(instance) == []
        ended = instance.get_run_by_id(run.run_id)
        assert ended is not None and ended.status is dg.DagsterRunStatus.CANCELED


def test_a_container_with_the_name_of_its_host_has_processes_of_its_own(gone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert runs_here_no_more(gone)
    monkeypatch.setattr("orchestrai.defs.instance.os.readlink", lambda _: "pid:[1]")
    assert not runs_here_no_more(gone)


def test_a_run_that_its_code_server_found_killed_holds_nothing_either(tmp_path: Path) -> None:
    with open_instance(tmp_path) as instance:
        killed, going = started(instance, {}), started(instance, process_tag(), "other_pool")
        run = instance.get_run_by_id(killed)
        assert run is not None
        # as the code server does when its worker dies: the run is over, and its pool is taken
        instance.report_run_failed(run, "terminated by signal 9 (SIGKILL)")
        assert instance.event_log_storage.get_concurrency_run_ids() == {killed, going}
        told = build_dead_run_sensor()(dg.build_sensor_context(instance))
        assert isinstance(told, dg.SkipReason) and killed in (told.skip_message or "")
        assert instance.event_log_storage.get_concurrency_run_ids() == {going}


def _job() -> dg.JobDefinition:
    @dg.job
    def nothing() -> None:
        pass

    return nothing


class Quick(Runtime):
    """Publishes at once."""

    def run(self, node, partitions, progress=None, again=False):  # type: ignore[no-untyped-def, override]
        return StageReport(RAW, "sha256:1", (PartitionOutcome(DAYS[0], True, "sha256:1", 30, 900),))


@pytest.mark.parametrize("executor", ["in_process", "multiprocess"])
def test_a_run_notes_the_process_that_executes_it(executor: str, tmp_path: Path) -> None:
    project = load_project([shop.declared(tmp_path / "shop")], {})
    runtime = Quick(Settings(home=tmp_path / "home", executor=executor), project)
    (asset,) = build_assets([project.nodes[RAW]], runtime)
    with dg.DagsterInstance.ephemeral() as instance:
        # as the daemon retries one: with the tags of the run that died
        copied = {PROCESS_TAG: "elsewhere/1/1", OF_RUN: "the run that this one retries"}
        done = dg.materialize(
            [asset], instance=instance, partition_key=DAYS[0], resources={"orchestrai_runtime": runtime}, tags=copied
        )
        run = instance.get_run_by_id(done.run_id)
        assert done.success and run is not None
        assert run.tags.get(PROCESS_TAG) == (process_tag()[PROCESS_TAG] if executor == "in_process" else "elsewhere/1/1")
        assert (run.tags[OF_RUN] == run.run_id) is (executor == "in_process")


def test_a_run_has_a_longest_time_in_every_instance() -> None:
    import yaml

    monitoring = yaml.safe_load(settings_text("base"))["run_monitoring"]
    assert monitoring["enabled"] and monitoring["max_runtime_seconds"] == 4 * 3600


def outage(minutes: int) -> Callable[[datetime], None]:
    """A store that answers 503 for so long from midnight on."""
    began = datetime(2026, 11, 1, tzinfo=UTC)

    def ask(now: datetime) -> None:
        if now - began < timedelta(minutes=minutes):
            raise TransientStorageError("503")

    return ask


def step(ask: Callable[[datetime], None], now: datetime, policy: RetryPolicy) -> tuple[bool, datetime]:
    """A step as Dagster executes it: tried, told to wait, tried again; the clock is the simulation's."""
    attempt = 0
    while True:
        try:
            ask(now)
            return True, now
        except TransientStorageError as error:
            answer = translate(error, attempt, policy)
            if not isinstance(answer, dg.RetryRequested):
                return False, now
            now += timedelta(seconds=float(answer.seconds_to_wait or 0))
            attempt += 1


@pytest.mark.parametrize("minutes", [1, 10, 34])
def test_a_store_that_does_not_answer_for_ten_minutes_costs_no_day(minutes: int) -> None:
    done, now = step(outage(minutes), datetime(2026, 11, 1, tzinfo=UTC), RetryPolicy())
    assert done and now <= datetime(2026, 11, 1, 0, 35, tzinfo=UTC)


def test_a_day_that_an_outage_outlasted_is_asked_for_again_by_a_later_tick() -> None:
    ask, arrivals = outage(120), {"2026-10-31": frozenset({1, 2})}
    runs: list[PastRun] = []
    now, done = datetime(2026, 11, 1, tzinfo=UTC), False
    while not done and now < datetime(2026, 11, 1, 6, tzinfo=UTC):
        asking = choose(arrivals, runs, now=now, first=timedelta(minutes=1), limit=100)
        if asking.due:
            asked = now
            done, now = step(ask, now, RetryPolicy())
            runs.insert(0, PastRun(["2026-10-31"], [digest(arrivals["2026-10-31"])], asked, False))
        now += timedelta(seconds=30)
    assert done and len(runs) > 1
    # within an hour of the store's return
    assert now < datetime(2026, 11, 1, 3, tzinfo=UTC) + timedelta(minutes=1)
