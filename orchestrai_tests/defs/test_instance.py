"""One instance: whoever starts it, it has the settings of one template, and two first commands do not trip over each other."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.instance.ref import InstanceRef

from orchestrai.defs.event_log import EventLog
from orchestrai.defs.instance import PROCESS_TAG, open_instance, process_tag
from orchestrai.pipeline.instance.instance_findings import judge_instance
from orchestrai.pipeline.instance.settings_file import HEADER, NAME, settings_text, write_settings

ROOT = Path(__file__).resolve().parents[2]
JUDGED = ("run_monitoring", "run_retries", "concurrency", "retention", "backfills", "sensors", "telemetry", "nux")


@pytest.fixture(autouse=True)
def no_dagster_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


def test_the_file_in_the_checkout_says_what_the_template_says() -> None:
    comment, _, text = (ROOT / NAME).read_text().partition("\n")
    assert comment.startswith("#")
    assert text == settings_text(".orchestrai/dagster")


def test_every_way_to_start_gives_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / 'a "home" of one\'s own'
    with open_instance(home) as opened:
        assert isinstance(opened.event_log_storage, EventLog)
        by_command = {name: opened.get_settings(name) for name in JUDGED}
        assert opened.event_log_storage.get_pool_config().default_pool_limit == 1
        assert opened.run_monitoring_enabled and opened.run_retries_enabled
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    with dg.DagsterInstance.get() as by_dagster, open_instance(home) as with_home:
        assert isinstance(by_dagster.event_log_storage, EventLog)
        assert {name: by_dagster.get_settings(name) for name in JUDGED} == by_command
        assert {name: with_home.get_settings(name) for name in JUDGED} == by_command
    monkeypatch.delenv("DAGSTER_HOME")
    # `dagster dev` in the checkout, where DAGSTER_HOME is not set
    monkeypatch.chdir(tmp_path)
    reference = InstanceRef.from_dir(str(tmp_path), config_dir=str(ROOT))
    with dg.DagsterInstance.from_ref(reference) as in_checkout:
        assert {name: in_checkout.get_settings(name) for name in JUDGED} == by_command
    with open_instance(tmp_path / ".orchestrai") as by_default:
        assert by_default.run_storage.get_run_storage_id() == in_checkout.run_storage.get_run_storage_id()


def test_make_dev_starts_on_the_instance_of_the_home() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ORCHESTRAI_", "DAGSTER_"))}
    done = subprocess.run(
        ["make", "-n", "-o", ".venv/.ready", "dev"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert 'DAGSTER_HOME="$(.venv/bin/orchestrai instance)" && export DAGSTER_HOME && .venv/bin/dagster dev' in done.stdout


def test_the_file_is_renewed_unless_somebody_made_it_their_own(tmp_path: Path) -> None:
    path = write_settings(tmp_path) / NAME
    wanted = path.read_text()
    assert wanted.startswith(HEADER)
    for earlier in (HEADER + "telemetry: {enabled: false}\n", "telemetry: {enabled: false}\nnux: {enabled: false}\n"):
        path.write_text(earlier)
        write_settings(tmp_path)
        assert path.read_text() == wanted
    path.write_text("run_retries: {enabled: false}\n")
    write_settings(tmp_path)
    assert path.read_text() == "run_retries: {enabled: false}\n"
    before = path.stat().st_mtime_ns
    write_settings(tmp_path)
    assert path.stat().st_mtime_ns == before


FIRST = """
import os, sys, time
from pathlib import Path
from sqlalchemy.sql.ddl import SchemaGenerator
from orchestrai.defs.instance import open_instance
# what is loaded on first use would keep the two apart
open_instance(Path(sys.argv[1]) / f"own-{os.getpid()}").dispose()
asked = SchemaGenerator._can_create_table
def unhurried(generator, table):
    # between looking for a table and making it lies enough time for another process
    absent = asked(generator, table)
    time.sleep(0.03)
    return absent
SchemaGenerator._can_create_table = unhurried
for number in range(int(sys.argv[2])):
    # both stand ready before either begins
    home = Path(sys.argv[1]) / str(number)
    (home / "ready").mkdir(parents=True, exist_ok=True)
    (home / "ready" / str(os.getpid())).touch()
    while len(list((home / "ready").iterdir())) < 2:
        time.sleep(0.0005)
    with open_instance(home / "home") as instance:
        assert instance.get_runs_count() == 0
