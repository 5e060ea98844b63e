"""What a verification found: each check with how often it was done, each problem, and what cannot be proven from here."""

from dataclasses import dataclass, field
from typing import Any

from orchestrai.errors import (
    DigestMismatch,
    IntegrityError,
    MissingObject,
    NotReceipted,
    OrchestraiError,
    SignatureInvalid,
)

# which check a broken link belongs to, most special first
_KINDS: tuple[tuple[type[OrchestraiError], str], ...] = (
    (SignatureInvalid, "signatures"),
    (DigestMismatch, "hashes"),
    (MissingObject, "records"),
    (NotReceipted, "receipts"),
    (IntegrityError, "lineage"),
)


@dataclass(frozen=True)
class Check:
    """One kind of check: how many were done, and whether all of them held."""

    name: str
    count: int
    passed: bool
    about: str


@dataclass(frozen=True)
class Problem:
    """Something that does not verify: which check, where, and why."""

    check: str
    where: str
    message: str


@dataclass
class Problems:
    """Gathers what does not verify, so that one broken record does not hide the next."""

    found: list[Problem] = field(default_factory=list)

    def add(self, where: str, error: OrchestraiError) -> None:
        """Note a broken link; the kind of error says which check it fails."""
        self.say(next((name for kind, name in _KINDS if isinstance(error, kind)), "lineage"), where, error.message)

    def say(self, check: str, where: str, message: str) -> None:
        """Note a problem under a check."""
        problem = Problem(check, where, message)
        if problem not in self.found:
            self.found.append(problem)

    def check(self, name: str, count: int, about: str) -> Check:
        """The check of this name, as it came out."""
        return Check(name, count, not any(problem.check == name for problem in self.found), about)


@dataclass(frozen=True)
class Verification:
    """The outcome; `ok` is True when nothing that was checked failed. `unprovable` says what no check here can show."""

    file: str
    sha256: str
    asset: str
    version: str
    checks: tuple[Check, ...]
    problems: tuple[Problem, ...]
    unprovable: tuple[str, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """True when every check held."""
        return bool(self.asset) and not self.problems

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            **self.__dict__,
            "ok": self.ok,
            "checks": [check.__dict__ for check in self.checks],
            "problems": [problem.__dict__ for problem in self.problems],
        }
