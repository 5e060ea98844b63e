"""The event queues of the clouds: SQS, Azure storage queues and Pub/Sub, each behind `ArrivalQueue`.

Clients are arguments.
"""

import base64
import binascii
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from orchestrai.errors import ConfigError, MissingExtra, StorageError, TransientStorageError
from orchestrai.ingest.discovery.queues.notifications import parse_event_grid, parse_gcs, parse_s3
from orchestrai.ingest.discovery.queues.queue import WAIT_SECONDS, ArrivalQueue, Message
from orchestrai.project.connection_spec import Connection
from orchestrai.project.in_force import connection_for
from orchestrai.project.url_cover import named
from orchestrai.storage.cloud.aws import aws_client
from orchestrai.storage.cloud.azure import storage_credential
from orchestrai.storage.cloud.cloud_errors import aws_errors, azure_errors, google_errors
from orchestrai.storage.cloud.connection import StoreOptions
from orchestrai.storage.cloud.google import client_settings


@dataclass(frozen=True)
class SqsQueue:
    """An SQS queue that S3 writes to: direct, through SNS, or through EventBridge. `client` is boto3's."""

    client: Any
    url: str

    def receive(self, limit: int, wait: float = WAIT_SECONDS) -> list[Message]:
        messages: list[Message] = []
        while len(messages) < limit:
            answer = self._call(
                self.client.receive_message,
                MaxNumberOfMessages=min(10, limit - len(messages)),
                WaitTimeSeconds=0 if messages else min(20, max(0, round(wait))),
            )
            got = answer.get("Messages", [])
            messages += [Message(message["ReceiptHandle"], parse_s3(message["Body"])) for message in got]
            if not got:
                break
        return messages

    def acknowledge(self, handles: Sequence[str]) -> None:
        for start in range(0, len(handles), 10):
            entries = [{"Id": str(i), "ReceiptHandle": handle} for i, handle in enumerate(handles[start : start + 10])]
            failed = self._call(self.client.delete_message_batch, Entries=entries).get("Failed", [])
            if failed:
                code, fault = failed[0].get("Code"), failed[0].get("SenderFault")
                raise (StorageError if fault else TransientStorageError)(
                    f"expected SQS to forget {len(entries)} messages, found {len(failed)} kept ({code}): they will come again"
                )

    def _call(self, call: Any, **arguments: Any) -> Any:
        with aws_errors(f"the queue {self.url} to answer", "check queue and policy"):
            return call(QueueUrl=self.url, **arguments)


@dataclass(frozen=True)
class AzureQueue:
    """An Azure storage queue that Event Grid writes to; `client` is azure-storage-queue's QueueClient.

    A message stays hidden for `hidden` seconds after it was received, then comes again unless acknowledged.
    """

    client: Any
    hidden: int = 300
    sleep: Callable[[float], None] = time.sleep

    def receive(self, limit: int, wait: float = WAIT_SECONDS) -> list[Message]:
        messages = self._received(limit)
        if not messages and wait > 0:
            # the service has no long poll
            self.sleep(wait)
            messages = self._received(limit)
        return messages

    def _received(self, limit: int) -> list[Message]:
        def take() -> list[Any]:
            return list(
                self.client.receive_messages(
                    messages_per_page=min(32, limit), visibility_timeout=self.hidden, max_messages=limit
                )
            )

        return [Message(f"{got.id} {got.pop_receipt}", parse_event_grid(_decoded(got.content))) for got in self._call(take)]

    def acknowledge(self, handles: Sequence[str]) -> None:
        from azure.core.exceptions import ResourceNotFoundError

        for handle in handles:
            identity, _, receipt = handle.partition(" ")

            def forget(identity: str = identity, receipt: str = receipt) -> None:
                try:
                    self.client.delete_message(identity, receipt)
                except ResourceNotFoundError as exc:
                    # the queue itself missing is another matter
                    if getattr(exc, "error_code", "") not in ("MessageNotFound", None):
                        raise

            self._call(forget)

    def _call(self, call: Callable[[], Any]) -> Any:
        with azure_errors(f"the queue {getattr(self.client, 'queue_name', '')} to answer", "check queue and access"):
            return call()