"""


@pytest.mark.thorough("one first command makes the same instance")
def test_two_first_commands_at_once_on_one_new_home_both_succeed(tmp_path: Path) -> None:
    commands = [
        subprocess.Popen(
            [sys.executable, "-c", FIRST, str(tmp_path), "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for command in commands:
        _, said = command.communicate(timeout=120)
        assert command.returncode == 0, said[-1500:]


def started(instance: dg.DagsterInstance, tags: dict[str, str], pool: str = "pool") -> str:
    """A run that holds a pool, as one whose process was killed leaves it."""

    @dg.job
    def held() -> None:
        pass

    run = instance.create_run_for_job(held, status=dg.DagsterRunStatus.STARTED, tags=tags)
    instance.event_log_storage.initialize_concurrency_limit_to_default(pool)
    assert instance.event_log_storage.claim_concurrency_slot(pool, run.run_id, "step").is_claimed
    return run.run_id


def gone_process() -> str:
    """The tag of a process of this machine that is over."""
    over = subprocess.Popen([sys.executable, "-S", "-c", ""])
    over.wait()
    host, _, start = process_tag()[PROCESS_TAG].split("/")
    return f"{host}/{over.pid}/{start}"


def test_a_killed_command_does_not_hold_its_pool_for_ever(tmp_path: Path) -> None:
    with open_instance(tmp_path) as instance:
        dead = started(instance, {PROCESS_TAG: gone_process()})
    with open_instance(tmp_path) as instance:
        assert instance.event_log_storage.get_concurrency_run_ids() == set()
        run = instance.get_run_by_id(dead)
        assert run is not None and run.status == dg.DagsterRunStatus.FAILURE


@pytest.mark.parametrize("tags", [process_tag(), {}, {PROCESS_TAG: "elsewhere/1/1"}])
def test_a_run_that_may_be_alive_keeps_its_pool(tmp_path: Path, tags: dict[str, str]) -> None:
    with open_instance(tmp_path) as instance:
        alive = started(instance, tags)
    with open_instance(tmp_path) as instance:
        assert instance.event_log_storage.get_concurrency_run_ids() == {alive}
        run = instance.get_run_by_id(alive)
        assert run is not None and run.status == dg.DagsterRunStatus.STARTED


def faults(home: Path) -> dict[str, str]:
    return {finding.name: finding.detail for finding in judge_instance(home) if not finding.ok}


def test_an_instance_of_ours_lacks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert faults(tmp_path / "home") == {}
    assert not (tmp_path / "home").exists()
    write_settings(tmp_path / "home")
    assert faults(tmp_path / "home") == {}


def test_an_instance_of_somebody_else_is_told_what_it_lacks_and_how_to_add_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(theirs))
    found = faults(tmp_path / "home")
    lacking = ("pools", "run monitoring", "run retries", "retention", "event log")
    assert set(found) == {f"instance {name}" for name in lacking}
    assert all(str(theirs / NAME) in detail for detail in found.values())
    # what the remedies say, written down, is enough
    lines = [detail.split(": add ")[1].rpartition(" to ")[0] for name, detail in found.items() if "event log" not in name]
    base = {"config": {"base_dir": str(theirs / "history" / "runs")}}
    log = {"event_log_storage": {"module": "orchestrai.defs.event_log", "class": "EventLog", **base}}
    (theirs / NAME).write_text("\n".join([*lines, yaml.safe_dump(log)]))
    assert faults(tmp_path / "home") == {}
    with open_instance(tmp_path / "home") as instance:
        assert instance.run_monitoring_enabled and instance.run_retries_enabled
    (theirs / NAME).write_text("\n".join([*lines, "storage: {sqlite: {base_dir: history}}"]))
    assert "is another folder for each working directory" in faults(tmp_path / "home")["instance storage"]
    (theirs / NAME).write_text("\n".join([*lines, "storage: {postgres: {postgres_url: {env: PG}}}"]))
    assert faults(tmp_path / "home") == {}


@pytest.mark.parametrize(("text", "said"), [("- a list", "a mapping"), ("a: [", "YAML"), ("\x00", "YAML")])
def test_a_dagster_yaml_that_cannot_be_read_is_told_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / NAME).write_text(text)
    (finding,) = judge_instance(tmp_path)
    assert not finding.ok and said in finding.detail and "\n" not in finding.detail


def test_records_that_dagster_dev_would_keep_elsewhere_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / NAME).write_text(settings_text(".orchestrai/dagster"))
    assert faults(tmp_path / ".orchestrai") == {}
    assert "DAGSTER_HOME=$(orchestrai instance)" in faults(tmp_path / "elsewhere")["instance of dagster dev"]
