"""What a warehouse's reason for a failed statement means: the same errors as for a database that is asked directly."""

import re

from orchestrai.errors import AccessRefused, ConfigError, OrchestraiError, StorageError, TransientStorageError

# in this order: a table that somebody may not see is often said not to exist, in one message
_MEANINGS: tuple[tuple[re.Pattern[str], type[OrchestraiError], str], ...] = (
    (
        re.compile(
            r"(?i)permission denied|access ?denied|insufficient privileges|not authorized to|does not have (bigquery|storage)\.|"
            r"must be owner|password authentication failed|incorrect username or password|authentication failed|invalid credentials"
        ),
        AccessRefused,
        "check who asks, and grant it",
    ),
    (
        re.compile(
            r"(?i)rateLimitExceeded|quotaExceeded|backendError|internalError|serializable isolation|concurrent (update|transaction)|"
            r"could not complete because of conflict|query (was )?cancell?ed (on|by) (system|user)'?s? request|connection (was )?"
            r"(reset|closed|lost)|timed? ?out|is (re)?starting|is (resuming|paused)"
        ),
        TransientStorageError,
        "retry",
    ),
    (
        re.compile(
            r"(?i)does not exist|notFound|not found|unrecognized name|invalid identifier|unknown (column|table|database)|"
            r"syntax error|invalidQuery|no such"
        ),
        ConfigError,
        "correct the name, or grant it",
    ),
)


def statement_error(what: str, reason: str, **fields: object) -> OrchestraiError:
    """The error for a statement that ended with a reason; `what` completes "expected"."""
    for pattern, kind, remedy in _MEANINGS:
        if pattern.search(reason):
            return kind(f"expected {what}, found {reason[:400]}: {remedy}", **fields)
    return StorageError(f"expected {what}, found {reason[:400]}: look at its history there", **fields)
