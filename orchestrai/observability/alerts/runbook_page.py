"""The runbooks as text: what to do about a kind of condition, where there is no browser and no checkout."""

import re
from pathlib import Path

from orchestrai.errors import ConfigError
from orchestrai.observability.alerts.condition_kinds import KINDS

# a wheel carries the page beside this module; in a checkout it lies with the other pages
_PLACES = (Path(__file__).with_name("runbooks.md"), Path(__file__).parents[3] / "docs" / "runbooks.md")


def runbook_section(kind: str) -> str:
    """What the page says of a kind of condition, by its name or its anchor (`gate_closed`, `gate-closed`).

    Raises ConfigError for a kind that there is not, and for an installation without the page.
    """
    found = KINDS.get(kind.replace("-", "_"))
    if found is None:
        names = ", ".join(one.anchor for one in KINDS.values())
        raise ConfigError(f"expected one of {names}, found {kind!r}: `orchestrai alerts list` says which kinds are open")
    page = next((place for place in _PLACES if place.is_file()), None)
    if page is None:
        raise ConfigError(
            "expected the page of runbooks with the package, found none: install it from a wheel or a checkout"
        )
    text = page.read_text(encoding="utf-8")
    section = re.search(rf"^## {re.escape(found.anchor)}\n(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL)
    if section is None:
        raise ConfigError(f"expected a section {found.anchor} in {page}, found none: install this release again")
    return section[1].strip()
