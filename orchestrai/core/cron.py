"""Times at which something is due, as crontab writes them: five fields, in UTC.

Narrower than what Dagster takes, never wider: an expression that passes here makes a schedule there.
"""

import calendar
import re

from orchestrai.errors import ConfigError

_NAMED = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
_DAYS = {name.lower(): (number + 1) % 7 for number, name in enumerate(calendar.day_abbr)}
# name, smallest, largest, words
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
)
_PART = re.compile(r"(?:\*|([0-9a-z]{1,3})(?:-([0-9a-z]{1,3}))?)(?:/([0-9]{1,2}))?")
_LONGEST_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def check_cron(text: str) -> str:
    """The expression; raises ConfigError for one that no schedule can be made of."""
    if text in _NAMED:
        return text
    fields = text.lower().split()
    if len(fields) != len(_FIELDS):
        raise ConfigError(f'expected a cron expression of five fields such as "0 2 * * *", found {text!r}')
    values = [_values(part, number, text) for number, part in enumerate(fields)]
    days, months = values[2], values[3]
    if min(days) > max(_LONGEST_MONTH[month - 1] for month in months):
        raise ConfigError(f"expected a cron expression for a day that a month has, found {text!r}")
    return text


def _values(field: str, number: int, text: str) -> set[int]:
    name, low, high, words = _FIELDS[number]
    values: set[int] = set()
    for part in field.split(","):
        match = _PART.fullmatch(part)
        bounds = [_number(word, words) for word in (match[1], match[2]) if word] if match else [None]
        step = int(match[3]) if match and match[3] else 1
        known = [bound for bound in bounds if bound is not None and low <= bound <= high]
        if len(known) < len(bounds) or known != sorted(known) or not 1 <= step <= high:
            raise ConfigError(f"expected a number from {low} to {high} as the {name} of a cron expression, found {part!r} in {text!r}")
        # a single number with a step begins there: 5/15 is 5-59/15
        first, last = (known[0], high if len(known) == 1 and match and match[3] else known[-1]) if known else (low, high)
        values.update(range(first, last + 1, step))
    return values


def _number(word: str, words: dict[str, int]) -> int | None:
    return int(word) if word.isdigit() else words.get(word)
