"""A dossier as one HTML page and one JSON file: no script, no resource from outside, readable without colours and by a screen reader."""

import base64
import json
from collections.abc import Iterator
from html import escape
from pathlib import Path

from orchestrai.errors import ConfigError
from orchestrai.provenance.export.dossier.dossier_parts import Dossier, Section, Table

_STYLE = """
:root{color-scheme:light dark;--ink:#16202c;--dim:#4b5866;--line:#c3ccd6;--ground:#fff;--head:#f0f3f7;--link:#174ea6}
@media(prefers-color-scheme:dark){:root{--ink:#e7edf4;--dim:#aeb9c6;--line:#3a4754;--ground:#10161d;--head:#1a232d;--link:#8ab4f8}}
body{font:16px/1.55 system-ui,sans-serif;margin:0 auto;max-width:1100px;padding:24px;color:var(--ink);background:var(--ground)}
h1{font-size:26px;margin:0}h2{font-size:19px;margin:40px 0 2px;border-top:1px solid var(--line);padding-top:18px}a{color:var(--link)}
p,.refers{color:var(--dim);margin:4px 0}code{font:13px/1.5 ui-monospace,monospace;overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:minmax(140px,max-content) 1fr;gap:4px 18px;margin:14px 0}
dt{color:var(--dim)}dd{margin:0;overflow-wrap:anywhere}
.wide{overflow-x:auto;margin:18px 0}table{border-collapse:collapse;width:100%;font-size:14px}
caption{text-align:left;font-weight:600;padding:4px 0}
th,td{text-align:left;vertical-align:top;padding:6px 9px;border:1px solid var(--line);overflow-wrap:anywhere}
thead th{background:var(--head);white-space:nowrap}th{overflow-wrap:normal}
figure{display:inline-block;margin:10px 14px 10px 0}img{max-width:100%;background:#fff}figcaption{color:var(--dim);font-size:14px}
@media print{body{max-width:none;padding:0}.wide{overflow:visible}h2{break-after:avoid}}
"""
NOTE = (
    "Written from signed records: each was checked when this page was made. Headings name the place of the EU AI Act "
    "(Regulation 2024/1689) that asks for the matter; whether what is here suffices is for people to judge, and nothing "
    "here claims that it does."
)


def write_dossier(page: Dossier, to: Path) -> tuple[Path, Path]:
    """Write `to`, which ends in .html, and the JSON beside it; raises ConfigError for another name or where either is there already."""
    if to.suffix != ".html":
        raise ConfigError(f"expected --to FILE.html for a dossier, found {to}: the JSON is written beside it")
    beside = to.with_suffix(".json")
    for path in (to, beside):
        if path.exists():
            raise ConfigError(f"expected a new place to write to, found {path} there already: name another, or remove it")
    to.parent.mkdir(parents=True, exist_ok=True)
    beside.write_text(json.dumps(page.as_json(), indent=2) + "\n", encoding="utf-8")
    to.write_text(dossier_html(page), encoding="utf-8")
    return to, beside


def dossier_html(page: Dossier) -> str:
    """The page; everything from data is escaped."""
    return "".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">",
            f"<title>Dossier of {escape(page.asset)}</title><style>{_STYLE}</style></head><body>",
            f"<header><h1>Dossier of {escape(page.asset)}</h1><p><code>{escape(page.version)}</code></p><p>{NOTE}</p></header>",
            '<nav aria-label="Sections"><ol>',
            *(f'<li><a href="#{section.id}">{escape(section.title)}</a></li>' for section in page.sections),
            "</ol></nav><main>",
            *(part for section in page.sections for part in _section(section, page)),
            "</main></body></html>\n",
        )
    )


def _section(section: Section, page: Dossier) -> Iterator[str]:
    yield f'<section id="{section.id}" aria-labelledby="{section.id}-title"><h2 id="{section.id}-title">{escape(section.title)}</h2>'
    yield f'<p class="refers">EU AI Act: {escape(section.refers)}</p>'
    if section.facts:
        yield "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in section.facts) + "</dl>"
    for table in section.tables:
        yield _table(table)
    if section.id == "evaluation":
        for name, data in sorted(page.pictures.items()):
            what = escape(name.removesuffix(".png").replace("_", " "))
            source = base64.standard_b64encode(data).decode()
            yield (
                f'<figure><img src="data:image/png;base64,{source}" alt="Plot of {what}; its figures are in the tables above">'
                f"<figcaption>{what}</figcaption></figure>"
            )
    yield "</section>"


def _table(table: Table) -> str:
    if not table.rows:
        return f"<p><strong>{escape(table.caption)}</strong>: none.</p>"
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.columns)
    rows = (
        f'<tr><th scope="row">{escape(row[0])}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in table.rows
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(table.caption)}"><table><caption>{escape(table.caption)}'
        f"</caption><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
