"""Each kind of condition leads to a section of the runbooks that says what to do, and the page has no section of a kind that is gone."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrai.errors import ConfigError
from orchestrai.observability.alerts import runbook_page
from orchestrai.observability.alerts.condition_kinds import KINDS, ConditionKind
from orchestrai.observability.alerts.runbook_page import runbook_section
from orchestrai_tests.cli.conftest import command
from orchestrai_tests.docs import commands
from orchestrai_tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "runbooks.md").read_text()
SECTIONS = dict(re.findall(r"^## ([a-z-]+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def test_sections_and_kinds_are_the_same() -> None:
    assert set(SECTIONS) == {kind.anchor for kind in KINDS.values()}


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_a_section_says_what_it_is_and_what_to_do(kind: ConditionKind) -> None:
    text = SECTIONS[kind.anchor]
    assert text.startswith("**"), "first what it is"
    assert len(text.split()) > 12
    assert kind.name == "test" or re.search(r"`orchestrai [a-z]|Look|look|Run it|sent|credentials", text), "then what to do"


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_the_command_line_says_the_section_alone_by_either_name(kind: ConditionKind) -> None:
    assert runbook_section(kind.name) == runbook_section(kind.anchor) == SECTIONS[kind.anchor].strip()


def test_the_command_says_the_section_and_the_page_that_the_site_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRAI_HOME", str(tmp_path))
    (tmp_path / "alerts.yaml").write_text("runbooks: https://docs.example.org/runbooks.html\n")
    code, said = command("alerts", "runbook", "gate-closed")
    assert code == 0 and SECTIONS["gate-closed"].strip() in said
    assert said.rstrip().endswith("https://docs.example.org/runbooks.html#gate-closed")
    with pytest.raises(ConfigError, match=r"expected one of silence, .*, found 'gate'"):
        command("alerts", "runbook", "gate")


def test_a_wheel_carries_the_page() -> None:
    """What hatchling puts into a wheel, and where the module looks for it there."""
    parts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    (target,) = [to for of, to in parts["force-include"].items() if of == "docs/runbooks.md"]
    assert Path(runbook_page.__file__).with_name("runbooks.md") == ROOT / target


def texts() -> Iterator[str]:
    """Every text of the watchers' code, what is filled in replaced by a word."""
    for path in sorted((ROOT / "orchestrai" / "observability").rglob("*.py")):
        nodes = [*ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
        filled = [node for node in nodes if isinstance(node, ast.JoinedStr)]
        parts = {part for node in filled for part in node.values}
        for node in nodes:
            if isinstance(node, ast.JoinedStr):
                yield "".join(str(one.value) if isinstance(one, ast.Constant) else "x" for one in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in parts:
                yield node.value


def remedies() -> set[str]:
    """The commands in them."""
    parts = {part.strip() for text in texts() if "\n" not in text for part in re.split(r"; |: |, | says | then ", text)}
    return {part for part in parts if re.match(r"orchestrai [a-z]+", part) and not part.endswith("alerts list`")}


def test_each_command_that_an_alert_names_is_one_that_there_is() -> None:
    found = remedies()
    assert len(found) >= 12, found
    for line in sorted(found):
        commands.check_line(line)


def test_what_needs_a_span_is_told_with_one() -> None:
    backfills = [line for line in remedies() if line.startswith("orchestrai backfill")]
    assert backfills and all("--from" in line and "--to" in line and "/" not in line.split()[2] for line in backfills), (
        backfills
    )
