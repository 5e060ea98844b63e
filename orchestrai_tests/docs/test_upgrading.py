"""docs/upgrading.md says which formats there are, and the code says the same."""

import ast
import re
from collections import Counter

import pytest

from orchestrai_tests.docs.declared import modules
from orchestrai_tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "upgrading.md"
# how a number of a format is called where it is written down once
_NAME = re.compile(r"_?(?:[A-Z]+_)*(?:FORMAT|LAYOUT|MAGIC|VERSIONED)")
_KEYS = ("format", "layout", "v")
_TYPE = re.compile(r"application/vnd\.orchestrai\.[a-z-]+\+json")
# what a module has somewhere that writes a format
SIGNS = r"FORMAT|LAYOUT|MAGIC|VERSIONED|\"(format|layout|v)\"|vnd\.orchestrai|urn:orchestrai"
_URN = re.compile(r"urn:orchestrai:[a-z-]+:v\d+")


def numbers_in(tree: ast.Module) -> list[str]:
    """Constants such as `FORMAT = 1` at the top of a module, and numbers spelt out in what is written, such as `"v": 1`."""
    found = []
    for node in tree.body:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, int | str | bytes):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]  # type: ignore[union-attr]
            found += [f"{t.id} = {spelt(value)}" for t in targets if isinstance(t, ast.Name) and _NAME.fullmatch(t.id)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value in _KEYS and isinstance(value, ast.Constant):
                    if isinstance(value.value, int):
                        found.append(f'"{key.value}": {value.value}')
    return found


def spelt(value: ast.Constant) -> str:
    """As the formatter writes it."""
    text = repr(value.value)
    return text.replace("'", '"') if isinstance(value.value, str | bytes) else text


def named_in(tree: ast.Module, pattern: re.Pattern[str]) -> set[str]:
    """What a module's text literals are, whole."""
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {text for text in texts if pattern.fullmatch(text)}


def section(title: str) -> str:
    """A chapter of the page."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert found, f"no chapter {title}"
    return found[1]


def rows(title: str) -> list[list[str]]:
    """The rows of the table in a chapter, without its head."""
    lines = [line for line in section(title).split("\n") if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def test_the_table_has_the_numbers_that_the_code_has() -> None:
    in_code: Counter[str] = Counter()
    urns = set()
    for _, tree in modules(SIGNS):
        in_code.update(numbers_in(tree))
        urns |= named_in(tree, _URN)
    cells = [row[3].strip("`") for row in rows("What is written, and its version")]
    assert Counter(cell for cell in cells if cell and not _URN.fullmatch(cell)) == in_code
    besides = {
        urn
        for row in rows("What is written, and its version")
        for urn in re.findall(r"`([^`]+)`", row[4])
        if _URN.fullmatch(urn)
    }
    assert {cell for cell in cells if _URN.fullmatch(cell)} | besides == urns


def test_the_number_beside_a_constant_is_its_value() -> None:
    for what, _, now, constant, _ in rows("What is written, and its version"):
        if constant:
            value = re.split(r" = |: |:(?=v\d+$)", constant.strip("`"))[-1].strip('"b')
            assert re.match(rf"{re.escape(value)}\b", now), f"{what}: {now} beside {constant}"


def test_a_format_without_a_number_says_what_decides() -> None:
    assert [row[0] for row in rows("What is written, and its version") if not row[4]] == []


def test_every_type_of_signed_record_is_listed() -> None:
    in_code = {text for _, tree in modules(SIGNS) for text in named_in(tree, _TYPE)}
    listed = [row[0].strip("`") for row in rows("The types of signed records")]
    assert len(in_code) > 10
    assert sorted(in_code) == listed, "one row each, by name"


def test_changes_are_numbered_dated_and_say_what_to_do() -> None:
    entries = re.findall(
        r"^### (\d+)\. (.+?)\n(.*?)(?=^###? |\Z)", section("Changes of format, by number"), re.MULTILINE | re.DOTALL
    )
    assert [int(number) for number, _, _ in entries] == list(range(1, len(entries) + 1))
    for _, title, text in entries:
        assert re.match(r"\d{4}-\d{2}-\d{2}", text), title
        assert "*To do:*" in text, title


def test_every_format_above_its_first_has_an_entry() -> None:
    told = section("Changes of format, by number")
    for what, _, _, constant, _ in rows("What is written, and its version"):
        number = re.search(r"(\d+)\W*$", constant)
        if number and int(number[1]) > 1:
            title = what.split(":")[0].lower()
            assert re.search(rf"^### \d+\. {re.escape(title)}:.*\b{number[1]}$", told, re.MULTILINE | re.IGNORECASE), what


@pytest.mark.parametrize(
    "text", ["FORMAT = 3", '_TAIL_LAYOUT: str = "arrow-1"', 'def f():\n    return {"format": 2}', '_MAGIC = b"OR"']
)
def test_a_new_format_is_seen(text: str) -> None:
    assert len(numbers_in(ast.parse(text))) == 1
