"""A dossier as one HTML page and one JSON file: no script, no resource from outside, readable without colours and by a screen reader."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from orchestrai.core.html import parts
from orchestrai.core.html.frame import PageSection, page
from orchestrai.core.html.markup import Markup, element, joined
from orchestrai.errors import ConfigError
from orchestrai.provenance.export.dossier.dossier_parts import Dossier, Section

NOTE = (
    "Written from signed records: each was checked when this page was made. Headings name the place of the EU AI Act "
    "(Regulation 2024/1689) that asks for the matter; whether what is here suffices is for people to judge, and nothing "
    "here claims that it does."
)


def write_dossier(dossier: Dossier, to: Path) -> tuple[Path, Path]:
    """Write `to`, which ends in .html, and the JSON beside it; raises ConfigError for another name or where either is there already."""
    if to.suffix != ".html":
        raise ConfigError(f"expected --to FILE.html for a dossier, found {to}: the JSON is written beside it")
    beside = to.with_suffix(".json")
    for path in (to, beside):
        if path.exists():
            raise ConfigError(f"expected a new place to write to, found {path} there already: name another, or remove it")
    to.parent.mkdir(parents=True, exist_ok=True)
    beside.write_text(json.dumps(dossier.as_json(), indent=2) + "\n", encoding="utf-8")
    to.write_text(dossier_html(dossier), encoding="utf-8")
    return to, beside


def dossier_html(dossier: Dossier) -> str:
    """The page; everything from data is escaped."""
    lead = joined((parts.paragraph(element("code", dossier.version)), parts.paragraph(NOTE, state="dim")))
    sections = [PageSection(one.title, joined(_section(one, dossier)), one.id) for one in dossier.sections]
    return page(f"Dossier of {dossier.asset}", lead, sections)


def _section(section: Section, dossier: Dossier) -> Iterator[Markup]:
    yield parts.paragraph(f"EU AI Act: {section.refers}", state="dim")
    if section.facts:
        yield parts.facts(section.facts)
    for table in section.tables:
        yield parts.table(table.caption, table.columns, table.rows)
    if section.id == "evaluation" and dossier.pictures:
        yield element("div", *pictures(dossier.pictures), class_="plots")


def pictures(found: Mapping[str, bytes]) -> Iterator[Markup]:
    """The plots of an evaluation; what they are drawn from stands in its tables."""
    for name, data in sorted(found.items()):
        what = name.removesuffix(".png").replace("_", " ")
        yield parts.png_picture(data, what, f"Plot of {what}; its figures are in the tables above")
