"""`${NAME}` and `${NAME:-default}` in declarations, filled from the environment."""

import os
import re
from collections.abc import Mapping
from typing import Any

from orchestrai.errors import ConfigError

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def expand(value: Any, environment: Mapping[str, str]) -> Any:
    """Fill references in every string of a declaration; raises ConfigError for a name that is unset and has no default.

    A relative path that comes from the environment means relative to the working directory, as in any shell command,
    so it is made absolute here; a relative path written in the declaration is left to be taken from the home folder.
    """
    if isinstance(value, str):
        return _REFERENCE.sub(lambda match: _lookup(match, value, environment), value)
    if isinstance(value, dict):
        return {key: expand(item, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [expand(item, environment) for item in value]
    return value


def _lookup(match: re.Match[str], text: str, environment: Mapping[str, str]) -> str:
    name, default = match.groups()
    value = environment.get(name)
    if value:
        whole = match.group(0) == text
        is_path = whole and "://" not in value and ("/" in value or os.path.exists(value))
        return os.path.abspath(os.path.expanduser(value)) if is_path else value
    if default is None:
        raise ConfigError(
            f"expected the environment variable {name} to be set, found nothing: set it or write ${{{name}:-default}}"
        )
    return default
