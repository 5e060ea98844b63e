"""Markup that escapes what it shows, the frame of every page, and its colours."""

from html import unescape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrai.core.html.frame import PageSection, page, slug
from orchestrai.core.html.markup import Markup, element, joined
from orchestrai.core.html.palette import DARK, DRAWN, LIGHT, TEXT, contrast
from orchestrai.core.html.parts import chips, command, facts, folded, note, png_picture, table
from orchestrai_tests.accessibility import faults

SPOILT = "</td><script>alert('&\"')</script>"


@given(st.text(), st.text())
@settings(max_examples=60, deadline=None)
def test_whatever_is_text_comes_back_as_that_text(child: str, value: str) -> None:
    shown = element("p", child, title=value)
    assert shown.count("<") == 2 and shown.count(">") == 2
    assert unescape(shown.partition(">")[2].removesuffix("</p>")) == child
    assert element("p", child) == joined([element("p", child)])


def test_markup_that_was_added_to_is_text_again() -> None:
    made = element("b", "x")
    assert isinstance(made, Markup) and not isinstance(made + "<i>", Markup)
    assert element("p", f"{made}") == "<p>&lt;b&gt;x&lt;/b&gt;</p>"


@pytest.mark.parametrize(
    "address",
    ["https://example.org", "//example.org", "javascript:alert(1)", "/etc/x", "data:text/html,x", "\\\\host", "a b"],
)
def test_no_address_leads_out_of_a_page(address: str) -> None:
    with pytest.raises(ValueError, match="within the page"):
        element("a", "x", href=address)


@pytest.mark.parametrize("address", ["#top", "models/churn-1234.html", "a.html#b", "data:image/png;base64,AAA="])
def test_places_in_a_page_and_files_beside_it_are_addresses(address: str) -> None:
    assert f'href="{address}"' in element("a", "x", href=address)


@pytest.mark.parametrize(("tag", "attribute"), [("p onload", "id"), ("p", "onclick"), ("p", "a b"), ("", "id")])
def test_names_that_would_run_or_tear_are_refused(tag: str, attribute: str) -> None:
    with pytest.raises(ValueError, match="expected the name"):
        element(tag, **{attribute: "x"})


def test_a_page_of_everything_has_no_fault_and_shows_data_as_text() -> None:
    body = joined(
        (
            note(SPOILT, state="bad"),
            chips([(SPOILT, "of", "good")]),
            facts([(SPOILT, SPOILT)]),
            command(SPOILT),
            table(SPOILT, (SPOILT, "n"), [(SPOILT, 3), ("b", 2.5)]),
            table("empty", ("a",), []),
            folded("more", "text"),
            png_picture(b"png", "a plot", SPOILT),
        )
    )
    sections = [PageSection(f"Part {number}", body) for number in range(5)]
    text = page(SPOILT, element("p", SPOILT), sections)
    assert faults(text) == []
    assert "<script" not in text and text.count("&lt;script&gt;") > 10
    assert slug(SPOILT) == "td-script-alert-script"


@pytest.mark.parametrize(
    ("spoil", "by", "why"),
    [
        ('<html lang="en">', "<html>", "no language"),
        ('scope="col"', "", "without scope"),
        ('alt="words"', "", "without words"),
        ("<h2 ", "<h4 ", "followed by"),
        ("<caption>caption</caption>", "", "without a caption"),
        ('id="main"', 'id="part"', "stands 2 times"),
        ('tabindex="0"', "", "only a mouse"),
        ("<main", '<a href="#nowhere">x</a><main', "leads nowhere"),
        ("</main>", '<link href="https://example.org/x.css"></main>', "refers to"),
        ("</main>", "", "</body> ends"),
    ],
)
def test_the_checker_finds_what_is_wrong(spoil: str, by: str, why: str) -> None:
    body = joined((table("caption", ("a", "b"), [("x", 1)]), png_picture(b"png", "a plot", "words")))
    text = page("Title", element("p", "x"), [PageSection("Part", body, "part")])
    assert faults(text) == []
    assert spoil in text
    assert any(why in fault for fault in faults(text.replace(spoil, by))), faults(text.replace(spoil, by))


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["day", "night"])
def test_every_pair_of_colours_has_the_contrast_that_wcag_asks_for(colours: dict[str, str]) -> None:
    assert set(LIGHT) == set(DARK)
    low = [(a, b, round(contrast(colours[a], colours[b]), 2)) for a, b in TEXT if contrast(colours[a], colours[b]) < 4.5]
    low += [(a, b, round(contrast(colours[a], colours[b]), 2)) for a, b in DRAWN if contrast(colours[a], colours[b]) < 3]
    assert low == []
    # the formula itself, by the values that WCAG gives
    assert contrast("#000000", "#ffffff") == pytest.approx(21) and contrast("#777777", "#ffffff") == pytest.approx(
        4.48, abs=0.01
    )
