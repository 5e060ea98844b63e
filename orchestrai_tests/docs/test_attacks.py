"""The table of attacks is honest: its tests exist, every number and every kind of tampering is in it, with what its test asks for."""

import re

from orchestrai_tests.docs.pages import ROOT
from orchestrai_tests.provenance.tampers import KINDS, TIMES

# as the pages spell them
IN_WORDS = {5: "five", 6: "six", 9: "nine", 10: "ten", 11: "eleven", 12: "twelve"}
NUMBERS = {str(number) for number in range(1, 11)}


def rows() -> list[tuple[str, str, str, list[str]]]:
    lines = (ROOT / "docs" / "attacks.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")][1:]
    assert all(len(row) == 4 for row in cells)
    return [(found, attack, outcome, re.findall(r"`([^`]+)`", tests)) for found, attack, outcome, tests in cells]


def test_every_test_that_the_table_names_exists() -> None:
    for _, attack, _, tests in rows():
        assert tests, f"{attack}: no test"
        for test in tests:
            path, _, name = test.partition("::")
            assert re.search(rf"^def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), f"{attack}: {test}"


def test_every_number_and_every_kind_of_tampering_is_in_the_table() -> None:
    table = rows()
    assert {found for found, *_ in table} >= NUMBERS
    told = {attack: outcome for found, attack, outcome, _ in table if found == "tamper"}
    assert told == {kind.name: "found" if kind.found else f"harmless: {kind.why}" for kind in KINDS}


def test_counts_in_the_pages_are_those_of_the_tests() -> None:
    table = rows()
    named = {test for *_, tests in table for test in tests}
    kinds, harmless = len(KINDS), sum(not kind.found for kind in KINDS)
    page, proof = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("attacks.md", "proof.md"))
    assert f"{len(table)} attacks by name, held by {len(named)} tests" in page
    tampers = f"{(kinds - harmless) * TIMES} found by their check, {harmless * TIMES} of {IN_WORDS[harmless]} kinds harmless"
    tried = (
        f"the {kinds} kinds of tampering with a proof and its vault, each tried {IN_WORDS[TIMES]} times ({kinds * TIMES}): "
    )
    assert tried + tampers in page.replace("\n", " ")
    assert f"{kinds} kinds of tampering with a proof and its vault, {IN_WORDS[TIMES]} times each" in proof
    assert f"| {kinds * TIMES} | {tampers.replace(', ', '; ')}" in proof
