"""The one frame of every page: self-contained, readable without a script, by a keyboard, by a screen reader, and in print."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrai.core.html.markup import Markup, constant, element, joined
from orchestrai.core.html.palette import variables

# a page with more sections than that lists them at its top
UNLISTED = 3
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
STYLE = """
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:1200px;padding:28px 24px 64px;color:var(--ink);background:var(--ground)}
body.wide{max-width:1640px}
h1{font-size:25px;letter-spacing:-.01em;line-height:1.25;margin:0;overflow-wrap:anywhere}
h2{font-size:19px;margin:38px 0 8px;overflow-wrap:anywhere}h3{font-size:16px;margin:26px 0 6px;overflow-wrap:anywhere}
h4{font-size:14px;margin:16px 0 4px}
p{margin:6px 0;max-width:90ch}a{color:var(--link)}
.skip{position:absolute;left:-9999px}.skip:focus{left:12px;top:8px;background:var(--card);padding:6px 10px}
.dim{color:var(--dim)}.good{color:var(--good)}.bad{color:var(--bad);font-weight:600}.warn{color:var(--warn);font-weight:600}
code,.mono{font:13px/1.5 ui-monospace,monospace;overflow-wrap:anywhere}
pre{font:13px/1.5 ui-monospace,monospace;background:var(--card);border:1px solid var(--line);border-radius:8px;padding:7px 11px;
margin:6px 0;white-space:pre-wrap;overflow-wrap:anywhere}
nav ul{display:flex;flex-wrap:wrap;gap:4px 18px;list-style:none;padding:0;margin:14px 0}
.chips{display:flex;flex-wrap:wrap;gap:10px;margin:16px 0 0;padding:0;list-style:none}
.chips li{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:7px 14px;min-width:96px}
.chips strong{display:block;font-size:17px;font-variant-numeric:tabular-nums;line-height:1.3}.chips span{font-size:12px;color:var(--dim)}
.chips .good{background:var(--goodbg);border-color:var(--good);color:inherit;font-weight:400}
.chips .warn{background:var(--warnbg);border-color:var(--warn);color:inherit;font-weight:400}
.chips .bad{background:var(--badbg);border-color:var(--bad);color:inherit;font-weight:400}
.note{border-left:4px solid var(--edge);background:var(--card);padding:8px 14px;margin:10px 0}
.note.bad{border-color:var(--bad);background:var(--badbg);color:inherit;font-weight:400}
.note.warn{border-color:var(--warn);background:var(--warnbg);color:inherit;font-weight:400}
.note.good{border-color:var(--good);background:var(--goodbg);color:inherit}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:10px;background:var(--card);margin:10px 0}
.scroll:focus-visible,summary:focus-visible,a:focus-visible{outline:3px solid var(--link);outline-offset:2px}
table{border-collapse:collapse;width:100%;font-size:13px}caption{text-align:left;padding:8px 10px;color:var(--dim)}
th,td{text-align:left;padding:6px 10px;border-top:1px solid var(--line);vertical-align:top;overflow-wrap:break-word}
tbody th{font-weight:600}thead th{color:var(--dim);white-space:nowrap;border-top:0}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}.tight{white-space:nowrap}
.do{display:inline-block;min-width:18rem}
dl{display:grid;grid-template-columns:minmax(140px,max-content) 1fr;gap:4px 18px;margin:12px 0}
dt{color:var(--dim)}dd{margin:0;overflow-wrap:anywhere}
details{margin:8px 0}summary{cursor:pointer;color:var(--link)}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,430px),1fr));gap:14px;margin:12px 0}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 14px;min-width:0}
figcaption{font-weight:600;font-size:14px;margin-bottom:2px}figure p{font-size:13px;color:var(--dim);margin:2px 0}
img{max-width:100%;height:auto;background:#fff;border-radius:6px}
svg{display:block;width:100%;height:auto}svg text{fill:var(--dim);font:11px system-ui,sans-serif}
svg .grid{stroke:var(--line);stroke-width:1}svg .axis{stroke:var(--edge);stroke-width:1}
svg .band{fill:var(--band)}svg .target{stroke:var(--bad);stroke-width:1.5;stroke-dasharray:6 4;fill:none}
svg .l{fill:none;stroke-width:1.8;stroke-linejoin:round}
svg .one{stroke:var(--one)}svg .two{stroke:var(--two)}svg .three{stroke:var(--three)}svg .four{stroke:var(--four)}
svg .fill.one{fill:var(--one);stroke:none}svg .fill.two{fill:var(--two);stroke:none}svg .fill.three{fill:var(--three);stroke:none}
svg .fill.four{fill:var(--four);stroke:none}svg .fill.bad{fill:var(--bad);stroke:none}svg .fill.warn{fill:var(--warn);stroke:none}
@media print{body{background:#fff;padding:0;max-width:none}.scroll{overflow:visible}nav,.skip{display:none}h2,h3{break-after:avoid}
figure{break-inside:avoid}}
"""


@dataclass(frozen=True)
class PageSection:
    """A heading and what stands under it; `anchor` is by what it is linked to, made of its title where none is given."""

    title: str
    body: Markup
    anchor: str = ""

    @property
    def id(self) -> str:
        """The anchor."""
        return self.anchor or slug(self.title)


@dataclass(frozen=True)
class Extras:
    """What only some pages have: a style of their own, more width, a script with the policy that lets it run."""

    style: str = ""
    wide: bool = False
    policy: str = POLICY
    script: Markup | None = None


def slug(text: str) -> str:
    """An anchor for a title: letters and digits, the rest as `-`."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "section"


def page(title: str, lead: Markup, sections: Sequence[PageSection], extras: Extras | None = None) -> str:
    """A whole page: `lead` stands under its title, and a list of its sections where there are many."""
    more = extras or Extras()
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width,initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=more.policy),
        element("title", title),
        element("style", constant(variables() + STYLE + more.style)),
    )
    links = (element("li", element("a", one.title, href=f"#{one.id}")) for one in sections)
    listed = element("nav", element("ul", *links), aria_label="On this page") if len(sections) > UNLISTED else None
    body = element(
        "body",
        element("a", "To the content", class_="skip", href="#main") if listed else None,
        element("header", element("h1", title), lead),
        listed,
        element("main", *(_section(one) for one in sections), id="main"),
        more.script,
        class_="wide" if more.wide else None,
    )
    return "<!doctype html>" + joined([element("html", head, body, lang="en")]) + "\n"


def _section(one: PageSection) -> Markup:
    heading = element("h2", one.title, id=f"{one.id}-title")
    return element("section", heading, one.body, id=one.id, aria_labelledby=f"{one.id}-title")
