"""What holds for every command: a mistake is told to people and to programs, an interrupt says how to go on."""

import json
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError

from orchestrai import cli
from orchestrai.cli.commands import run_commands
from orchestrai.defs.launch import backfill


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["orchestrai", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORCHESTRAI_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize(
    ("arguments", "code", "kind", "said"),
    [
        (("vault", "list", "--bogus", "--json"), 2, "NoSuchOption", "--bogus"),
        (("bogus", "--json"), 2, "UsageError", "bogus"),
        (("gate", "show", "x", "y", "--json"), 2, "ConfigError", "expected an asset such as"),
        (("vault", "show", "none", "--json"), 1, "RestoreError", "expected a vault in"),
    ],
)
def test_a_program_that_asked_for_json_is_told_a_mistake_in_json(
    arguments: tuple[str, ...],
    code: int,
    kind: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, *arguments) == code
    told = capsys.readouterr()
    error = json.loads(told.out)["error"]
    assert (error["kind"], error["exit_code"]) == (kind, code) and said in error["message"]
    assert said in told.err and len(told.err.splitlines()) == 1


def test_the_version_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.startswith("orchestrai ")


def test_an_interrupt_says_what_is_safe_and_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_commands, "open_runtime", interrupted)
    assert run(monkeypatch, "backfill", "churn") == 130
    assert "interrupted. What was published stays" in capsys.readouterr().err


def test_an_interrupt_within_a_run_of_dagster_is_the_same_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    @dg.job
    def hourly() -> None:
        pass

    def interrupted(*_: object, **__: object) -> None:
        raise DagsterExecutionInterruptedError

    monkeypatch.setattr(dg.JobDefinition, "execute_in_process", interrupted)
    with dg.DagsterInstance.ephemeral() as instance, pytest.raises(KeyboardInterrupt):
        backfill._run(dg.Definitions(jobs=[hourly]), instance, "hourly", None)
