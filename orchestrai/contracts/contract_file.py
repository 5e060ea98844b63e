"""A contract file with the lines of its fields, so that a mistake is told where it is."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrai.core.time.duration_cron import LONGEST, UNITS
from orchestrai.core.yaml.declaration import LineOf, Location, field_name, mistake
from orchestrai.errors import DeclarationError

# the standard's spellings of our units, and its years
_NAMES = {"s": ("second",), "m": ("min", "minute"), "h": ("hour",), "d": ("day",), "w": ("week",), "y": ("yr", "year")}
_LENGTHS = {**UNITS, "y": timedelta(days=365)}
SPELLED = {word: _LENGTHS[unit] for unit, names in _NAMES.items() for name in (unit, *names) for word in (name, f"{name}s")}


class ContractFile:
    """The parsed file; `line_of` finds the line of a field."""

    def __init__(self, path: Path, data: Any, line_of: LineOf) -> None:
        self.path, self.data, self.line_of = path, data, line_of

    def wrong(self, at: Location, expected: str, actual: object) -> DeclarationError:
        """The mistake in a field, as one line with file, line and field."""
        return mistake(self.path, self.line_of(at), field_name(at), expected, actual)

    def span(self, at: Location, value: object, unit: object) -> timedelta:
        """A length of time from an ODCS value and unit, or from text such as `26h`."""
        text = str(value).strip()
        if unit is None and not text.replace(".", "", 1).isdigit():
            digits = text.rstrip("abcdefghijklmnopqrstuvwxyz ")
            text, unit = digits, text[len(digits) :].strip()
        name = str(unit).strip().lower() if unit is not None else "d"
        try:
            amount = float(text)
        except ValueError:
            raise self.wrong(at, "a number with a unit, such as 26h", repr(value)) from None
        if name not in SPELLED or not 0 <= amount <= LONGEST / SPELLED[name]:
            raise self.wrong(at, "a unit of s, m, h, d, w or y and a number from 0 to a century", f"{value!r} {unit!r}")
        return amount * SPELLED[name]

    def moment(self, at: Location, value: object) -> datetime:
        """A UTC time from a date, a datetime or ISO text."""
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day, tzinfo=UTC)
        try:
            time = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        except ValueError:
            raise self.wrong(at, "a date or time in ISO 8601", repr(value)) from None
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
