"""Durations as people write them: 90s, 15m, 26h, 30d, 5w."""

import re
from datetime import timedelta

from orchestrai.errors import ConfigError

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SHAPE = re.compile(r"([0-9]{1,9})\s*([smhdw])")


def parse_duration(text: str, *, zero: bool = False) -> timedelta:
    """Read a whole number and one unit (s, m, h, d, w); raises ConfigError, for nought too unless `zero`."""
    found = _SHAPE.fullmatch(text.strip())
    if found is None or (int(found[1]) == 0 and not zero):
        raise ConfigError(f"expected a duration such as 90s, 15m, 26h, 30d or 5w, found {text!r}")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def declared_duration(value: object) -> object:
    """For pydantic's BeforeValidator: text becomes a timedelta, nought allowed; other values pass through. Raises ValueError."""
    if not isinstance(value, str):
        return value
    try:
        return parse_duration(value, zero=True)
    except ConfigError as exc:
        raise ValueError(exc.message) from exc
