"""What the pages say is true: commands exist, declarations are accepted, code runs, files and tests that are named are there."""

import re
import shlex
import textwrap
from pathlib import Path

import pytest

from orchestrai_tests.docs import commands, declared
from orchestrai_tests.docs.pages import PAGES, ROOT, Block, blocks, blocks_of, prose, spoken, tracked
from orchestrai_tests.docs.tutorial import FOLDER as TUTORIALS
from orchestrai_tests.docs.tutorial import file_of

RUN = {"sh", "console", "bash", "yaml", "json", "python", "sql"}
# blocks that nothing here can run or judge; each has its reason above it
NOT_RUN = 0
# datasets in the vault and a key of metadata, which are spelled like files
NO_FILES = (
    "orchestrai/instance",
    "orchestrai/definitions",
    "orchestrai/left_out",
    "orchestrai/vault/prune",
    "orchestrai/vault/heal",
    "orchestrai/again",
    "orchestrai/page",
)
CHEAP = {"check", "doctor", "new"}


def of(*languages: str) -> list[object]:
    return [
        pytest.param(block, id=block.place)
        for block in blocks()
        # the files of tutorials are written, read and run by test_tutorials.py
        if block.language in languages and block.not_run is None and not (block.page.parent == TUTORIALS and file_of(block))
    ]


def test_every_block_says_what_it_is_and_one_that_is_not_run_says_why() -> None:
    strange = [block.place for block in blocks() if block.language not in RUN | {"text"}]
    assert strange == []
    assert not [block.place for block in blocks() if block.language == "text" and block.not_run is not None]
    left_out = [block for block in blocks() if block.not_run is not None]
    assert [block.place for block in left_out if len((block.not_run or "").split()) < 3] == [], "a reason is a sentence"
    assert len(left_out) == NOT_RUN, [block.place for block in left_out]


def test_no_command_hides_in_a_plain_block_or_by_indentation() -> None:
    command = re.compile(r"^\$? *((orchestrai|dagster|pytest) [a-z-]|make [a-z-]+( |$))", re.MULTILINE)
    assert [block.place for block in blocks() if block.language == "text" and command.search(block.text)] == []
    indented = re.compile(r"\n\n {4,}(orchestrai|make|dagster|source:|[A-Z_]+=\S+ )")
    assert [page.name for page in PAGES if indented.search(prose(page))] == []


@pytest.mark.parametrize("block", of("sh", "console", "bash"))
def test_commands_in_the_pages_are_understood(block: Block) -> None:
    found = commands.lines_of(block.text)
    assert found
    for line in found:
        commands.check_line(line)


@pytest.mark.parametrize(
    "wrong", ["orchestrai vault lists", "orchestrai gate list --al", "make demos", "orchestrai gate show x", "rm -r"]
)
def test_a_command_that_is_not_there_is_found(wrong: str) -> None:
    with pytest.raises(AssertionError):
        commands.check_line(wrong)


def test_commands_within_sentences_are_understood() -> None:
    found = [(page, text) for page in PAGES for text in spoken(page)]
    spoken_commands = [(page, text) for page, text in found if re.match(r"orchestrai [a-z]", text)]
    made = [(page, text) for page, text in found if re.match(r"make [a-z-]+$", text)]
    assert len(spoken_commands) > 40
    assert len(made) > 5
    for _, text in spoken_commands:
        commands.check_spoken(text)
    for _, text in made:
        commands.check_line(text)


def test_every_command_says_what_it_is_for_and_its_own_examples_are_understood() -> None:
    for path, command in commands.every_command():
        name = " ".join(path)
        assert command.help, f"orchestrai {name} --help says nothing"
        told = re.search(r"Examples?\b[^:]*: (.*?)(?:\n\n|$)", command.help, flags=re.DOTALL)
        assert told, f"orchestrai {name} --help has no example"
        for line in re.split(r"(?: && |, then: |\n|\s{2,})(?=(?:[A-Z_]+=\S+ )*orchestrai [a-z])", told[1].strip()):
            commands.check_line(" ".join(line.split()))


def cheap(page: Path) -> list[str]:
    """The commands of a page that cost little and change only what they make, in their order."""
    lines = [
        line for block in blocks() if block.page == page and block.language == "sh" for line in commands.lines_of(block.text)
    ]
    if page.parent == TUTORIALS:
        return []  # their commands need what was typed before them
    return [line for line in lines if line.startswith("orchestrai ") and line.split()[1] in CHEAP]


def test_the_first_commands_a_newcomer_types_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from orchestrai.cli.app import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORCHESTRAI_HOME", str(tmp_path / "home"))
    # what ships is loaded by other tests
    monkeypatch.setenv("ORCHESTRAI_PIPELINES", "pipelines")
    for name in ("ORCHESTRAI_VAULT_URL", "ORCHESTRAI_LAKE_URL"):
        monkeypatch.delenv(name, raising=False)
    from_pages = [line for page in PAGES for line in cheap(page)]
    assert {line.split()[1] for line in from_pages} >= {"new", "check"}
    for line in [*from_pages, "orchestrai --help", "orchestrai check pipelines", "orchestrai doctor --json"]:
        result = CliRunner().invoke(app, shlex.split(line)[1:])
        assert result.exit_code == 0, f"{line}: {result.output}{result.exception!r}"


