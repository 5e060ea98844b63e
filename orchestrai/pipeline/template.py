"""`orchestrai new`: a pipeline of one's own from the template that ships."""

import re
from pathlib import Path

from orchestrai.errors import ConfigError

TEMPLATE = Path(__file__).resolve().parent.parent / "pipelines" / "_template"
PLACEHOLDER = "__NAME__"
VARIABLE = "__VARIABLE__"


def require_name(name: str) -> None:
    """Raise ConfigError for what cannot be a pipeline's name."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
        raise ConfigError(f"expected a name of lower-case letters, digits and underscores, found {name!r}")


def write_template(name: str, target: Path) -> list[Path]:
    """Copy the template into `target` under a new name; raises ConfigError for an unusable name."""
    require_name(name)
    target.mkdir(parents=True)
    written = []
    for source in sorted(TEMPLATE.iterdir()):
        if source.is_file():
            path = target / source.name.replace(PLACEHOLDER, name)
            path.write_text(source.read_text().replace(PLACEHOLDER, name).replace(VARIABLE, name.upper()))
            written.append(path)
    return written
