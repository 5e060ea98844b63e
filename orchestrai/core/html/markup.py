"""Markup that cannot be spoilt by what it shows: text is escaped wherever it is put in, and only what is built here counts as markup.

A child that is a plain string is text. Adding to `Markup` or formatting with it gives a plain string again, so a slip shows as `&lt;` on
the page and never as a tag of somebody else's.
"""

import re
from collections.abc import Iterable
from html import escape

VOID = frozenset({"meta", "img", "br", "input", "link"})
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9:-]*")
# what a page may refer to: a place in itself, a picture in itself, a file beside it
_WITHIN = re.compile(r"#[^\s]*|data:image/png;base64,[A-Za-z0-9+/=]*|(?![/\\])[^\s:\\?#]+(?:#[^\s]*)?")


class Markup(str):
    """Text that is markup already; made by `element`, `joined` and `constant` alone."""

    __slots__ = ()


Child = Markup | str | int | float | None
Value = str | int | float | bool | None


def constant(text: str) -> Markup:
    """A literal of the source code as markup: styles and scripts. Never data."""
    return Markup(text)


def joined(children: Iterable[Child]) -> Markup:
    """Children one after another: markup as it is, all else as text; None is nothing."""
    return Markup("".join(_shown(child) for child in children))


def element(tag: str, *children: Child, **attributes: Value) -> Markup:
    """An element. Attributes are named as in HTML, with `_` for `-` and a `_` at the end where Python has the word itself.

    True gives an attribute without a value, None and False none. Raises ValueError for a name that is none, and for an address that leads
    out of the page and the files beside it.
    """
    if not _NAME.fullmatch(tag):
        raise ValueError(f"expected the name of an element, found {tag!r}")
    told = "".join(_attribute(name.rstrip("_").replace("_", "-"), value) for name, value in attributes.items())
    return Markup(f"<{tag}{told}>" if tag in VOID else f"<{tag}{told}>{joined(children)}</{tag}>")


def within(address: str) -> bool:
    """Whether an address stays in the page or names a file beside it."""
    return _WITHIN.fullmatch(address) is not None


def _attribute(name: str, value: Value) -> str:
    if not _NAME.fullmatch(name) or name.startswith("on"):
        raise ValueError(f"expected the name of an attribute that runs nothing, found {name!r}")
    if value is None or value is False:
        return ""
    if name in ("href", "src") and not within(str(value)):
        raise ValueError(f"expected an address within the page or beside it, found {value!r}")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'


def _shown(child: Child) -> str:
    if child is None:
        return ""
    return child if isinstance(child, Markup) else escape(str(child), quote=False)