@pytest.mark.parametrize("block", of("yaml"))
def test_declarations_in_the_pages_are_accepted(block: Block, tmp_path: Path) -> None:
    declared.check_yaml(textwrap.dedent(block.text), tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        "backup: {evry: '0 2 * * *'}",
        "colour: red",
        "source: {url: 's3://b/x/', format: xml}",
        "models:\n  - {name: m}",
        "train_on: {sagemaker: {role: r}}",
        "kind: DataContract\napiVersion: v3.0.0\ncolour: red",
    ],
)
def test_a_declaration_that_would_be_refused_is_found(wrong: str, tmp_path: Path) -> None:
    from orchestrai.errors import OrchestraiError

    with pytest.raises((AssertionError, ValueError, OrchestraiError)):
        declared.check_yaml(wrong, tmp_path)


@pytest.mark.parametrize("block", of("json"))
def test_json_in_the_pages_is_what_a_service_takes(block: Block) -> None:
    declared.check_json(block.text)


@pytest.mark.parametrize(
    "wrong", ['{"workspaces": "w", "pool": "p"}', '{"project": "p"}', '{"ReleaseLabels": "emr-8"}', "{"]
)
def test_json_that_no_service_takes_is_found(wrong: str) -> None:
    with pytest.raises((AssertionError, ValueError)):
        declared.check_json(wrong)


@pytest.mark.parametrize("block", of("python"))
def test_python_in_the_pages_runs(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    exec(compile(block.text, block.place, "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("block", of("sql"))
def test_sql_in_the_pages_is_of_the_subset(block: Block, tmp_path: Path) -> None:
    declared.check_sql(block.text, tmp_path)


def test_sql_outside_the_subset_is_found(tmp_path: Path) -> None:
    from orchestrai.errors import OrchestraiError

    with pytest.raises(OrchestraiError):
        declared.check_sql("SELECT device_id, ts, AVG(temperature) OVER (ORDER BY ts) AS a FROM readings", tmp_path)


def test_files_that_the_pages_name_are_there() -> None:
    named = re.compile(r"(?<![\w./])(?:orchestrai_tests|orchestrai|docs|bench|examples)/[\w./-]*\w")
    missing = []
    for page in PAGES:
        for text in spoken(page):
            for path in named.findall(text) if "<" not in text and "http" not in text else ():
                there = (ROOT / path.partition("::")[0]).exists() or path.startswith(NO_FILES)
                if not there:
                    missing.append(f"{page.relative_to(ROOT)}: {path}")
    assert missing == []


def test_tests_that_the_pages_name_are_there() -> None:
    rooms = (("orchestrai_tests",), ("orchestrai", "conformance"))
    sources = [p for p in tracked() if p.suffix == ".py" and any(p.relative_to(ROOT).parts[: len(r)] == r for r in rooms)]
    files = {path.name for path in sources}
    written = {name for path in sources for name in re.findall(r"^ *def (test_\w+)", path.read_text(), re.MULTILINE)}
    missing = []
    for page in PAGES:
        if page.name == "CONTRIBUTING.md":
            continue  # its names are examples of how to name
        for text in re.findall(r"\btest_\w+(?:\.py)?", " ".join(spoken(page))):
            if text not in files and text not in written and text != "test_share":
                missing.append(f"{page.name}: {text}")
    assert missing == []


def test_variables_that_the_pages_name_are_read_somewhere() -> None:
    from dataclasses import fields

    from orchestrai.settings import PREFIX, Settings

    known = {f"{PREFIX}{field.name.upper()}" for field in fields(Settings)}
    code = "\n".join(
        path.read_text()
        for path in tracked()
        if path.suffix == ".py"
        or path.relative_to(ROOT).as_posix() in (".ci/run", "Makefile", "examples/telco/pipeline.yaml")
    )
    missing = {
        name
        for page in PAGES
        for name in re.findall(rf"{PREFIX}[A-Z_]*[A-Z]", page.read_text())
        if name not in known and name not in code
    }
    assert missing == set()


def test_links_between_pages_lead_somewhere() -> None:
    dead = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
            path, _, anchor = target.partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            there = (page.parent / path).resolve() if path else page
            if not there.exists() or (anchor and there.suffix == ".md" and anchor not in anchors(there)):
                dead.append(f"{page.relative_to(ROOT)}: {target}")
    assert dead == []


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site both make them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", title.replace("`", "")).strip().lower() for title in titles]
    return {re.sub(r"\s+", "-", title) for title in plain}


def test_a_block_is_read_with_its_language_its_reason_and_without_its_indentation() -> None:
    text = "Text\n\n<!-- not run: needs a Kubernetes cluster -->\n\n  ```sh\n  helm install\n  ```\n"
    assert blocks_of(ROOT / "x.md", text) == [Block(ROOT / "x.md", 5, "sh", "helm install", "needs a Kubernetes cluster")]
