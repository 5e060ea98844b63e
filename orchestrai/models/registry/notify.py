"""Telling people of a candidate that was not promoted."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrai.core.verdict import Verdict
from orchestrai.errors import ConfigError, StorageError
from orchestrai.ledger.report import StageReport
from orchestrai.models.spec import ModelSpec
from orchestrai.storage.cloud.aws import aws_client
from orchestrai.storage.cloud.cloud_errors import aws_errors

SUBJECT_CHARACTERS = 100
Clients = Callable[[str, str], Any]


def _topics(service: str, region: str) -> Any:
    return aws_client(service, region=region)


def rejection(report: StageReport) -> Mapping[str, Any] | None:
    """What to say of a refused promotion; None when it was not refused."""
    if not report.refused:
        return None
    closed = [verdict for outcome in report.refused for verdict in outcome.verdicts if verdict.closes_gate]
    return {
        "event": "candidate_rejected",
        "asset": report.asset,
        "candidate_version": report.facts.get("model_version"),
        "champion_version": report.version,
        "reasons": [f"{verdict.check}: {verdict.message}" for verdict in closed],
    }


def told_of_rejection(spec: ModelSpec, report: StageReport, *, clients: Clients | None = None) -> StageReport:
    """Tell the declared topics of a refused promotion; the report then also says which of them could not be told."""
    problems = notify_rejection(spec, report, clients=clients or _topics)
    if not problems:
        return report
    untold = Verdict("notified", False, "; ".join(problems))
    return replace(report, outcomes=tuple(replace(one, verdicts=(*one.verdicts, untold)) for one in report.outcomes))


def notify_rejection(spec: ModelSpec, report: StageReport, *, clients: Clients = _topics) -> Sequence[str]:
    """Publish a refused promotion to every declared topic; returns what could not be told, a line per topic.

    A topic that fails never hides the refusal itself, so nothing is raised for it.
    """
    body = rejection(report)
    if body is None:
        return ()
    return [problem for url in spec.notify for problem in _publish(url.removeprefix("sns://"), spec, body, clients)]


def _publish(arn: str, spec: ModelSpec, body: Mapping[str, Any], clients: Clients) -> Sequence[str]:
    more = {"MessageGroupId": spec.name, "MessageDeduplicationId": str(body["candidate_version"])[-64:]}
    try:
        with aws_errors(f"AWS to publish to {arn}"):
            clients("sns", arn.split(":")[3]).publish(
                TopicArn=arn,
                Subject=f"orchestrai: {spec.name} was not promoted"[:SUBJECT_CHARACTERS],
                Message=json.dumps(body, sort_keys=True),
                **(more if arn.endswith(".fifo") else {}),
            )
    except (StorageError, ConfigError) as exc:
        return [exc.message]
    return []
