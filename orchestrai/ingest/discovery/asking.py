"""Which partitions to ask a run for: at most one open request each, and again with back-off for what no run has brought in.

What was asked for, when and how often, is read from the records of runs. A run that never began left none: it is asked for again.
"""

from base64 import urlsafe_b64encode
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b

LONGEST = timedelta(hours=1)
DIGEST_LENGTH = 8


def digest(identities: Iterable[int]) -> str:
    """A short name for a set of arrivals, DIGEST_LENGTH characters."""
    text = b"".join(identity.to_bytes(8, "big", signed=True) for identity in sorted(identities))
    return urlsafe_b64encode(blake2b(text, digest_size=6).digest()).decode()


@dataclass(frozen=True)
class PastRun:
    """A run that was asked for: its partitions, the digest of what each waited for where that was noted, when, if it may end well."""

    partitions: Sequence[str]
    digests: Sequence[str]
    asked: datetime
    is_open: bool


@dataclass(frozen=True)
class Asking:
    """What to ask for now, and which tries of it failed before; `open` are left to runs that are going, `later` to a later tick."""

    due: Mapping[str, str]
    attempt: int
    open: tuple[str, ...] = ()
    later: tuple[str, ...] = ()


def back_off(first: timedelta, tries: int) -> timedelta:
    """How long after the last of so many tries the next one may follow: twice as long each time, an hour at most."""
    return min(first * 2 ** min(tries - 1, 20), LONGEST) if tries else timedelta()


def choose(
    due: Mapping[str, Collection[int]], runs: Sequence[PastRun], *, now: datetime, first: timedelta, limit: int
) -> Asking:
    """Choose among what waits, at most about `limit` arrivals at once.

    A partition is asked for again when its arrivals are others than those that were tried, or when the back-off is over.
    """
    going = {key for run in runs if run.is_open for key in run.partitions}
    tries = _tries(runs)
    chosen: dict[str, str] = {}
    later: list[str] = []
    attempts, arrivals = 0, 0
    for key, identities in sorted(due.items()):
        if key in going:
            continue
        name = digest(identities)
        count, last = tries.get((key, name), (0, now))
        if (chosen and arrivals + len(identities) > limit) or (count and now - last < back_off(first, count)):
            later.append(key)
            continue
        chosen[key] = name
        arrivals += len(identities)
        attempts = max(attempts, count)
    return Asking(chosen, attempts + 1, tuple(sorted(going & set(due))), tuple(later))


def _tries(runs: Sequence[PastRun]) -> dict[tuple[str, str], tuple[int, datetime]]:
    tries: dict[tuple[str, str], tuple[int, datetime]] = {}
    for run in runs:
        for place in () if run.is_open else zip(run.partitions, run.digests, strict=False):
            count, last = tries.get(place, (0, run.asked))
            tries[place] = count + 1, max(last, run.asked)
    return tries
