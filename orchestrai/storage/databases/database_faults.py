"""What is wrong when a database refuses: the same errors and remedies, whether it tells a code or words alone."""

import re
from enum import Enum

from orchestrai.errors import AccessRefused, ConfigError, OrchestraiError, StorageError, TransientStorageError


class DatabaseFault(Enum):
    """What is wrong, whatever a database calls it; the value is the remedy."""

    RIGHTS = "check who asks with which password, and grant it"
    NAME = "correct the name, or grant it"
    MOMENT = "retry"
    OTHER = "check access and settings"

    def error(self, expected: str, found: str, **fields: object) -> OrchestraiError:
        """Our error: "expected `expected`, found what was told: remedy"."""
        return _KINDS[self](f"expected {expected}, found: {found[:400]}: {self.value}", **fields)


_KINDS: dict[DatabaseFault, type[OrchestraiError]] = {
    DatabaseFault.RIGHTS: AccessRefused,
    DatabaseFault.NAME: ConfigError,
    DatabaseFault.MOMENT: TransientStorageError,
    DatabaseFault.OTHER: StorageError,
}
# in this order: a table that somebody may not see is often said not to exist, in one message
_WORDS = {
    DatabaseFault.RIGHTS: (
        "permission denied",
        "access ?denied",
        "insufficient privileges",
        "not authorized to",
        r"does not have (bigquery|storage)\.",
        "must be owner",
        "incorrect username or password",
        "authentication failed",
        "invalid credentials",
        "no password supplied",
        r"pg_hba\.conf",
        "not permitted to log in",
        '(user|role) "[^"]*" does not exist',
    ),
    DatabaseFault.MOMENT: (
        "rateLimitExceeded",
        "quotaExceeded",
        "backendError",
        "internalError",
        "serializable isolation",
        "concurrent (update|transaction)",
        "could not complete because of conflict",
        "query (was )?cancell?ed (on|by) (system|user)'?s? request",
        "connection (was )?(reset|closed|lost)",
        "timed? ?out",
        "is (re)?starting",
        "is (resuming|paused)",
    ),
    DatabaseFault.NAME: (
        "(does not|doesn't) exist",
        "notFound",
        "not found",
        "unrecognized name",
        "invalid identifier",
        "unknown (column|table|database)",
        "syntax error",
        "invalidQuery",
        # a socket that is not there is no name in a statement
        "no such (?!file)",
    ),
}
_PATTERNS = {fault: re.compile("|".join(words), re.IGNORECASE) for fault, words in _WORDS.items()}


def fault_in(words: str) -> DatabaseFault:
    """What a database's words mean, where no code says it."""
    return next((fault for fault, pattern in _PATTERNS.items() if pattern.search(words)), DatabaseFault.OTHER)


def statement_error(expected: str, words: str, **fields: object) -> OrchestraiError:
    """The error for a statement that ended with these words; `expected` completes "expected"."""
    return fault_in(words).error(expected, words, **fields)
