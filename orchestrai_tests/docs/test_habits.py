"""The habits of a project that strangers join: a license, types, pages that can be found, nothing of the machine it was written on."""

import hashlib
import re
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrai_tests.docs.pages import ROOT, tracked

# the text as the Apache Software Foundation publishes it
APACHE = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
# spelt in pieces, since this file is looked at too
HOME_OF_MACHINES = re.compile("/(?:" + "|".join(("root", "work", "home/[a-z]+")) + ")/[a-zA-Z.]")
REGISTRIES = re.compile(
    "|".join(("pypi" + r"\.org", "pythonhosted" + r"\.org", "registry" + r"\.npmjs", r"proxy\.golang" + r"\.org"))
)
GROUPS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")


class Loader(yaml.SafeLoader):
    """mkdocs.yml may name Python objects; they are not needed here."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)


def site() -> dict[str, Any]:
    """What the site is made of."""
    found: dict[str, Any] = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader=Loader)
    return found


def in_navigation(entries: Any) -> list[str]:
    """The pages of a navigation, in order."""
    if isinstance(entries, str):
        return [entries]
    parts = entries.values() if isinstance(entries, dict) else entries
    return [page for part in parts for page in in_navigation(part)]


def project() -> dict[str, Any]:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_license_is_apache_2_in_full_and_the_package_says_so() -> None:
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE
    assert project()["project"]["license"] == "Apache-2.0"
    assert project()["project"]["license-files"] == ["LICENSE"]


def test_types_are_shipped_and_no_test_is() -> None:
    assert files("orchestrai").joinpath("py.typed").is_file()
    assert project()["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["orchestrai"]
    inside = [
        path for path in (ROOT / "orchestrai").rglob("*.py") if path.name.startswith("test_") or path.name == "conftest.py"
    ]
    assert inside == []


LOCKS = ("requirements.lock", "requirements.run.lock", "bench/requirements.lock")


def read(path: Path) -> str:
    """A text file; nothing for one of bytes."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def strays(pattern: re.Pattern[str]) -> list[str]:
    """Where a pattern stands in the project's own files."""
    found = []
    for path in tracked():
        name = path.relative_to(ROOT).as_posix()
        if name not in ("LICENSE", *LOCKS):
            found += [f"{name}: {match[0]}" for match in pattern.finditer(read(path))]
    return found


def test_no_file_names_the_machine_it_was_written_on() -> None:
    assert strays(HOME_OF_MACHINES) == []


def test_no_file_names_a_registry() -> None:
    assert strays(REGISTRIES) == []
    # a lock made behind a mirror would carry its address
    for lock in LOCKS:
        assert re.findall(r"https?://\S+|--\w*index-url.*", (ROOT / lock).read_text()) == []


@pytest.mark.parametrize("text", ["see /" + "root/x", "/" + "work/main", "https://" + "pypi" + ".org/simple"])
def test_a_stray_path_or_host_would_be_found(text: str) -> None:
    assert HOME_OF_MACHINES.search(text) or REGISTRIES.search(text)


def pins(lock: str) -> dict[str, str]:
    """The versions that a lock file names, each with a hash at least."""
    text = (ROOT / lock).read_text()
    pinned = re.findall(r"^([a-z0-9-]+)(?:\[[^\]]*\])?==(\S+)", text, re.MULTILINE)
    assert len(pinned) == len(re.findall(r"^[a-z0-9]", text, re.MULTILINE))
    for part in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]:
        assert "--hash=sha256:" in part, part.split("\n")[0]
    return dict(pinned)


def names(needs: list[str]) -> set[str]:
    """The names of packages that are asked for."""
    return {re.split(r"[\[<>=;~! ]", need)[0].lower().replace("_", "-") for need in needs}


def test_every_dependency_is_locked_by_hash() -> None:
    held, pinned = project(), pins("requirements.lock")
    assert len(pinned) > 200
    assert names([*held["project"]["dependencies"], *held["dependency-groups"]["dev"]]) - set(pinned) == set()


def test_what_the_demo_runs_on_is_locked_to_the_same_versions_and_holds_nothing_of_the_tests() -> None:
    pinned, run = pins("requirements.lock"), pins("requirements.run.lock")
    held = project()
    assert names(held["project"]["dependencies"]) - set(run) == set()
    assert {name: (run[name], pinned.get(name)) for name in run if run[name] != pinned.get(name)} == {}
    assert (
        set(run)
        & {"pytest", "moto", "mypy", "ruff", "pysail", "selenium", "mkdocs-material", "confluent-kafka", "deltalake"}
        == set()
    )


def test_the_peers_of_benchmarks_are_locked_and_change_no_other_version() -> None:
    pinned, peers = pins("requirements.lock"), pins("bench/requirements.lock")
    assert names(project()["dependency-groups"]["bench"]) - set(peers) == set()
    assert {name: (peers[name], pinned[name]) for name in peers.keys() & pinned.keys() if peers[name] != pinned[name]} == {}


def test_every_page_is_in_the_navigation_once() -> None:
    named = in_navigation(site()["nav"])
    assert len(named) == len(set(named))
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    roots = {path.name for path in ROOT.glob("*.md")} - {"README.md"}
    assert set(named) == pages | roots


def test_the_site_takes_nothing_from_elsewhere() -> None:
    held = site()
    assert held["strict"] is True
    assert held["theme"]["font"] is False
    assert not {"extra_javascript", "extra"} & set(held)
    assert all("//" not in path for path in held["extra_css"])
    assert "*.py" in held["exclude_docs"]


def test_the_readme_leads_to_what_a_stranger_looks_for() -> None:
    text = (ROOT / "README.md").read_text()
    for name in ("LICENSE", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "docs/architecture.md", "docs/upgrading.md"):
        assert f"]({name})" in text, name


def test_the_changelog_keeps_to_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert text.startswith("# Changelog\n")
    assert "Keep a Changelog" in text
    releases = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert re.fullmatch(r"\[?Unreleased\]?", releases[0])
    assert [name for name in releases[1:] if not re.fullmatch(r"\[?\d+\.\d+\.\d+\]? - \d{4}-\d{2}-\d{2}", name)] == []
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        groups = re.findall(r"^### (.+)$", part, re.MULTILINE)
        assert groups == [name for name in GROUPS if name in groups], (
            f"groups once and in order, in {part.split(chr(10))[0]}"
        )
        for line in part.split("\n")[1:]:
            assert not line.strip() or re.match(r"### |- \S|  \S", line), f"neither a group nor an entry: {line}"


def test_every_decision_says_its_state_and_its_reasons() -> None:
    records = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [path.name[:4] for path in records] == [f"{number:04d}" for number in range(1, len(records) + 1)]
    for path in records:
        text = path.read_text()
        assert text.startswith(f"# {path.name[:4]} "), path.name
        assert re.search(r"^State: (proposed|accepted|rejected|superseded by \d{4})", text, re.MULTILINE), path.name
        for part in ("Context", "Decision", "Consequences"):
            assert f"\n## {part}\n" in text, f"{path.name}: {part}"
        assert re.search(r"alternatives", text, re.IGNORECASE), path.name
