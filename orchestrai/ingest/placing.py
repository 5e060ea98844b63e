"""Which partition a landed object belongs to."""

import fnmatch
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial

from orchestrai.contracts.calendar import WHOLE, Grain, partition_of
from orchestrai.ingest.source import SourceSpec
from orchestrai.storage.base import ObjectInfo, Store

_DAY = re.compile(r"(?<!\d)(\d{4})[-_/.]?(\d{2})[-_/.]?(\d{2})(?:[T_\-/. ]?(\d{2})(?:[-:_h]?(\d{2}))?)?(?!\d{3})")
_MONTH = re.compile(r"(?<!\d)(\d{4})[-_/.]?(\d{2})(?!\d)")
_LABELS = re.compile(r"(?:year|month|day|hour|date|dt|y|m|d|h)=", re.IGNORECASE)


def listed(landing: Store, source: SourceSpec) -> Iterator[ObjectInfo]:
    """The objects of a landing that are data: hidden names, `_SUCCESS` and the like and other patterns are passed over."""
    for info in landing.list():
        hidden = any(part.startswith((".", "_")) for part in info.key.split("/"))
        if not hidden and fnmatch.fnmatchcase(info.key, source.pattern):
            yield info


def place(source: SourceSpec, grain: Grain, info: ObjectInfo) -> str | None:
    """The partition of an object by its name, path or time; None when its name tells none."""
    if grain == "all":
        return WHOLE
    if source.partition_from == "modified":
        return partition_of(info.modified, grain)
    name = info.key.rsplit("/", 1)[-1]
    if source.partition_format:
        stem = name.split(".")[0]
        text = info.key if source.partition_from == "path" else stem
        return _key(lambda: datetime.strptime(text, source.partition_format).replace(tzinfo=UTC), grain)
    return _find(_LABELS.sub("", info.key) if source.partition_from == "path" else name, grain)


def _key(moment: Callable[[], datetime], grain: Grain) -> str | None:
    try:
        return partition_of(moment(), grain)
    except ValueError:
        return None


def _find(text: str, grain: Grain) -> str | None:
    for match in _DAY.finditer(text):
        year, month, day, hour, minute = (int(part) if part else None for part in match.groups())
        if year is None or month is None or day is None or (grain == "hour" and hour is None):
            continue
        clock = (hour or 0, minute or 0) if grain == "hour" else (0, 0)
        found = _key(partial(datetime, year, month, day, clock[0], clock[1], tzinfo=UTC), grain)
        if found is not None:
            return found
    month_only = _MONTH.search(text) if grain == "month" else None
    return _key(partial(datetime, int(month_only[1]), int(month_only[2]), 1, tzinfo=UTC), grain) if month_only else None
