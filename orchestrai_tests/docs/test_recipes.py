"""A person, the hooks and the two kinds of CI call the same recipes, so that none of them knows of a check that the others do not."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrai_tests.docs.pages import ROOT

GITHUB = ROOT / ".github"


def prerequisites(target: str) -> list[str]:
    """What a recipe of the Makefile runs first."""
    found = re.search(rf"^{target}:([^#\n]*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found, f"no recipe {target}"
    return found[1].split()


def loaded(path: Path) -> Any:
    """A YAML file."""
    return yaml.safe_load(path.read_text())


def test_check_is_every_recipe_that_judges() -> None:
    assert prerequisites("check") == ["setup", "format", "lint", "types", "contracts", "docs", "test"]


def test_the_site_is_built_strictly_and_not_quietly() -> None:
    # mkdocs counts the warnings that it prints: quiet and strict together find nothing
    recipe = re.search(r"mkdocs build (.*)", (ROOT / "Makefile").read_text())
    assert recipe and recipe[1].split() == ["--strict", "--clean", "-d", "site"]


def test_every_recipe_is_listed_by_make_and_is_phony() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony
    recipes = {name for names in re.findall(r"^([a-z][a-z -]*):", text, re.MULTILINE) for name in names.split()}
    assert recipes == set(phony[1].split())
    described = {name for names in re.findall(r"^([a-z][a-z -]*):.* ## ", text, re.MULTILINE) for name in names.split()}
    assert recipes == described


def test_the_hooks_are_local_and_call_the_quick_recipes_of_check() -> None:
    repositories = loaded(ROOT / ".pre-commit-config.yaml")["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    hooks = repositories[0]["hooks"]
    quick = [recipe for recipe in prerequisites("check") if recipe not in ("setup", "docs", "test")]
    assert [hook["id"] for hook in hooks] == quick
    for hook in hooks:
        assert hook["entry"] == f"make {hook['id']}"
        assert (hook["language"], hook["pass_filenames"]) == ("system", False)


def steps() -> list[dict[str, Any]]:
    """Every step of every workflow."""
    found = [loaded(path) for path in sorted((GITHUB / "workflows").glob("*.yml"))]
    assert found
    return [step for workflow in found for job in workflow["jobs"].values() for step in job["steps"]]


def test_the_workflow_calls_our_recipes_and_nothing_else() -> None:
    ours = re.compile(r"\.ci/run|make [a-z-]+( PYTHON=\S+)?")
    runs = [line for step in steps() if "run" in step for line in step["run"].strip().split("\n")]
    assert runs
    assert [line for line in runs if not ours.fullmatch(line)] == []
    for line in runs:
        if line.startswith("make"):
            prerequisites(line.split()[1])


def test_ci_from_nothing_calls_the_same_recipes() -> None:
    called = re.findall(r"^make ([a-z-]+)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert called == ["setup", "check-all"]
    assert [name.replace("test-all", "test") for name in prerequisites("check-all")] == prerequisites("check")


def test_the_workflow_may_only_read_and_its_actions_are_pinned() -> None:
    for path in (GITHUB / "workflows").glob("*.yml"):
        workflow = loaded(path)
        assert workflow["permissions"] == {"contents": "read"}, path.name
        assert all("permissions" not in job for job in workflow["jobs"].values())
        assert all(job["timeout-minutes"] for job in workflow["jobs"].values())
    for step in steps():
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", step["uses"]), step["uses"]
        if "checkout" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False


def test_the_workflow_takes_every_python_that_is_promised() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11,<3.13"
    jobs = [job for path in (GITHUB / "workflows").glob("*.yml") for job in loaded(path)["jobs"].values()]
    taken = {version for job in jobs for version in job.get("strategy", {}).get("matrix", {}).get("python", [])}
    assert taken == {"3.11", "3.12"}
    promised = {name.rsplit(" :: ")[-1] for name in project["classifiers"] if re.search(r"Python :: 3\.\d+$", name)}
    assert taken == promised


@pytest.mark.parametrize("path", sorted(GITHUB.glob("ISSUE_TEMPLATE/*.yml")), ids=lambda path: path.name)
def test_a_form_asks_for_what_is_needed(path: Path) -> None:
    form = loaded(path)
    if path.name == "config.yml":
        assert form["blank_issues_enabled"] is False
        return
    assert form["name"] and form["description"]
    kinds = {"markdown", "textarea", "input", "dropdown", "checkboxes"}
    assert {field["type"] for field in form["body"]} <= kinds
    asked = [field for field in form["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in asked}) == len(asked)
    assert any(field.get("validations", {}).get("required") for field in asked)


def test_bugs_features_and_questions_have_a_form_and_pull_requests_a_template() -> None:
    assert {path.name for path in GITHUB.glob("ISSUE_TEMPLATE/*.yml")} >= {"bug.yml", "feature.yml", "question.yml"}
    assert "CHANGELOG" in (GITHUB / "pull_request_template.md").read_text()
