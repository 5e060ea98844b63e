"""Times in declared strptime formats, looked up in a calendar: digit by digit over a whole column, else by Python's own strptime.

A column whose texts have the width that the format's digits give (`31/12/2026 23:59`) is read at once by arithmetic on its bytes. What does
not fit is padded (`3/4/2026`) and tried again, and the rest is asked of `datetime.strptime`, whose verdict is the one that counts.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

WIDTHS = {
    "Y": (4,),
    "m": (2,),
    "d": (2,),
    "H": (2,),
    "M": (2,),
    "S": (2,),
    "y": (2,),
    "f": (1, 2, 3, 4, 5, 6),
    "z": (1, 5, 6),
}
# spellings of the C library that Python's strptime lacks
SHORT = {"%T": "%H:%M:%S", "%R": "%H:%M", "%D": "%m/%d/%y", "%F": "%Y-%m-%d", "%e": "%d", "%h": "%b"}
KNOWN = frozenset("aAwdbBmyYHIpMSfzjUWcxX%GuV")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAYS = 719_468  # days from 0000-03-01 to 1970-01-01
_MICRO = timedelta(microseconds=1)


@dataclass
class Moments:
    """Microseconds since 1970 of each text, whether it was read at all, and whether it named a zone."""

    micros: "np.ndarray[Any, Any]"
    read: "np.ndarray[Any, Any]"
    zoned: "np.ndarray[Any, Any]"


def spelled_out(form: str) -> str:
    """A format in the directives of Python's strptime; raises ValueError for one that it does not know."""
    for short, long in SHORT.items():
        form = form.replace(short, long)
    unknown = sorted(set(re.findall(r"%(.?)", form)) - KNOWN)
    if unknown:
        raise ValueError(f"expected directives of strptime, found %{unknown[0]} in {form!r}")
    return form


def parse_moment(text: str, formats: Sequence[str]) -> datetime | None:
    """The reference: the moment of a text by the first format that it has; without a zone where it names none."""
    if not text.isascii():
        return None
    for form in formats:
        try:
            return datetime.strptime(text, spelled_out(form))  # noqa: DTZ007 - what names no zone is told apart by its caller
        except (ValueError, OverflowError):
            continue
    return None


def parse_moments(array: "pa.Array", formats: Sequence[str]) -> Moments:
    """Every text of a column by the declared formats; nulls are not read."""
    import numpy as np
    import pyarrow.compute as pc

    moments = Moments(np.zeros(len(array), "i8"), np.zeros(len(array), "?"), np.zeros(len(array), "?"))
    todo = np.flatnonzero(pc.is_valid(array).to_numpy(zero_copy_only=False))
    _by_width(array, formats[0], moments, todo)
    todo = todo[~moments.read[todo]]
    if len(todo) and _single_digits(formats[0]):
        padded = pc.replace_substring_regex(array.take(todo), r"\b([0-9])\b", r"0\1")
        part = Moments(np.zeros(len(todo), "i8"), np.zeros(len(todo), "?"), np.zeros(len(todo), "?"))
        _by_width(padded, formats[0], part, np.arange(len(todo)))
        moments.micros[todo], moments.read[todo], moments.zoned[todo] = part.micros, part.read, part.zoned
        todo = todo[~part.read]
    known: dict[str, datetime | None] = {}
    for row, text in zip(todo.tolist(), array.take(todo).to_pylist(), strict=True):
        if text not in known:
            known[text] = parse_moment(text, formats)
        moment = known[text]
        if moment is not None:
            moments.read[row], moments.zoned[row] = True, moment.tzinfo is not None
            moments.micros[row] = _micros(moment)
    return moments


def _micros(moment: datetime) -> int:
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MICRO


def _single_digits(form: str) -> bool:
    """Whether a digit that stands alone may be padded: a fraction is no number of its own, and a year has two digits or four."""
    return not any(field in form for field in ("%f", "%z", "%y"))


