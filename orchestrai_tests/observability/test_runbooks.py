"""Each kind of condition leads to a section of the runbooks that says what to do, and the page has no section of a kind that is gone."""

import re

import pytest

from orchestrai.observability.alerts.condition_kinds import KINDS, ConditionKind
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
