"""Parts of a report, read one after another: one that cannot be read does not hide the others."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from orchestrai.errors import OrchestraiError

S = TypeVar("S")
T = TypeVar("T")


class ReportParts:
    """Reads parts and notes those that cannot be read; a `strict` one raises what kept it from reading."""

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self.unreadable: dict[str, str] = {}

    def each(self, kind: str, subjects: Mapping[str, S], look: Callable[[S], T]) -> dict[str, T]:
        """What a look at each subject gives, by its name; one that cannot be looked at is noted with the reason, and left out."""
        found: dict[str, T] = {}
        for name, subject in subjects.items():
            try:
                found[name] = look(subject)
            except OrchestraiError as error:
                if self.strict:
                    raise
                self.unreadable[f"{kind} {name}".rstrip()] = error.message
        return found

    def one(self, name: str, look: Callable[[], T], otherwise: T) -> T:
        """As `each`, of one thing, with what stands in its place."""
        return self.each(name, {"": None}, lambda _: look()).get("", otherwise)