def _by_width(array: "pa.Array", form: str, moments: Moments, rows: "np.ndarray[Any, Any]") -> None:
    """Read the rows whose texts are as wide as the format's digits."""
    import numpy as np
    import pyarrow.compute as pc

    parts = re.findall(r"%.|[^%]", spelled_out(form))
    fields = [part[1] for part in parts if part.startswith("%")]
    if len(set(fields)) != len(fields) or not set(fields) <= set(WIDTHS) or {"Y", "y"} <= set(fields) or not _plain(parts):
        return
    lengths = pc.fill_null(pc.binary_length(array), 0).to_numpy(zero_copy_only=False)
    for widths in _layouts(fields):
        width = sum(widths) + len(parts) - len(fields)
        mine = rows[(lengths[rows] == width) & ~moments.read[rows]]
        if not len(mine):
            continue
        some = array if len(mine) == len(array) else array.take(mine)
        offsets, data = some.buffers()[1:3]
        start = int(memoryview(offsets).cast("i")[some.offset])
        letters = np.ascontiguousarray(np.frombuffer(data, "u1", len(mine) * width, start).reshape(len(mine), width).T)
        micros, valid = _read(letters, parts, widths)
        moments.micros[mine], moments.read[mine] = np.where(valid, micros, 0), valid
        moments.zoned[mine] = valid & ("z" in fields)


def _plain(parts: Sequence[str]) -> bool:
    return all(part.startswith("%") or (part.isascii() and not part.isdigit()) for part in parts)


def _layouts(fields: Sequence[str]) -> Iterator[tuple[int, ...]]:
    yield from product(*(WIDTHS[field] for field in fields))


def _read(
    letters: "np.ndarray[Any, Any]", parts: Sequence[str], widths: Sequence[int]
) -> "tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]":
    import numpy as np

    rows, at = letters.shape[1], 0
    valid = np.ones(rows, "?")
    value: dict[str, Any] = {"Y": 1900, "m": 1, "d": 1, "H": 0, "M": 0, "S": 0, "f": 0, "z": 0}
    left = list(widths)

    def number(start: int, count: int) -> "np.ndarray[Any, Any]":
        nonlocal valid
        total = np.zeros(rows, "i4")
        for column in range(start, start + count):
            digit = letters[column] - np.uint8(48)  # below zero wraps to above nine
            valid &= digit < 10
            total = total * 10 + digit
        return total

    for part in parts:
        if not part.startswith("%"):
            valid &= letters[at] == ord(part)
            at += 1
            continue
        field, count = part[1], left.pop(0)
        if field == "z":
            value["z"] = _offset(letters, at, count, number)
            valid &= _offset_letters(letters, at, count)
            if count > 1:
                valid &= (number(at + 1, 2) < 24) & (number(at + count - 2, 2) < 60)
        elif field == "f":
            value["f"] = number(at, count) * 10 ** (6 - count)
        elif field == "y":
            short = number(at, count)
            value["Y"] = np.where(short < 69, 2000, 1900) + short
        else:
            value[field] = number(at, count)
        at += count
    return _micros_of(value, valid)


def _offset_letters(letters: "np.ndarray[Any, Any]", at: int, count: int) -> Any:
    if count == 1:
        return letters[at] == ord("Z")
    signed = (letters[at] == ord("+")) | (letters[at] == ord("-"))
    return signed & (letters[at + 3] == ord(":")) if count == 6 else signed


def _offset(letters: "np.ndarray[Any, Any]", at: int, count: int, number: Any) -> Any:
    """Seconds east of UTC."""
    import numpy as np

    if count == 1:
        return 0
    seconds = number(at + 1, 2).astype("i8") * 3600 + number(at + count - 2, 2) * 60
    return np.where(letters[at] == ord("-"), -seconds, seconds)


def _micros_of(value: dict[str, Any], valid: "np.ndarray[Any, Any]") -> "tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]":
    """Microseconds since 1970 by the civil calendar; 31 February is not valid."""
    import numpy as np

    year, month, day = value["Y"], value["m"], value["d"]
    valid = valid & (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1)
    valid &= (value["H"] < 24) & (value["M"] < 60) & (value["S"] < 60)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    lengths = np.array([31, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], "i4")
    last = lengths[np.where((month >= 1) & (month <= 12), month, 0)] + ((month == 2) & leap)
    valid &= day <= last
    shifted = np.where(month <= 2, 1, 0)
    era_year = year - shifted
    age = (month + 9) % 12
    days = (
        365 * np.asarray(era_year, "i8") + era_year // 4 - era_year // 100 + era_year // 400 + (153 * age + 2) // 5 + day - 1
    )
    seconds = (days - _EPOCH_DAYS) * 86_400 + value["H"] * 3600 + value["M"] * 60 + value["S"] - value["z"]
    return seconds * 1_000_000 + value["f"], valid
