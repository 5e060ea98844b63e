"""Waiting for a statement that a warehouse runs by itself, and the error by which it ended."""

from collections.abc import Callable
from datetime import timedelta

from orchestrai.errors import StorageError
from orchestrai.storage.cloud.job_wait import Clock, Phase, Waiting
from orchestrai.storage.databases.database_faults import statement_error

EVERY, LONGEST = timedelta(seconds=1), timedelta(seconds=20)


def until_done(
    what: str,
    name: str,
    look: Callable[[], tuple[Phase, str, str]],
    stop: Callable[[], None],
    *,
    limit: timedelta,
    clock: Clock,
) -> None:
    """Look until it is over: `look` gives its phase, what to show of it, and the database's own words where they say why it ended.

    Raises what those words mean (AccessRefused, ConfigError, ...), and StorageError for an end without any, and after `limit`.
    """
    words = ""

    def phase() -> tuple[Phase, str]:
        nonlocal words
        found, shown, words = look()
        return found, shown

    waiting = Waiting(limit, EVERY, "look at its queue", clock, longest=LONGEST, patient=True)
    try:
        waiting.until_done(name, phase, stop, what=what)
    except StorageError as exc:
        if not words:
            raise
        raise statement_error(f"{what} {name} to end well", words) from exc
