"""What pages are made of: tables with headers, facts, figures at a glance, commands."""

import base64
from collections.abc import Iterable, Sequence
from typing import Literal

from orchestrai.core.html.markup import Child, Markup, element, joined

TIGHT = 20
State = Literal["", "good", "warn", "bad"]


def paragraph(*children: Child, state: State | Literal["dim"] = "") -> Markup:
    """A paragraph, dimmed or coloured where asked; the words say what the colour says."""
    return element("p", *children, class_=state or None)


def note(*children: Child, state: State = "") -> Markup:
    """A paragraph set apart."""
    return element("div", *children, class_=f"note {state}".rstrip())


def command(text: str) -> Markup:
    """What a person types."""
    return element("pre", element("code", text))


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[Child]], anchors: Sequence[str] = ()) -> Markup:
    """A table with a caption and headers, in a region that a keyboard scrolls; a sentence where it has no rows.

    The first cell of each row is its header; numbers stand to the right. `anchors` are the ids of the rows.
    """
    listed = list(rows)
    if not listed:
        return paragraph(f"{caption}: none.", state="dim")
    numeric = [all(_numeric(row[place]) for row in listed) for place in range(len(columns))]
    head = (element("th", name, scope="col", class_="n" if numeric[place] else None) for place, name in enumerate(columns))
    body = (_row(row, numeric, anchors[number] if number < len(anchors) else None) for number, row in enumerate(listed))
    inner = element("table", element("caption", caption), element("thead", element("tr", *head)), element("tbody", *body))
    return element("div", inner, class_="scroll", tabindex=0, role="region", aria_label=caption)


def _numeric(cell: Child) -> bool:
    return cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool))


def _row(row: Sequence[Child], numeric: Sequence[bool], anchor: str | None) -> Markup:
    cells = (
        element("td", number_of(cell) if _numeric(cell) else cell, class_="n" if numeric[place] else _tight(cell))
        for place, cell in enumerate(row[1:], 1)
    )
    return element("tr", element("th", row[0], scope="row", class_=_tight(row[0])), *cells, id=anchor)


def _tight(cell: Child) -> str | None:
    """Of times, versions and other short words no line is broken."""
    return "tight" if isinstance(cell, str) and len(cell) <= TIGHT else None


def number_of(cell: Child) -> str:
    """A number for people; nothing for none."""
    if isinstance(cell, float):
        return f"{cell:,.2f}" if cell == 0 or abs(cell) >= 0.01 else f"{cell:.2g}"
    return "" if cell is None else f"{int(cell):,}"


def facts(pairs: Iterable[tuple[str, Child]]) -> Markup:
    """Names with their values."""
    return element("dl", *(joined((element("dt", name), element("dd", value))) for name, value in pairs))


def chips(shown: Iterable[tuple[str, str, State]]) -> Markup:
    """Figures that are asked for first: what, of what, and whether that is good."""
    items = (
        element("li", element("strong", value), element("span", about), class_=state or None)
        for value, about, state in shown
    )
    return element("ul", *items, class_="chips")


def folded(summary: str, *children: Child) -> Markup:
    """What is shown when somebody asks for it."""
    return element("details", element("summary", summary), *children)


def png_picture(data: bytes, caption: str, about: str) -> Markup:
    """A PNG in the page itself; `about` says in words what it shows."""
    source = "data:image/png;base64," + base64.standard_b64encode(data).decode()
    return element("figure", element("figcaption", caption), element("img", src=source, alt=about))


def counted(count: int, one: str, more: str = "") -> str:
    """How many of something, in its singular or its plural."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def size_of(count: float) -> str:
    """Bytes for people."""
    size = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def minute_of(time: str) -> str:
    """An ISO time to the minute."""
    return time[:16].replace("T", " ")
