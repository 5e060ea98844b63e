"""Landing sensors behind event queues: SQS (moto), an Azure storage queue (Azurite), Pub/Sub (a fake): once, and nothing lost."""

import base64
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from orchestrai.defs.sensors import queue_sensors
from orchestrai.demo.demo_landing import LandingSummary
from orchestrai.errors import StorageError
from orchestrai.ingest.dead_letter_list import list_letters
from orchestrai.ingest.discovery.queues.queue_services import PubSubQueue
from orchestrai.pipeline.load import SHIPPED
from orchestrai_tests.defs.conftest import Project
from orchestrai_tests.defs.deploying import Daemon, deployed, keys_of, launch, record
from orchestrai_tests.ingest.test_queues import Subscriber
from orchestrai_tests.servers.azurite import AzuriteServer
from orchestrai_tests.servers.s3 import S3Server

SENSOR, JOB, RAW = "churn_orders_landing_sensor", "churn_orders_ingest", "churn/orders/raw_events"


class Clock:
    """Our clock, moved by the test; it begins a little ahead of the servers', which stamp objects and events as they come."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC) + timedelta(minutes=1)

    def __call__(self) -> datetime:
        return self.now


def churn(folder: Path, url: str, queue: str) -> Path:
    """The shipped pipeline with notifications."""
    folder.mkdir()
    for path in (SHIPPED / "churn").iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    declared = yaml.safe_load((folder / "pipeline.yaml").read_text())
    declared["datasets"][0]["source"] |= {"url": url, "notifications": {"queue": queue, "reconcile_every": "1h"}}
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(declared))
    return folder


@dataclass
class Bucket:
    """A bucket whose events reach an SQS queue."""

    server: S3Server
    name: str
    queue: str

    def put(self, name: str, data: bytes) -> None:
        self.server.client().put_object(Bucket=self.name, Key=f"in/{name}", Body=data)

    @property
    def waiting(self) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        told = self.server.client("sqs").get_queue_attributes(QueueUrl=self.queue, AttributeNames=names)["Attributes"]
        return sum(int(count) for count in told.values())


@pytest.fixture
def bucket(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)
    sqs, bucket = moto.client("sqs"), moto.bucket()
    url = sqs.create_queue(QueueName=f"q-{uuid.uuid4().hex[:8]}", Attributes={"VisibilityTimeout": "0"})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    configuration = {"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]}
    moto.client().put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=configuration)
    monkeypatch.setattr(queue_sensors, "MAX_OBJECTS_PER_TICK", 20)  # a queue whose messages stay visible never ends
    return Bucket(moto, bucket, url)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def project(tmp_path: Path, bucket: Bucket, clock: Clock, landing: tuple[Path, LandingSummary]) -> Iterator[Project]:
    queue = "sqs://" + bucket.queue.partition("://")[2].replace("localhost", "127.0.0.1")
    folder = churn(tmp_path / "churn", f"s3://{bucket.name}/in", queue)
    with deployed(tmp_path / "home", landing[1], {}, folders=[folder], clock=clock) as found:
        yield found


@pytest.fixture
def orders(landing: tuple[Path, LandingSummary]) -> Path:
    return landing[0] / "orders"


pytestmark = pytest.mark.emulator


def test_a_message_is_deleted_only_after_the_ledger_has_its_object(
    project: Project, bucket: Bucket, clock: Clock, orders: Path
) -> None:
    daemon = Daemon(project, SENSOR)
    daemon.tick()
    for day in ("2026-10-05", "2026-10-06"):
        bucket.put(f"{day}.csv", (orders / f"{day}.csv").read_bytes())
    (request,) = daemon.tick()
    assert keys_of(request) == ("2026-10-05", "2026-10-06")
    record(project, JOB, request, dg.DagsterRunStatus.STARTING)
    assert daemon.tick() == [] and bucket.waiting == 2
    assert launch(project, JOB, request).success
    assert daemon.tick() == [] and bucket.waiting == 0
    assert set(project.runtime.ledger.open(RAW).partitions) == {"2026-10-05", "2026-10-06"}


def test_what_a_failed_run_left_is_asked_for_again(project: Project, bucket: Bucket, clock: Clock, orders: Path) -> None:
    daemon = Daemon(project, SENSOR)
    daemon.tick()
    bucket.put("2026-10-05.csv", (orders / "2026-10-05.csv").read_bytes())
    for _ in range(2):  # what never began left no record
        (request,) = daemon.tick()
    record(project, JOB, request, dg.DagsterRunStatus.FAILURE)
    assert daemon.tick() == [] and bucket.waiting == 1
    clock.now += timedelta(minutes=1)
    (request,) = daemon.tick()
    assert launch(project, JOB, request).success
    assert daemon.tick() == [] and bucket.waiting == 0


def test_a_message_of_an_object_that_is_gone_leaves_with_the_whole_look(
    project: Project, bucket: Bucket, clock: Clock, orders: Path
) -> None:
    daemon = Daemon(project, SENSOR)
    daemon.tick()
    bucket.put("2026-10-05.csv", (orders / "2026-10-05.csv").read_bytes())
    bucket.server.client().delete_object(Bucket=bucket.name, Key="in/2026-10-05.csv")
    clock.now += timedelta(hours=1)
    assert daemon.tick() == [] and bucket.waiting == 0


def test_what_the_queue_lost_is_found_by_the_reconciling_listing(
    project: Project, bucket: Bucket, clock: Clock, orders: Path
) -> None:
    daemon = Daemon(project, SENSOR)
    daemon.tick()
    bucket.put("2026-10-05.csv", (orders / "2026-10-05.csv").read_bytes())
    bucket.put("2026-10-06.csv", (orders / "2026-10-06.csv").read_bytes())
    bucket.server.client("sqs").purge_queue(QueueUrl=bucket.queue)
    assert daemon.tick() == []
    clock.now += timedelta(hours=1)
    (request,) = daemon.tick()
    assert keys_of(request) == ("2026-10-05", "2026-10-06")
    assert launch(project, JOB, request).success
    clock.now += timedelta(hours=1)
    assert daemon.tick() == []


def test_a_refused_day_and_a_message_nobody_understands_leave_the_queue_and_are_kept(
    project: Project, bucket: Bucket, clock: Clock, orders: Path
) -> None:
    bad = project.landed.bad_day
    daemon = Daemon(project, SENSOR)
    bucket.put(f"{bad}.csv", (orders / f"{bad}.csv").read_bytes())
    bucket.put("1999-01-01.csv", b"x")
    bucket.put("readme.csv", b"x")
    bucket.server.client("sqs").send_message(QueueUrl=bucket.queue, MessageBody="hello")
    (request,) = daemon.tick()
    assert keys_of(request) == (bad, bad) and bucket.waiting == 1
    assert not launch(project, JOB, request).success
    assert daemon.tick() == [] and bucket.waiting == 0
    kept = project.runtime.ledger.open("churn/orders/refused_messages")
    assert kept.rows == 1
    letters = [letter for letter in list_letters(project.runtime.ledger, RAW) if letter.kind == "object"]
    assert [letter.uri.rsplit("/", 1)[1] for letter in letters] == ["readme.csv"]
    counts = {name: daemon.checks[0].metadata[name].value for name in ("dead_letters", "waiting", "passed_over")}
    assert counts == {"dead_letters": 1, "waiting": 1, "passed_over": 1} and daemon.checks[0].passed


def test_an_outage_of_the_queue_fails_the_tick(
    project: Project, bucket: Bucket, orders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = Daemon(project, SENSOR)
    assert daemon.tick() == []
    cursor = daemon.cursor
    bucket.server.client("sqs").delete_queue(QueueUrl=bucket.queue)
    with pytest.raises(StorageError):
        daemon.tick()
    assert daemon.cursor == cursor


def test_event_grid_through_a_storage_queue(
    tmp_path: Path,
    azurite: AzuriteServer,
    clock: Clock,
    landing: tuple[Path, LandingSummary],
    orders: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from azure.storage.queue import QueueServiceClient

    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
    monkeypatch.setattr(queue_sensors, "MAX_OBJECTS_PER_TICK", 20)
    container, name = azurite.container(), f"q-{uuid.uuid4().hex[:8]}"
    client = QueueServiceClient.from_connection_string(azurite.connection_string).create_queue(name)
    queue = "azure-queue://" + azurite.queue_endpoint.partition("://")[2] + f"/{name}"
    folder = churn(tmp_path / "churn", f"az://{container}/in", queue)
    with deployed(tmp_path / "home", landing[1], {}, folders=[folder], clock=clock) as project:
        daemon = Daemon(project, SENSOR)
        daemon.tick()
        blob = azurite.blob_service().get_blob_client(container, "in/2026-10-05.csv")
        etag = blob.upload_blob((orders / "2026-10-05.csv").read_bytes())["etag"]
        event = {
            "eventType": "Microsoft.Storage.BlobCreated",
            "subject": f"/blobServices/default/containers/{container}/blobs/in/2026-10-05.csv",
            "eventTime": datetime.now(UTC).isoformat(),
            "data": {"api": "PutBlob", "eTag": etag, "contentLength": 12, "url": blob.url},
        }
        client.send_message(base64.b64encode(json.dumps(event).encode()).decode())
        (request,) = daemon.tick()
        assert keys_of(request) == ("2026-10-05", "2026-10-05")
        assert launch(project, JOB, request).success
        client.send_message(base64.b64encode(json.dumps(event).encode()).decode())
        assert daemon.tick() == []
        # the first delivery stays hidden for its five minutes; the second is known and gone
        assert client.get_queue_properties().approximate_message_count == 1


def test_cloud_storage_through_pubsub_messages_of_the_services_own_model(
    tmp_path: Path, clock: Clock, landing: tuple[Path, LandingSummary], orders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pubsub = pytest.importorskip("google.pubsub_v1", reason="google-cloud-pubsub is not installed")
    attributes = {
        "eventType": "OBJECT_FINALIZE",
        "bucketId": "landing",
        "objectId": "in/2026-10-05.csv",
        "objectGeneration": "1700000000000000",
        "eventTime": "2026-10-05T20:00:00.123456Z",
        "payloadFormat": "JSON_API_V1",
    }
    message = pubsub.PubsubMessage(attributes=attributes, data=b'{"size": "7", "etag": "CPj0"}', message_id="1")
    client = Subscriber({"ack-1": message})
    answer = pubsub.PullResponse(
        received_messages=[pubsub.ReceivedMessage(ack_id="ack-1", message=message)]
    )  # what the real service answers with
    assert answer.received_messages[0].message.attributes == attributes
    monkeypatch.setattr(queue_sensors, "open_queue", lambda url: PubSubQueue(client, url))
    monkeypatch.setattr(queue_sensors, "MAX_OBJECTS_PER_TICK", 5)
    folder = churn(tmp_path / "churn", str(tmp_path / "in"), "pubsub://project/orders")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "2026-10-05.csv").write_bytes((orders / "2026-10-05.csv").read_bytes())
    with deployed(tmp_path / "home", landing[1], {}, folders=[folder], clock=clock) as project:
        landed = project.runtime.landing(project.runtime.project.dataset("churn/orders"))
        monkeypatch.setattr(project.runtime, "landing", lambda dataset: Named(landed, "gs://landing/in"))
        (request,) = Daemon(project, SENSOR).tick()
        assert keys_of(request) == ("2026-10-05", "2026-10-05") and client.pending


class Named:
    """A folder under the name of a bucket."""

    def __init__(self, store: Any, url: str) -> None:
        self._store, self.url = store, url

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)