def _decoded(content: str | bytes) -> str:
    """Event Grid writes base64; other writers may write the JSON itself."""
    text = content.decode("utf-8", "replace") if isinstance(content, bytes) else content
    if text.lstrip().startswith(("{", "[")):
        return text
    try:
        return base64.b64decode(text, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return text


@dataclass(frozen=True)
class PubSubQueue:
    """A Pub/Sub subscription that Cloud Storage writes to; `client` is google-cloud-pubsub's SubscriberClient.

    `subscription` is `projects/<project>/subscriptions/<name>`.
    """

    client: Any
    subscription: str

    def receive(self, limit: int, wait: float = WAIT_SECONDS) -> list[Message]:
        from google.api_core.exceptions import DeadlineExceeded

        request = {"subscription": self.subscription, "max_messages": min(limit, 1000)}

        def pull() -> Any:
            try:
                return self.client.pull(request=request, timeout=max(wait, 0.1))
            except DeadlineExceeded:
                # silence until the deadline: nothing there, or nobody there? An answer at once tells which
                return self.client.pull(request={**request, "return_immediately": True}, timeout=30.0)

        return [
            Message(got.ack_id, parse_gcs(dict(got.message.attributes), bytes(got.message.data).decode("utf-8", "replace")))
            for got in self._call(pull).received_messages
        ]

    def acknowledge(self, handles: Sequence[str]) -> None:
        for start in range(0, len(handles), 500):
            request = {"subscription": self.subscription, "ack_ids": list(handles[start : start + 500])}
            self._call(partial(self.client.acknowledge, request=request, timeout=30.0))

    def _call(self, call: Callable[[], Any]) -> Any:
        with google_errors(f"{self.subscription} to answer", "check name and access"):
            return call()


def open_queue(url: str) -> ArrivalQueue:
    """Open a queue by the connection that its URL names (`sqs+name://`) or that covers it; raises ConfigError, MissingExtra.

    `sqs://sqs.<region>.amazonaws.com/<account>/<name>`, `azure-queue://<account>.queue.core.windows.net/<name>` or
    `pubsub://<project>/<subscription>`; without TLS on loopback only.
    """
    plain, _ = named(url)
    parts = urlsplit(plain)
    path = parts.path.strip("/")
    if "@" in parts.netloc or not parts.netloc or not path or parts.query:
        raise ConfigError("expected a queue such as sqs://host/account/name without credentials, found another: correct it")
    host = parts.hostname or ""
    secure = "http" if host in ("127.0.0.1", "localhost") else "https"
    if parts.scheme == "pubsub":
        return _pubsub(f"projects/{parts.netloc}/subscriptions/{path}", connection_for(url, "gcp"))
    if parts.scheme == "azure-queue":
        return _azure_queue(f"{secure}://{parts.netloc}/{path}", host, connection_for(url, "azure"))
    if parts.scheme == "sqs":
        return _sqs(f"{secure}://{parts.netloc}", path, host, connection_for(url, "aws"))
    raise ConfigError(f"expected a queue of sqs://, azure-queue:// or pubsub://, found {parts.scheme}: correct it")


def _sqs(base: str, path: str, host: str, connection: Connection) -> SqsQueue:
    """The queue at its own host. One of Amazon's is left to the connection or the variables, which may lead to an emulator instead."""
    named_by_amazon = host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
    endpoint = connection.endpoint_of("sqs") or (None if named_by_amazon else base)
    region = _region(host) or connection.region
    options = StoreOptions(endpoint_url=endpoint, region=region, connection=connection.declared)
    return SqsQueue(aws_client("sqs", options=options), f"{base}/{path}")


def _pubsub(subscription: str, connection: Connection) -> PubSubQueue:
    try:
        from google.cloud.pubsub_v1 import SubscriberClient
    except ImportError as exc:
        raise MissingExtra("expected google-cloud-pubsub, found it absent: install orchestrai[pubsub]") from exc
    return PubSubQueue(SubscriberClient(**client_settings(connection, "pubsub")), subscription)


def _azure_queue(url: str, host: str, connection: Connection) -> AzureQueue:
    from azure.storage.queue import QueueClient

    # an emulator has its account in the path
    account = host.partition(".")[0] if ".queue." in host else urlsplit(url).path.strip("/").partition("/")[0]
    options = StoreOptions(account_name=account, connection=connection.declared).for_azure(os.environ)
    return AzureQueue(QueueClient.from_queue_url(url, credential=storage_credential(options)))


def _region(host: str) -> str | None:
    parts = host.split(".")
    return parts[1] if parts[0] == "sqs" and len(parts) > 2 else None
