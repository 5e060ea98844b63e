"""Bands: a month for a time, the first significant digit for a number, the first two characters for a text.

A band's value is its own band's, so that what was written can be checked without the original.
"""

import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

PREFIX_LENGTH = 2
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = date(1970, 1, 1)
DAY_US = 86_400_000_000
_MICROSECOND = timedelta(microseconds=1)


def text_band(value: str) -> str:
    """The first two characters, as of a postal code."""
    return value[:PREFIX_LENGTH]


def whole_band(value: int) -> int:
    """The first significant digit, towards zero: 37 and -37 are 30 and -30."""
    unit: int = 10 ** (len(str(abs(value))) - 1)
    return (abs(value) // unit) * unit * (-1 if value < 0 else 1)


def decimal_band(value: Decimal) -> Decimal:
    """The first significant digit of a decimal, with as many places."""
    sign, digits, exponent = value.as_tuple()
    # no arithmetic: 38 digits are more than the usual context keeps
    return Decimal((sign, (digits[0], *(0 for _ in digits[1:])), int(exponent)))


def double_band(value: float) -> float | None:
    """The first significant digit of a number; None for what is no number or has no end."""
    if not math.isfinite(value):
        return None
    if value == 0:
        return 0.0
    # the shortest text that reads back: 0.3 is 3e-1 and not 2.99e-1
    text = f"{Decimal(repr(abs(value))).normalize():E}"
    return math.copysign(float(f"{text[0]}e{text.partition('E')[2] or '0'}"), value)


def month_of_days(value: int) -> tuple[int, int]:
    """The month of a day, counted from 1970: its first day, and how many it has."""
    try:
        day = _DAY + timedelta(days=value)
        first = day.replace(day=1)
        following = (first + timedelta(days=32)).replace(day=1)
    except OverflowError:
        return value - value % 30, 30
    return (first - _DAY).days, (following - first).days


def month_of_microseconds(value: int) -> tuple[int, int]:
    """The month of a moment (UTC), in microseconds since 1970: its beginning and length."""
    first, days = month_of_days(value // DAY_US)
    return first * DAY_US, days * DAY_US


def span_within(value: int, window: tuple[int, int] | None) -> tuple[int, int]:
    """Where a moment is banded: the window of its partition where it lies in one, else its day (UTC), in microseconds."""
    if window is not None and window[0] <= value < window[1]:
        return window[0], window[1] - window[0]
    return value - value % DAY_US, DAY_US


def days_within(value: int, window: tuple[int, int] | None) -> tuple[int, int]:
    """Where a day, counted from 1970, is banded: its partition, alone beside it, and its month where there is none."""
    if window is None:
        return month_of_days(value)
    if window[0] <= value * DAY_US < window[1]:
        # the days whose midnight lies in it, of which this is one
        first, after = -(-window[0] // DAY_US), -(-window[1] // DAY_US)
        return first, after - first
    return value, 1


def microseconds(moment: datetime) -> int:
    """A moment as microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND
