"""Alerts to a topic of AWS SNS."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from orchestrai.core.canonical import sha256_hex
from orchestrai.observability.alerts.alert_changes import Message
from orchestrai.observability.alerts.wording import Wording
from orchestrai.storage.cloud.aws import aws_client
from orchestrai.storage.cloud.cloud_errors import aws_errors

SUBJECT_CHARACTERS = 100
Clients = Callable[[str, str], Any]


def _client(service: str, region: str) -> Any:
    return aws_client(service, region=region)


@dataclass(frozen=True)
class Topic:
    """A topic by its ARN; who may publish to it is what AWS says of this process."""

    arn: str
    clients: Clients = field(default=_client, compare=False)

    def send(self, message: Message, wording: Wording) -> None:
        """Publish it; a FIFO topic folds a repeat by its key."""
        headline = " ".join(wording.headline(message).encode("ascii", "replace").decode().split())
        texts = {"default": wording.text(message), "sqs": json.dumps(wording.document(message), sort_keys=True)}
        attributes = {
            "severity": message.alert.condition.severity,
            "change": message.change,
            "kind": message.alert.condition.kind,
        }
        once = {"MessageGroupId": message.alert.condition.id, "MessageDeduplicationId": sha256_hex(message.key.encode())}
        with aws_errors(f"AWS to publish to {self.arn}"):
            self.clients("sns", self.arn.split(":")[3]).publish(
                TopicArn=self.arn,
                Subject=headline[:SUBJECT_CHARACTERS],
                Message=json.dumps(texts),
                MessageStructure="json",
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": str(value)} for name, value in attributes.items()
                },
                **(once if self.arn.endswith(".fifo") else {}),
            )
