"""What a page must have for people who cannot see it, cannot use a mouse, or have only the file: worked out from its structure."""

from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise

from orchestrai.core.html.markup import VOID, within

HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
Attributes = dict[str, str]


class _Reader(HTMLParser):
    """Elements in order, each with its attributes, its text, and what it stands in."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, Attributes, tuple[str, ...]]] = []
        self.texts: list[str] = []
        self.open: list[tuple[str, int]] = []
        self.torn: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}, tuple(name for name, _ in self.open)))
        self.texts.append("")
        if tag not in VOID:
            self.open.append((tag, len(self.found) - 1))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop()[0] != tag:
            self.torn.append(tag)

    def handle_data(self, data: str) -> None:
        for _, place in self.open:
            self.texts[place] += data


def faults(page: str, *, scripted: bool = False) -> list[str]:
    """What is wrong with a page, a sentence each; a `scripted` one may carry scripts."""
    reader = _Reader()
    reader.feed(page)
    named = [
        (tag, attributes, inside, reader.texts[place].strip())
        for place, (tag, attributes, inside) in enumerate(reader.found)
    ]
    tags = Counter(tag for tag, _, inside, _ in named if "svg" not in inside)
    wrong = [f"</{tag}> ends what was not open" for tag in reader.torn] + [
        f"<{tag}> is never ended" for tag, _ in reader.open
    ]
    if not page.startswith("<!doctype html>") or not any(t == "html" and a.get("lang") for t, a, _, _ in named):
        wrong.append("no doctype, or no language")
    wrong += [f"{tags[tag]} of <{tag}>" for tag in ("h1", "main", "title", "header") if tags[tag] != 1]
    levels = [int(tag[1]) for tag, *_ in named if tag in HEADINGS]
    wrong += [f"a heading of level {low} is followed by one of {high}" for low, high in pairwise(levels) if high > low + 1]
    ids = Counter(attributes["id"] for _, attributes, _, _ in named if "id" in attributes)
    wrong += [f"id {name} stands {count} times" for name, count in ids.items() if count > 1]
    for tag, attributes, inside, text in named:
        wrong += _of(tag, attributes, inside, text, scripted)
        target = attributes.get("href", "")
        if target.startswith("#") and target[1:] not in ids:
            wrong.append(f"a link to {target} leads nowhere")
        about = attributes.get("aria-labelledby", "")
        if about and about not in ids:
            wrong.append(f"<{tag}> is labelled by {about}, which is not there")
    # a caption names a table; one in <details> is named by its summary
    bare = sum(tag == "table" and "details" not in inside for tag, _, inside, _ in named)
    captions = sum(tag == "caption" and "details" not in inside for tag, _, inside, _ in named)
    if bare > captions:
        wrong.append(f"{bare - captions} tables without a caption")
    return wrong


def _of(tag: str, attributes: Attributes, inside: tuple[str, ...], text: str, scripted: bool) -> list[str]:
    wrong = []
    if tag == "th" and attributes.get("scope") not in ("col", "row"):
        wrong.append(f"a table's header without scope: {text}")
    if tag == "img" and not attributes.get("alt"):
        wrong.append("a picture without words")
    if tag == "svg" and not (attributes.get("role") and attributes.get("aria-label")):
        wrong.append("a drawing without words")
    if tag in ("a", "button", "summary", "title", "caption", *HEADINGS) and not text:
        wrong.append(f"an empty <{tag}>")
    if tag in ("input", "select", "textarea") and not attributes.get("aria-label"):
        wrong.append("a field without a label")
    if (
        tag == "div"
        and "scroll" in attributes.get("class", "")
        and not (attributes.get("tabindex") == "0" and attributes.get("aria-label"))
    ):
        wrong.append("a region that only a mouse scrolls")
    if tag in ("script", "iframe", "object", "embed", "link") and not scripted:
        wrong.append(f"<{tag}> in a page that needs none")
    wrong += [f"<{tag}> runs {name}" for name in attributes if name.startswith("on")]
    wrong += [f"<{tag}> refers to {attributes[n]}" for n in ("src", "href") if n in attributes and not within(attributes[n])]
    return wrong
