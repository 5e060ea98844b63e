"""Why a run failed, by its events: which steps, for what first cause, and whether that closes a gate or may pass by itself."""

from collections.abc import Mapping
from dataclasses import dataclass

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

from orchestrai.defs.platform.patience import passing_errors
from orchestrai.errors import GateClosed


@dataclass(frozen=True)
class Failure:
    """Why a run failed: its failed steps, the reason of the first; whether gates alone were closed, or all of it may pass by itself."""

    steps: tuple[str, ...]
    reason: str
    by_gate: bool = False
    passes: bool = False


def failure_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Failure:
    """Why a run failed. One that ended without a failed step was killed, or could not begin: that may pass."""
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    steps, reasons, gates, passing = [], [], [], []
    last = "it ended without a word"
    for entry in instance.all_logs(run.run_id, of_type=kinds):
        event = entry.dagster_event
        if event is None:
            continue
        if event.event_type != dg.DagsterEventType.STEP_FAILURE:
            last = event.message or last
            continue
        data = event.step_failure_data
        told = data.user_failure_data
        steps.append(str(event.step_key))
        reasons.append((told.description if told else None) or first_cause(data.error) or last)
        gates.append(told is not None and _by_gate(told.metadata))
        passing.append(told is not None and _named(told.metadata, "error") in passing_errors())
    return Failure(tuple(steps), reasons[0] if reasons else last, bool(gates) and all(gates), all(passing))


def _by_gate(metadata: Mapping[str, dg.MetadataValue]) -> bool:
    """Whether a step failed because nothing passed its gate: what was refused is in the ledger then."""
    return bool(_named(metadata, "error") == GateClosed.__name__ or _named(metadata, "refused"))


def _named(metadata: Mapping[str, dg.MetadataValue], name: str) -> object:
    return getattr(metadata.get(name), "value", "")


def first_cause(error: SerializableErrorInfo | None) -> str:
    """What was raised first: Dagster wraps it in errors of its own, which say nothing."""
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else ""


def is_passing(error: SerializableErrorInfo | None) -> bool:
    """Whether it was raised first by what may pass by itself."""
    while error is not None and error.cause is not None:
        error = error.cause
    return error is not None and error.cls_name in passing_errors()
