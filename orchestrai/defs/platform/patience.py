"""What errors of the core mean to Dagster: those that may pass are tried again as declared, everything else fails its step at once.

Every step goes through here, checks too: what a step asks of a store before and after its stage fails as the stage does.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import dagster as dg

from orchestrai.errors import GateClosed, OrchestraiError
from orchestrai.stage.retry_policy import RetryPolicy

StepContext = dg.AssetExecutionContext | dg.AssetCheckExecutionContext


@contextmanager
def patient(context: StepContext, policy: RetryPolicy) -> Iterator[None]:
    """The body of a step: its errors become Dagster's, by the policy of what the step is of."""
    try:
        yield
    except OrchestraiError as error:
        attempt = context.op_execution_context.retry_number
        _log_try(context, attempt, policy, error)
        raise translate(error, attempt, policy) from error


def translate(error: OrchestraiError, attempt: int, policy: RetryPolicy) -> Exception:
    """The one place where errors of the core become Dagster's: transient ones are retried as declared, a closed gate never."""
    if error.retryable and attempt < policy.max:
        return dg.RetryRequested(max_retries=policy.max, seconds_to_wait=policy.wait(attempt))
    title = "Gate closed" if isinstance(error, GateClosed) else type(error).__name__
    return dg.Failure(description=f"{title}: {error.message}", metadata={"error": type(error).__name__}, allow_retries=False)


def passing_errors() -> frozenset[str]:
    """The names of the errors that may pass by themselves, as failed steps are marked with them."""
    names, left = set(), [OrchestraiError]
    while left:
        kind = left.pop()
        left += kind.__subclasses__()
        names |= {kind.__name__} if kind.retryable else set()
    return frozenset(names)


def _log_try(context: StepContext, attempt: int, policy: RetryPolicy, error: OrchestraiError) -> None:
    """Say in the run's log which try failed and when the next one begins; nothing for what is tried once only."""
    if not error.retryable:
        return
    failed = f"try {attempt + 1} of {policy.max + 1} failed ({type(error).__name__}: {error.message})"
    if attempt >= policy.max:
        context.log.error(f"{failed}; it was the last")
        return
    wait = timedelta(seconds=policy.wait(attempt))
    context.log.warning(f"{failed}; the next begins in {wait}, at {datetime.now(UTC) + wait:%H:%M:%S} UTC")
