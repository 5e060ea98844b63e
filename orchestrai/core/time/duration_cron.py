"""Durations and crons: how people write them, and what they mean.

A duration is a whole number and a unit (90s, 15m, 26h, 30d, 5w); a cron has five fields, minute hour day month weekday, in UTC or, for
schedules of a dataset, by the clock of its partitions.
`Duration` and `Cron` are what a declaration's fields are annotated with; pydantic is loaded only where one is declared.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

from orchestrai.errors import ConfigError

if TYPE_CHECKING:
    from croniter import croniter

UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_SHAPE = re.compile(rf"([0-9]{{1,9}})\s*([{''.join(UNITS)}])")
_CRON_FIELDS = 5
# beyond it, a moment less a duration is no date
LONGEST = timedelta(days=36_525)
# any moment does: whether a cron ever fires does not depend on when one asks
_SOME_TIME = datetime(2026, 1, 1, tzinfo=UTC)


def parse_duration(text: str, *, zero: bool = False) -> timedelta:
    """Read a whole number and one unit (s, m, h, d, w); raises ConfigError, for nought too unless `zero`."""
    shape = _SHAPE.fullmatch(text.strip())
    if shape is None or (int(shape[1]) == 0 and not zero):
        raise ConfigError(f"expected a duration such as 90s, 15m, 26h, 30d or 5w, found {text!r}")
    count, unit = int(shape[1]), UNITS[shape[2]]
    if count > LONGEST // unit:
        raise ConfigError(f"expected a duration of at most a century ({LONGEST.days}d), found {text!r}")
    return count * unit


def format_duration(span: timedelta) -> str:
    """A duration as people write it, in the largest of days, hours, minutes and seconds that divides it."""
    for unit in "dhm":
        if span and not span % UNITS[unit]:
            return f"{span // UNITS[unit]}{unit}"
    seconds = span.total_seconds()
    return f"{seconds:.0f}s" if seconds.is_integer() else f"{seconds}s"


def check_cron(text: str) -> str:
    """The expression itself when Dagster's schedules take it and it ever fires; raises ConfigError.

    H and R fields are refused: what they stand for differs from process to process.
    """
    from croniter import CroniterError

    try:
        expression = _expression(text, _SOME_TIME)
        if len(expression.expanded) != _CRON_FIELDS or _drawn_by_lot(text):
            raise _no_cron(text)
        expression.get_prev(datetime)
    except CroniterError as exc:
        raise _no_cron(text) from exc
    return text


def previous_tick(cron: str, now: datetime) -> datetime:
    """The newest time before `now` at which a schedule fires, UTC."""
    tick: datetime = _expression(cron, now.astimezone(UTC)).get_prev(datetime)
    return tick


def _expression(text: str, now: datetime) -> "croniter":
    # the library whose code Dagster carries: what it takes, Dagster's schedules take
    from croniter import croniter

    return croniter(text, now)


def _drawn_by_lot(text: str) -> bool:
    return any(field[:1] in "hr" for column in text.lower().split() for field in column.split(","))


def _no_cron(text: str) -> ConfigError:
    return ConfigError(f'expected a cron of five fields (minute hour day month weekday) such as "0 4 * * 1", found {text!r}')


def _read_duration(value: object, *, written: bool, zero: bool) -> object:
    if isinstance(value, str):
        # a recipe in JSON has ISO 8601, as pydantic writes it
        return value if written and value.startswith("P") else parse_duration(value, zero=zero)
    if not isinstance(value, timedelta) or value < timedelta(0) or not (value or zero):
        raise ConfigError(f"expected a duration such as 90s, 15m, 26h, 30d or 5w, found {value!r}")
    return value


def _read_cron(value: object, *, written: bool) -> object:
    return check_cron(value) if isinstance(value, str) else value


class _Reader:
    """Metadata of an annotation by which pydantic reads a field; its ValueError is what pydantic takes for a mistake."""

    def __init__(self, read: Callable[..., object], **options: object) -> None:
        self._read, self._options = read, options

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        from pydantic_core import core_schema

        return core_schema.with_info_before_validator_function(self._value, handler(source))

    def _value(self, value: object, info: Any) -> object:
        try:
            return self._read(value, written=info.mode == "json", **self._options)
        except ConfigError as exc:
            raise ValueError(exc.message) from exc


Duration = Annotated[timedelta, _Reader(_read_duration, zero=False)]
DurationOrZero = Annotated[timedelta, _Reader(_read_duration, zero=True)]
Cron = Annotated[str, _Reader(_read_cron)]
