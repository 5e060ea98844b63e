"""Who does something: the person that the machine knows, and from which interface; kept in the receipts of what they do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Literal

from orchestrai.core.canonical import JsonValue

KnownBy = Literal["os user", "cloud identity", "proxy", "schedule", "sensor", "nobody"]
Interface = Literal["command line", "dagster"]


@dataclass(frozen=True)
class Actor:
    """A person or what acts for one. `claimed` is the name that somebody gave themselves: it is kept, and proves nothing."""

    person: str
    known_by: KnownBy
    interface: Interface
    claimed: str = ""

    def as_json(self) -> dict[str, JsonValue]:
        """The form in which receipts carry it."""
        body: dict[str, JsonValue] = {"person": self.person, "known_by": self.known_by, "interface": self.interface}
        return body | ({"claimed": self.claimed} if self.claimed else {})


_ACTING: ContextVar[Callable[[], Actor] | None] = ContextVar("_ACTING", default=None)


@contextmanager
def acting(actor: Actor | Callable[[], Actor]) -> Iterator[None]:
    """Whatever is published within was done by this actor; one that has to be asked for is asked when something is first signed."""
    token = _ACTING.set(cache(actor) if callable(actor) else lambda: actor)
    try:
        yield
    finally:
        _ACTING.reset(token)


def actor_fact() -> dict[str, JsonValue]:
    """The fact `actor` of a receipt; nothing where a library alone is at work."""
    actor = _ACTING.get()
    return {} if actor is None else {"actor": actor().as_json()}


def os_user() -> str:
    """The user that the kernel says runs this process, whatever the environment says; empty for one without a name."""
    import os
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        # a container's user may have no name
        return ""


def said_by(given: str | None, known: str, fallback: str) -> str:
    """Who decides, for a signed record: the known person, with a name that they gave beside it as claimed; else that name."""
    if not known:
        return given or fallback
    return f"{known} (claims to be {given})" if given and given != known else known
