"""Where a session gets its name and its time."""

import os
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The present moment, UTC-aware."""
    return datetime.now(UTC)


def new_session_id() -> str:
    """A name no other session has: 96 random bits."""
    return os.urandom(12).hex()


def describe(value: object) -> str:
    """A short form of a version for people: the first 12 digits."""
    text = str(value)
    return text.removeprefix("sha256:")[:12]
