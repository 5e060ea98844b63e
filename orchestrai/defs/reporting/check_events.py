"""One evaluation per check and run: whether everything stands that the run was asked for, each partition's verdict in its metadata.

A check has no partitions in Dagster. What a gate refused before and nobody has answered since counts too, so that the newest evaluation
says what the ledger says of the asset, and not only of the partitions that a run happened to touch.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import dagster as dg

from orchestrai.core.verdict import Verdict
from orchestrai.defs.reporting.event_metadata import left_out_by, plain
from orchestrai.ledger.report import PartitionOutcome, StageReport, shown_verdicts
from orchestrai.stage.outcomes import blocked

# rows of verdicts that an event carries; `orchestrai gate list` has them all
MOST_VERDICTS = 200
# partition -> check -> what it said, of gates that are closed
Closed = Mapping[str, Mapping[str, str]]


def partitioned_evaluations(
    specs: Mapping[str, dg.AssetCheckSpec], report: StageReport, closed: Closed, *, blocking: bool
) -> Iterator[dg.AssetCheckEvaluation]:
    """The evaluations of an asset that is cut by time; with `blocking` a closed gate fails the step that yields them."""
    for name, spec in specs.items():
        judged = [(outcome.partition, _verdict_of(outcome, name)) for outcome in report.outcomes]
        finding = _finding([(key, verdict) for key, verdict in judged if verdict is not None], name, report, closed)
        yield dg.AssetCheckEvaluation(
            asset_key=spec.asset_key,
            check_name=name,
            # where other partitions were published they must go on, and the check `complete` fails the run instead
            blocking=blocking and spec.blocking,
            **finding,
        )


def whole_results(names: Sequence[str], report: StageReport, *, red: bool = False) -> Iterator[dg.AssetCheckResult]:
    """One result per check over everything the stage did, the worst one."""
    verdicts = {v.check: v for v in _worst_last([v for outcome in report.outcomes for v in shown_verdicts(outcome)])}
    for name in names:
        verdict = verdicts.get(name)
        yield dg.AssetCheckResult(
            check_name=name, **_one(replace(verdict, severity="error") if verdict and red else verdict)
        )


def _verdict_of(outcome: PartitionOutcome, name: str) -> Verdict | None:
    """What a check says of a partition; of one that a person left out, or that an earlier gate refused, it says that: it passed nothing."""
    found = next((verdict for verdict in shown_verdicts(outcome) if verdict.check == name), None)
    stopped = blocked(outcome)
    # one fault is red once, at the gate that found it
    return (
        found
        or left_out_by(outcome)
        or (replace(stopped, severity="warn", message=f"blocked: {stopped.message}") if stopped else None)
    )


def _finding(judged: Sequence[tuple[str, Verdict]], name: str, report: StageReport, closed: Closed) -> dict[str, Any]:
    asked = {outcome.partition for outcome in report.outcomes}
    before = {key: said[name] for key, said in closed.items() if key not in asked and name in said}
    failed = [(key, verdict) for key, verdict in judged if not verdict.passed]
    if len(report.outcomes) == 1 and not before:
        return _one(judged[0][1] if judged else None)
    if not judged and not before:
        return _one(None)
    worst = _worst_last([verdict for _, verdict in failed])
    wrong = bool(before) or any(verdict.severity == "error" for verdict in worst)
    lines = [*(f"{key}: {verdict.message}" for key, verdict in failed), *(f"{key}: {said}" for key, said in before.items())]
    metadata: dict[str, Any] = {"partitions": len(judged), "passed": len(judged) - len(failed)}
    if failed or before:
        metadata["verdicts"] = _table(failed, before)
    if before:
        metadata["refused_before"] = len(before)
    return {
        "passed": not failed and not before,
        "severity": dg.AssetCheckSeverity.ERROR if wrong or not failed else dg.AssetCheckSeverity.WARN,
        "metadata": metadata,
        "description": "; ".join(lines[:3]) + (f"; and {len(lines) - 3} more" if len(lines) > 3 else "") or None,
    }


def _table(failed: Sequence[tuple[str, Verdict]], before: Mapping[str, str]) -> dg.TableMetadataValue:
    rows = [(key, verdict.severity, verdict.message) for key, verdict in failed]
    rows += [(key, "error", said) for key, said in before.items()]
    names = ("partition", "severity", "message")
    records = [dg.TableRecord(dict(zip(names, row, strict=True))) for row in sorted(rows)[-MOST_VERDICTS:]]
    return dg.MetadataValue.table(records, dg.TableSchema(columns=[dg.TableColumn(name, "string") for name in names]))


def _one(verdict: Verdict | None) -> dict[str, Any]:
    if verdict is None:
        # Dagster wants a result of every check; what was not judged is in no receipt, and is said to be so
        return {"passed": True, "metadata": {"orchestrai/judged": False}, "description": "nothing to judge"}
    severity = dg.AssetCheckSeverity.ERROR if verdict.severity == "error" else dg.AssetCheckSeverity.WARN
    metadata = {"message": verdict.message, **{key: plain(value) for key, value in verdict.details.items()}}
    return {"passed": verdict.passed, "severity": severity, "metadata": metadata, "description": verdict.message}


def _worst_last(verdicts: Sequence[Verdict]) -> list[Verdict]:
    return sorted(verdicts, key=lambda verdict: (verdict.closes_gate, not verdict.passed))
